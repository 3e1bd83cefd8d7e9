"""Evaluate checkpoints: each (checkpoint bytes, suite, decoding) exactly once, whoever asks and however often."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed

from flows.run_workspace import RunWorkspace
from flows.stage_graph import RunLogger, StageFailedError, bring_up_to_date, fetch_outputs, repro
from mmada.checkpoint_registry import Checkpoint, load_registry
from mmada.errors import InputError
from mmada.evaluation.benchmarks import BENCHMARK_KINDS
from mmada.evaluation.graph_scores import collect_scores, score_store
from mmada.evaluation.score_store import Entry, Fall, Measurement, ScoreStore, falls_among
from mmada.lineage.manifest import MANIFEST_NAME, Artifact, read_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_schema import Params, load_params
from mmada.storage import exclusive
from mmada.training.checkpoint_folders import checkpoint_folder, published_checkpoints
from mmada.yaml_file import read_yaml, write_yaml

REGRESSION_EVENT: Final = "mmada.evaluation.regression"
_ID_DIGITS: Final = 16
_LOCKS: Final = Path(".mmada/locks/evaluations")
"""One per evaluation: runs of different commits have workspaces of their own, and may still want the same one."""


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that may be evaluated. `name`: as people know it."""

    name: str
    model: Artifact


@dataclass(frozen=True)
class Evaluated:
    """What came of checkpoints that were to be evaluated. `without`: name -> why it has no scores.

    A StageFailedError there says that its evaluation failed, anything else that it could not begin.
    """

    entries: list[Entry]
    without: dict[str, Exception]


def candidates(project: Path) -> list[Candidate]:
    """Registered and published checkpoints whose folders are here, one per distinct model.

    Those that a training run kept come after the registered ones; parents tend to come first.
    """
    distinct: dict[str, Candidate] = {}
    for candidate in _all_here(project):
        distinct.setdefault(candidate.model.id, candidate)
    return list(distinct.values())


def find_candidate(project: Path, wanted: str) -> Candidate:
    """The checkpoint of this registered name, id or folder. Raises InputError when it is not here."""
    for candidate in _all_here(project):
        if wanted in (candidate.name, candidate.model.id) or candidate.model.path.resolve() == Path(wanted).resolve():
            return candidate
    if entry := load_registry(project / "models.yaml").get(wanted):
        raise InputError(
            f"checkpoint {wanted!r} is registered in models.yaml, but its folder {entry.path} is not here: make it or "
            "fetch it (`dvc repro`, `dvc pull`), or register one that is here by another name"
        )
    raise InputError(
        f"no checkpoint {wanted!r} is registered in models.yaml or published in {project}; "
        "`mmada register FOLDER NAME` registers one"
    )


def _all_here(project: Path) -> list[Candidate]:
    """Every registered name and every published folder that is here; one model may have several."""
    store = project / load_params(project / "params.yaml").paths.checkpoints
    registry = load_registry(project / "models.yaml")
    folders = [(name, project / entry.path) for name, entry in registry.items()]
    found = []
    for name, folder in [*folders, *(("", published) for published in published_checkpoints(store))]:
        with suppress(InputError):  # not made yet, or removed just now because its run keeps it no longer
            model = read_artifact(folder)
            found.append(Candidate(name or _shown_name(model), model))
    return found


def evaluate_checkpoints(workspace: RunWorkspace, wanted: Iterable[Candidate], log: RunLogger) -> Evaluated:
    """Evaluate what the score store does not have yet. One that cannot be evaluated does not keep the others from it.

    The caller holds the workspace.
    """
    project, folder = workspace.project, workspace.folder
    params = load_params(folder / "params.yaml")
    inputs = {f"benchmark_items@{name}": f"{params.paths.benchmark_items}/{name}" for name in params.benchmarks}
    inputs["train_magvit"] = params.paths.magvit
    bring_up_to_date(folder, inputs)
    if absent := [address for address, path in inputs.items() if not (folder / path / MANIFEST_NAME).exists()]:
        fetch_outputs(folder, absent)
    measurement = _measurement(folder, params)
    collect_scores(project, project)
    done = Evaluated([], {})
    for candidate in wanted:
        if obstacle := _obstacle(candidate.model, measurement):
            log.warning("%s %s: not evaluated", candidate.name, obstacle)
            done.without[candidate.name] = InputError(f"{candidate.name} {obstacle}: not evaluated")
            continue
        try:
            done.entries.append(_evaluate(workspace, candidate, measurement, params, log))
        except StageFailedError as error:
            log.error("%s could not be evaluated: %s", candidate.name, error)
            done.without[candidate.name] = error
    return done


def _obstacle(model: Artifact, measurement: Measurement) -> str:
    """Why an evaluation of the model would tell nothing; "" when it does."""
    if not model.path.exists():
        return "was removed, because its run keeps it no longer"
    expected = str(model.metadata.get("magvit"))
    if expected != measurement.magvit:
        return f"reads pictures by tokenizer {expected[:12]}, this project's is {measurement.magvit[:12]}"
    return ""


def checkpoint_key(model: Artifact) -> str:
    """Name under which a workspace registers a checkpoint that it evaluates."""
    return f"c_{model.id[:_ID_DIGITS]}"


def _falls(store: ScoreStore, told: Sequence[Entry]) -> Mapping[str, list[Fall]]:
    """Checkpoint id -> benchmarks on which it fell against its parent, as the evaluations `told` of the two tell. A
    fall by an earlier suite, which an earlier run told, is no news.
    """
    known, identities = store.entries(), {entry.identity for entry in told}
    checkpoints = {entry.checkpoint for entry in told}
    fallen: dict[str, list[Fall]] = {}
    for entry in known:
        # A parent that is evaluated after its children tells only now how they moved.
        if checkpoints.isdisjoint({entry.checkpoint, entry.parent}):
            continue
        changes = store.changes(entry, known)
        for fall in falls_among(changes):
            if identities & {entry.identity, changes[fall.benchmark][0].identity}:
                fallen.setdefault(entry.checkpoint, []).append(fall)
    return fallen


def _raise_alarms(fallen: Mapping[str, list[Fall]], log: RunLogger) -> None:
    """Event and artifact for every checkpoint that fell against its parent."""
    for checkpoint, falls in fallen.items():
        text = "; ".join(f"{fall.benchmark} {fall.comparison.difference:+.1%}" for fall in falls)
        log.error("checkpoint %s fell against its parent: %s", checkpoint[:12], text)
        lines = [
            f"- **{fall.benchmark}**: {fall.comparison.difference:+.1%} "
            f"({fall.comparison.low:+.1%} to {fall.comparison.high:+.1%}); {fall.comparison.only_second} items lost, "
            f"{fall.comparison.only_first} gained, p = {fall.adjusted_p:.2g} over the whole family"
            for fall in falls
        ]
        create_markdown_artifact(
            f"Checkpoint `{checkpoint}` fell against its parent:\n\n" + "\n".join(lines),
            key=f"regression-{checkpoint[:_ID_DIGITS]}",
            description="Regression",
        )
        emit_event(
            REGRESSION_EVENT,
            resource={"prefect.resource.id": f"mmada.checkpoint.{checkpoint}"},
            payload={"checkpoint": checkpoint, "falls": text},
        )


def regression_state(project: Path, entries: Sequence[Entry], log: RunLogger) -> State[object]:
    """The state that a run of evaluations ends in: `Regression` when a checkpoint fell against its parent."""
    fallen = _falls(score_store(project), entries)
    _raise_alarms(fallen, log)
    if not fallen:
        return Completed(message=f"{len(entries)} evaluated, none fell against its parent")
    return Completed(name="Regression", message=f"{len(entries)} evaluated; fell against their parents: {len(fallen)}")


def _evaluate(
    workspace: RunWorkspace, candidate: Candidate, measurement: Measurement, params: Params, log: RunLogger
) -> Entry:
    store, model = score_store(workspace.project), candidate.model
    key = checkpoint_key(model)
    identity = measurement.identity(candidate.name, model)
    provenance = ProvenanceStore(workspace.project / params.paths.provenance)
    with exclusive(workspace.project / _LOCKS / identity):
        if store.has(identity):
            log.info("%s was evaluated before: %s", candidate.name, store.folder(identity))
        else:
            log.info("evaluating %s (%s)", candidate.name, model.id[:12])
            path = checkpoint_folder(Path(params.paths.checkpoints), model.id).as_posix()
            workspace.add_checkpoint(model.path, Checkpoint(path=path, origin="published", id=model.id), key)
            _decode_alike(workspace.folder / "params.yaml", key, candidate)
            repro(f"evaluate@{key}", workspace.folder)
        return store.add(workspace.folder / params.paths.scores / key, identity, candidate.name, model, provenance)


def _decode_alike(params_file: Path, key: str, candidate: Candidate) -> None:
    """Let `evaluation.decoding` of a workspace hold for `key` as it holds for the candidate's own name."""
    evaluation, model_key = load_params(params_file).evaluation, candidate.model.key
    wanted = evaluation.decoding_for(candidate.name, model_key)
    if evaluation.decoding_for(key, model_key) != wanted:
        document = read_yaml(params_file)
        document["evaluation"]["decoding"][key] = {name: one.model_dump(mode="json") for name, one in wanted.items()}
        write_yaml(document, params_file)


def _measurement(folder: Path, params: Params) -> Measurement:
    items = {name: read_artifact(folder / params.paths.benchmark_items / name).id for name in params.benchmarks}
    return Measurement(
        version=_stage_version(folder, "evaluate"),
        evaluation=params.evaluation,
        resolution=params.vq.resolution,
        crop_policy=params.vq.crop_policy,
        magvit=read_artifact(folder / params.paths.magvit).id,
        items=items,
        verifiers={name: BENCHMARK_KINDS[held.kind].verifier for name, held in params.benchmarks.items()},
    )


def _stage_version(folder: Path, stage: str) -> int:
    """VERSION of a stage as it stands in the workspace, which may not be the code that runs here."""
    tree = ast.parse((folder / f"mmada/stages/{stage}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "VERSION" and node.value is not None:
            return int(ast.literal_eval(node.value))
    raise InputError(f"mmada/stages/{stage}.py has no VERSION")


def _shown_name(model: Artifact) -> str:
    step = model.metadata.get("step")
    return f"{model.key or model.stage} {model.id[:8]}" if step is None else f"{model.key} step {step} {model.id[:8]}"
