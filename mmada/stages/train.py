"""Run one training stage: a block of params.yaml, from its parent's weights and its shards."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from mmada.dispatch.training import run_training
from mmada.errors import CheckpointError
from mmada.lineage.benchmark_search import refuse_unchecked_shards
from mmada.lineage.manifest import Artifact, file_sha256, open_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.numerics import numerics_class
from mmada.params_schema import Paths
from mmada.params_training import Guard, TrainingBlock
from mmada.stage_report import StageReport
from mmada.training.guard import skipped_batches
from mmada.training.job import Job
from mmada.training.publication import Publication
from mmada.training.retention import LEDGER, Retention
from mmada.unit_store import UnitStore, unit_key

VERSION: Final = 7
OUT: Final = "models"
KEYED_BY: Final = "training"


def train(
    *, out: Path, key: str, paths: Paths, store: UnitStore, registered: Sequence[str], training: TrainingBlock
) -> StageReport:
    """A model folder. A killed run continues from its last resume state; the result is the same bytes on a CPU.

    Raises GateError for shards that passed no gate, or that were not searched for a registered benchmark.
    """
    inputs = {
        "shards": open_artifact(Path(paths.shards) / key),
        "parent": open_artifact(Path(paths.models) / training.init),
        "magvit": open_artifact(Path(paths.magvit)),
    }
    provenance = ProvenanceStore(Path(paths.provenance))
    refuse_unchecked_shards(inputs["shards"], provenance, registered, Path(paths.benchmark_items))
    _check_hand_over(inputs["parent"], inputs["magvit"])
    block = training.model_dump(mode="json")
    reward_files = _reward_files(training)
    run = run_digest(VERSION, {name: artifact.id for name, artifact in inputs.items()}, training, reward_files)
    state_dir = state_folder(store, run)
    job = Job(
        name=key,
        run=run,
        shards=inputs["shards"].path.as_posix(),
        parent=inputs["parent"].path.as_posix(),
        magvit=inputs["magvit"].path.as_posix(),
        out=out.as_posix(),
        state_dir=state_dir.as_posix(),
        curves=(Path(paths.reports) / "training" / f"{key}.jsonl").as_posix(),
        block=block,
        publication=Publication(
            folder=paths.checkpoints,
            every=training.publish_every,
            retention=Retention(**training.keep_published.model_dump()),
            ledger=(state_dir / LEDGER).as_posix(),
            provenance=paths.provenance,
            key=key,
            version=VERSION,
            inputs={name: (artifact.id, artifact.path.as_posix()) for name, artifact in inputs.items()},
            raw_files=reward_files,
            params={f"training.{key}": block},
            metadata=_handed_on(inputs["parent"]),
        ),
    )
    end = run_training(job, store.root / "training")
    return StageReport(
        inputs=inputs,
        raw_files=reward_files,
        metadata=_handed_on(inputs["parent"]),
        events=skipped_batches(end.skipped),
    )


def run_digest(version: int, inputs: Mapping[str, str], block: TrainingBlock, reward_files: Mapping[str, str]) -> str:
    """Digest of all that a run's result depends on. `inputs`: the ids of shards, parent and magvit. `reward_files`: of
    the reward models, path -> sha256; runs without any keep the digest that they had before there were such.

    `guard.max_skipped` is left out: it ends a run, and the run goes on when it is raised, as the error says.
    """
    guard = block.guard.model_copy(update={"max_skipped": Guard().max_skipped})
    block = block.model_copy(update={"guard": guard})
    ids = [inputs[name] for name in ("shards", "parent", "magvit")]
    scored_by = [dict(reward_files)] if reward_files else []
    return unit_key("train", version, ids, block.model_dump(mode="json"), numerics_class(block.threads), *scored_by)


def _reward_files(block: TrainingBlock) -> dict[str, str]:
    """Path -> sha256 of the files of the reward models: another model at the same place gives other rewards."""
    folders = block.unigrpo.reward_models.values() if block.unigrpo is not None else ()
    files = (path for folder in folders for path in sorted(Path(folder).glob("*")) if path.is_file())
    return {path.as_posix(): file_sha256(path) for path in files}


def state_folder(store: UnitStore, run: str) -> Path:
    """Where a run keeps its resume state, and the answers and scores of UniGRPO."""
    return store.root / "training" / run


def _check_hand_over(parent: Artifact, magvit: Artifact) -> None:
    """A parent that was made for another picture tokenizer would read every code as another picture."""
    expected = parent.metadata.get("magvit")
    if expected != magvit.id:
        raise CheckpointError(
            f"{parent.path} was made for picture tokenizer {str(expected)[:12]}, but {magvit.path} is "
            f"{magvit.id[:12]}; run `dvc repro init_model` to make a parent for it, or restore the parent's tokenizer"
        )


def _handed_on(parent: Artifact) -> dict[str, object]:
    """What a parent's manifest says that holds for its children too: not the step at which it was published."""
    return {name: value for name, value in parent.metadata.items() if name != "step"}
