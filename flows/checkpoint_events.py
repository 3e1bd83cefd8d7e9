"""Checkpoints that appear while a run goes on: given to the project, and told to whoever waits for them.

Training knows nothing of Prefect: it puts whole folders under their final names, and this watches for them. An event
that is lost with its server costs nothing but time: the scheduled sweep looks at the same folders.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from prefect.events import emit_event

from flows.stage_graph import RunLogger
from mmada.lineage.manifest import read_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_schema import load_params
from mmada.training.checkpoint_folders import keep_checkpoint, published_checkpoints

PUBLISHED_EVENT: Final = "mmada.checkpoint.published"
_SECONDS: Final = 1.0


def give_checkpoint(source: Path, workspace: Path, project: Path) -> Path:
    """Link a whole model folder of `workspace` into the project's published checkpoints, with its provenance.

    Returns its folder in the project; giving it again changes nothing.
    """
    paths = load_params(project / "params.yaml").paths
    own = load_params(workspace / "params.yaml").paths.provenance
    ProvenanceStore(project / paths.provenance).merge(ProvenanceStore(workspace / own))
    return keep_checkpoint(source, project / paths.checkpoints)


def announce(folder: Path) -> None:
    """Emit the event that a checkpoint was published; `folder` is its place in the project."""
    artifact = read_artifact(folder)
    emit_event(
        PUBLISHED_EVENT,
        resource={
            "prefect.resource.id": f"mmada.checkpoint.{artifact.id}",
            "prefect.resource.name": f"{artifact.key} {artifact.id[:12]}",
        },
        payload={"checkpoint": artifact.id, "folder": folder.as_posix(), "step": artifact.metadata.get("step")},
    )


def publish_models(workspace: Path, project: Path, outcome: Mapping[str, str]) -> None:
    """Give the finished models of a run to the project, and announce those that were trained or restored."""
    models = workspace / load_params(workspace / "params.yaml").paths.models
    for address, how in outcome.items():
        stage, _, key = address.partition("@")
        if stage == "train" and how != "unchanged":
            announce(give_checkpoint(models / key, workspace, project))


@contextmanager
def announced_checkpoints(workspace: Path, project: Path, log: RunLogger) -> Iterator[None]:
    """While the block runs, give every checkpoint that appears in `workspace` to the project and announce it."""
    folder = workspace / load_params(workspace / "params.yaml").paths.checkpoints
    known = set(published_checkpoints(folder))
    stop = threading.Event()

    def look() -> None:
        for path in sorted(set(published_checkpoints(folder)) - known):
            announce(give_checkpoint(path, workspace, project))
            known.add(path)
            log.info("checkpoint %s published", path.name)

    def watch() -> None:
        while not stop.wait(_SECONDS):
            try:
                look()
            except Exception:
                log.exception("a published checkpoint could not be announced; the scheduled sweep will find it")

    thread = threading.Thread(target=watch, name="checkpoints", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    look()
