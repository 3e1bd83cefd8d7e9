"""Checkpoints that appear while a run goes on: given to the project, told to whoever waits for them, and removed there
too when the run keeps them no longer.

Training knows nothing of Prefect: it puts whole folders under their final names, and this watches for them. An event
that is lost with its server costs nothing but time: the scheduled sweep looks at the same folders.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prefect.events import emit_event

from flows.stage_graph import RunLogger
from mmada.checkpoint_registry import REGISTRY_FILE, load_registry
from mmada.errors import InputError
from mmada.evaluation.graph_scores import score_store
from mmada.lineage.manifest import MANIFEST_NAME, read_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_schema import load_params
from mmada.training.checkpoint_folders import (
    checkpoint_folder,
    keep_checkpoint,
    published_checkpoints,
    remove_checkpoint,
)
from mmada.training.retention import dropped_checkpoints

PUBLISHED_EVENT: Final = "mmada.checkpoint.published"
_SECONDS: Final = 1.0


def publish(source: Path, workspace: Path, project: Path) -> bool:
    """Link a whole model folder of `workspace` into the project's published checkpoints, with its provenance.

    Emits the event that it is there. Returns False, and does nothing, where it is there already.
    """
    paths = load_params(project / "params.yaml").paths
    artifact = read_artifact(source)
    if checkpoint_folder(project / paths.checkpoints, artifact.id).exists():
        return False
    own = load_params(workspace / "params.yaml").paths.provenance
    ProvenanceStore(project / paths.provenance).merge(ProvenanceStore(workspace / own))
    kept = keep_checkpoint(source, project / paths.checkpoints)
    emit_event(
        PUBLISHED_EVENT,
        resource={
            "prefect.resource.id": f"mmada.checkpoint.{artifact.id}",
            "prefect.resource.name": f"{artifact.key} {artifact.id[:12]}",
        },
        payload={"checkpoint": artifact.id, "folder": kept.as_posix(), "step": artifact.metadata.get("step")},
    )
    return True


def publish_models(workspace: Path, project: Path, stages: Iterable[str]) -> None:
    """Publish the finished models of `stages` (addresses) that lie in the workspace."""
    models = workspace / load_params(workspace / "params.yaml").paths.models
    for address in stages:
        stage, _, key = address.partition("@")
        if stage == "train" and (models / key / MANIFEST_NAME).exists():
            publish(models / key, workspace, project)


def remove_dropped(project: Path, log: RunLogger) -> None:
    """Remove the project's checkpoints that the runs which made them keep no longer (`keep_published`).

    Those that models.yaml registers stay, and those that have no scores: their evaluation is still to come.
    """
    store = project / load_params(project / "params.yaml").paths.checkpoints
    dropped = dropped_checkpoints(project)
    here = [path for path in published_checkpoints(store) if path.name in dropped]
    if not here:
        return
    registered = {(project / entry.path).resolve() for entry in load_registry(project / REGISTRY_FILE).values()}
    scored = {checkpoint_folder(store, entry.checkpoint) for entry in score_store(project).entries()}
    for path in here:
        if path in scored and path.resolve() not in registered:
            remove_checkpoint(path)
            log.info("checkpoint %s removed: its run keeps it no longer", path.name)


def _publish_if_kept(source: Path, workspace: Path, project: Path) -> bool:
    """`publish`, unless the run removes the checkpoint meanwhile."""
    try:
        return publish(source, workspace, project)
    except InputError:
        if source.exists():
            raise
        return False


@contextmanager
def published_on_the_way(workspace: Path, project: Path, log: RunLogger) -> Iterator[None]:
    """While the block runs, publish every checkpoint that training puts into `workspace`."""
    folder = workspace / load_params(workspace / "params.yaml").paths.checkpoints
    stop = threading.Event()

    def look() -> None:
        dropped = dropped_checkpoints(project)
        for path in published_checkpoints(folder):
            if path.name not in dropped and _publish_if_kept(path, workspace, project):
                log.info("checkpoint %s published", path.name)
        remove_dropped(project, log)

    def watch() -> None:
        while not stop.wait(_SECONDS):
            try:
                look()
            except Exception:
                log.exception("a checkpoint could not be published; the end of the run tries again")

    thread = threading.Thread(target=watch, name="checkpoints", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    look()
