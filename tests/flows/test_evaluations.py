"""Checkpoints are found by every name under which people and events know them, and decoded by it wherever they are
evaluated.
"""

import json
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from flows import evaluate, evaluations, reevaluate
from flows.evaluations import (
    Candidate,
    Evaluated,
    candidates,
    evaluate_checkpoints,
    find_candidate,
    regression_state,
)
from flows.reevaluate import first_candidates
from flows.requests import DecodingOverrides
from flows.run_workspace import RunRequest, RunWorkspace, resolve_commit, run_workspace, run_workspace_if_free
from flows.stage_graph import StageFailedError
from mmada.checkpoint_registry import Checkpoint, register
from mmada.errors import InputError
from mmada.evaluation.graph_scores import score_store
from mmada.evaluation.score_store import Entry
from mmada.git import git
from mmada.lineage.manifest import read_artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_schema import load_params
from mmada.params_training import Answering
from mmada.training.checkpoint_folders import keep_checkpoint, remove_checkpoint
from tests.e2e.project_folder import ROOT, make_project
from tests.evaluation.test_score_store import made_scores

LOG = logging.getLogger("test")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def _made(project: Path, key: str) -> str:
    """The finished model of a training stage; returns its id."""
    folder = project / "data/models" / key
    folder.mkdir(parents=True)
    (folder / "w").write_bytes(key.encode())
    return write_manifest(folder, stage="train", key=key, version=1, metadata={}).id


def test_a_second_name_finds_the_same_model_which_is_one_candidate(project: Path) -> None:
    id_ = _made(project, "stage3")
    kept = keep_checkpoint(project / "data/models/stage3", project / "data/checkpoints")
    entry = Checkpoint(path=kept.relative_to(project).as_posix(), origin="published", id=id_)
    register("best", entry, project / "models.yaml")
    assert [candidate.name for candidate in candidates(project)] == ["stage3"]
    for name in ("stage3", "best"):
        assert (find_candidate(project, name).name, find_candidate(project, name).model.id) == (name, id_)
    for place in (id_, str(kept), str(project / "data/models/stage3")):
        assert find_candidate(project, place).model.id == id_


def test_an_event_of_a_checkpoint_that_was_scored_and_dropped_meanwhile_is_no_error(project: Path) -> None:
    id_, folder = _made(project, "stage1"), project / "data/models/stage1"
    assert [candidate.model.id for candidate in first_candidates(project, id_)] == [id_]
    scores = project / "data/scores/stage1"
    scores.mkdir(parents=True)
    score_store(project).add(scores, id_, "stage1", read_artifact(folder), ProvenanceStore(project / "data/provenance"))
    remove_checkpoint(folder)
    assert first_candidates(project, id_) == []
    with pytest.raises(InputError, match="no checkpoint"):
        first_candidates(project, "f" * 64)


def test_what_is_not_registered_is_told_from_what_is_not_here(project: Path) -> None:
    with pytest.raises(InputError, match=r"'stage3' is registered in models\.yaml, but its folder data/models/stage3 "):
        find_candidate(project, "stage3")
    with pytest.raises(InputError, match="no checkpoint 'stage9' is registered"):
        find_candidate(project, "stage9")


def _registered(project: Path, name: str, magvit: str) -> None:
    """A checkpoint from elsewhere that was trained with picture tokenizer `magvit`."""
    folder = project / "data/elsewhere" / name
    folder.mkdir(parents=True)
    (folder / "w").write_bytes(name.encode())
    id_ = write_manifest(folder, stage="external", version=1, metadata={"magvit": magvit}).id
    entry = Checkpoint(path=folder.relative_to(project).as_posix(), origin="external", id=id_)
    register(name, entry, project / "models.yaml")


def _inputs(folder: Path, _addresses: object = ()) -> str:
    """What the graph would have made in a workspace; returns the id of the picture tokenizer."""
    params = load_params(folder / "params.yaml")
    for name in params.benchmarks:
        items = folder / params.paths.benchmark_items / name
        items.mkdir(parents=True, exist_ok=True)
        write_manifest(items, stage="benchmark_items", key=name, version=1, metadata={})
    magvit = folder / params.paths.magvit
    magvit.mkdir(parents=True, exist_ok=True)
    return write_manifest(magvit, stage="train_magvit", version=1, metadata={}).id


@pytest.fixture
def of_best(tmp_path: Path) -> Path:
    """A project whose params.yaml decodes the checkpoint `best` in a way of its own."""
    best = _plain().model_dump(mode="json") | {"text_temperature": 0.125}
    patch = tmp_path / "patch.json"
    patch.write_text(json.dumps({"evaluation": {"decoding": {"best": {"default": best}}}}))
    return make_project(tmp_path / "of_best", patch)


def _plain() -> Answering:
    return load_params(ROOT / "params.yaml").evaluation.decoding["default"]["default"]


def _decoding(workspace: Path, name: str) -> Answering:
    return load_params(workspace / "params.yaml").evaluation.decoding_for(name, "")["default"]


def test_a_checkpoint_is_decoded_by_its_registered_name(of_best: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `dvc repro evaluate@best` decodes it, so that both are one measurement."""
    used: dict[str, float] = {}

    def evaluate_stage(address: str, folder: Path) -> None:
        key = address.removeprefix("evaluate@")
        used[key] = _decoding(folder, key).text_temperature
        (folder / "data/scores" / key).mkdir(parents=True)

    monkeypatch.setattr(evaluations, "bring_up_to_date", lambda folder, inputs: None)
    monkeypatch.setattr(evaluations, "repro", evaluate_stage)
    request = RunRequest("evaluations", resolve_commit(of_best, "HEAD"), {})
    with run_workspace(of_best, request, log=LOG) as workspace:
        magvit = _inputs(workspace.folder)
        for name in ("best", "second"):
            _registered(of_best, name, magvit)
        wanted = [find_candidate(of_best, name) for name in ("best", "second")]
        entries = evaluate_checkpoints(workspace, wanted, LOG).entries
        keys = [f"c_{candidate.model.id[:16]}" for candidate in wanted]
        assert used == dict(zip(keys, (0.125, _plain().text_temperature), strict=True))
        params = load_params(of_best / "params.yaml")
        measurement = evaluations._measurement(workspace.folder, params)
        assert [one.identity for one in entries] == [measurement.identity(one.name, one.model) for one in wanted]


def test_overrides_begin_with_the_decoding_of_the_registered_name(
    of_best: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _registered(of_best, "best", "")
    used: list[Answering] = []

    def evaluate_all(workspace: RunWorkspace, wanted: Sequence[Candidate], _log: object) -> Evaluated:
        used.extend(_decoding(workspace.folder, candidate.name) for candidate in wanted)
        return Evaluated([], {})

    monkeypatch.chdir(of_best)
    monkeypatch.setattr(evaluate, "run_logger", lambda: LOG)
    monkeypatch.setattr(evaluate, "evaluate_checkpoints", evaluate_all)
    evaluate.evaluate.fn("best", decoding=DecodingOverrides(text_steps=6))
    assert [(one.text_steps, one.text_temperature) for one in used] == [(6, 0.125)]


@pytest.fixture
def evaluated(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two registered checkpoints, `good` and `bad`, whose evaluation fails; the keys whose evaluation was begun."""
    begun: list[str] = []
    made = make_project(tmp_path / "made")
    for name in ("bad", "good"):
        _registered(project, name, _inputs(made))
    bad = find_candidate(project, "bad").model.id[:16]

    def evaluate_stage(address: str, folder: Path) -> None:
        key = address.removeprefix("evaluate@")
        begun.append(key)
        if key == f"c_{bad}":
            raise StageFailedError(address, ["its weights do not fit"])
        time.sleep(0.2)  # while another run may ask for the same
        (folder / "data/scores" / key).mkdir(parents=True)
        (folder / "data/scores" / key / "scores.json").write_text('{"benchmarks": {}}')

    monkeypatch.chdir(project)
    monkeypatch.setattr(evaluations, "bring_up_to_date", _inputs)
    monkeypatch.setattr(evaluations, "repro", evaluate_stage)
    for flow in (evaluate, reevaluate):
        monkeypatch.setattr(flow, "run_logger", lambda: LOG)
        monkeypatch.setattr(flow, "publish_scores", lambda *_: None)
    return begun


def test_one_that_cannot_be_evaluated_keeps_no_other_from_its_scores(project: Path, evaluated: list[str]) -> None:
    state = reevaluate.reevaluate.fn()
    assert state.is_failed()
    assert "could not be evaluated: bad" in str(state.message)
    assert {entry.name for entry in score_store(project).entries()} == {"good"}


def test_a_checkpoint_that_was_asked_for_and_has_no_scores_is_no_success(project: Path, evaluated: list[str]) -> None:
    with pytest.raises(StageFailedError, match="weights do not fit"):
        evaluate.evaluate.fn("bad")
    _registered(project, "foreign", "f" * 64)
    with pytest.raises(InputError, match="foreign reads pictures by tokenizer ffffffffffff, this project's is"):
        evaluate.evaluate.fn("foreign")


def test_an_alarm_is_of_what_was_measured_now(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of an earlier suite, by which the checkpoint fell once; of children, too, when their parent comes late."""
    told: list[str] = []
    monkeypatch.setattr(evaluations, "create_markdown_artifact", lambda text, **_: told.append(text))
    monkeypatch.setattr(evaluations, "emit_event", lambda *_, **__: None)
    parent, child = (_made(project, key) for key in ("stage1", "stage2"))
    record = {"id": child, "inputs": {"parent": {"id": parent, "path": "data/models/stage1"}}}
    provenance = ProvenanceStore(project / "data/provenance")
    provenance.root.mkdir(exist_ok=True)
    provenance.record_file(child).write_text(json.dumps(record) + "\n")
    store, number = score_store(project), iter("abcdef")

    def measured(key: str, correct: int, suite: str) -> Entry:
        name = next(number)
        folder = made_scores(tmp_path / name, [True] * correct + [False] * (60 - correct), key, decoding=suite)
        model = read_artifact(project / "data/models" / key)
        return store.add(folder, name * 64, key, model, provenance)

    fallen = measured("stage2", 10, "old")
    assert regression_state(project, [fallen], LOG).name == "Completed"
    assert regression_state(project, [measured("stage1", 50, "old")], LOG).name == "Regression"
    assert told.pop().count("**sums**") == 1
    again = [measured("stage1", 50, "new"), measured("stage2", 50, "new")]
    assert regression_state(project, again, LOG).name == "Completed"
    assert regression_state(project, [fallen], LOG).name == "Regression"
    assert len(told) == 1


def test_an_evaluation_that_was_asked_for_leaves_the_sweep_free(
    project: Path, evaluated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that finds its workspace held ends, because the holder looks for new checkpoints before it ends."""
    sweep = RunRequest("evaluations", resolve_commit(project, "HEAD"), {})
    free: list[bool] = []

    def look(*_: object) -> Evaluated:
        with run_workspace_if_free(project, sweep) as workspace:
            free.append(workspace is not None)
        return Evaluated([], {})

    monkeypatch.setattr(evaluate, "evaluate_checkpoints", look)
    evaluate.evaluate.fn("good")
    assert free == [True]


def test_runs_of_two_commits_at_once_measure_once(project: Path, evaluated: list[str]) -> None:
    commits = [resolve_commit(project, "HEAD")]
    git(project, "commit", "--quiet", "--allow-empty", "--message", "another")
    commits.append(resolve_commit(project, "HEAD"))
    both_are_in = threading.Barrier(2)

    def measure(commit: str) -> None:
        with run_workspace(project, RunRequest("evaluations", commit, {}), log=LOG) as workspace:
            both_are_in.wait(60)
            evaluate_checkpoints(workspace, [find_candidate(project, "good")], LOG)

    threads = [threading.Thread(target=measure, args=(commit,)) for commit in commits]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(evaluated) == 1
