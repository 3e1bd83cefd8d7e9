"""The score store: one entry per evaluation, stale scores are never met, and alarms that do not cry wolf."""

import json
import os
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mmada.errors import IntegrityError
from mmada.evaluation import score_store
from mmada.evaluation.compare import Comparison
from mmada.evaluation.graph_scores import collect_scores
from mmada.evaluation.measured_scores import GRADED_ITEMS
from mmada.evaluation.metrics import mcnemar, paired_interval
from mmada.evaluation.score_store import Entry, Measurement, ScoreStore, falls_among, holm, significant
from mmada.evaluation.stored_scores import RegressionError, print_scores
from mmada.lineage.manifest import Artifact, read_artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_training import Evaluation
from mmada.site.published_scores import published_scores
from mmada.storage import link_tree

SAMPLING = {
    "think": False, "text_tokens": 4, "text_steps": 4, "text_block": 4, "text_temperature": 0.0, "image_steps": 4,
    "image_temperature": 1.0, "guidance": 0.0,
}  # fmt: skip


def _measurement(**change: Any) -> Measurement:
    decoding = {"default": {"default": SAMPLING}, "stage1": {"default": SAMPLING | {"text_steps": 2}}}
    evaluation = Evaluation.model_validate({"batch_size": 4, "seed": 1, "threads": 1, "decoding": decoding})
    values: dict[str, Any] = {
        "version": 2, "evaluation": evaluation, "resolution": 64, "crop_policy": "squash", "magvit": "m" * 64,
        "items": {"sums": "i" * 64}, "verifiers": {"sums": "v-1"},
    }  # fmt: skip
    return Measurement(**(values | change))


def _model(folder: Path, weights: str, *, key: str = "stage1", **metadata: object) -> Artifact:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(weights)
    return write_manifest(folder, stage="train", key=key, version=1, metadata=metadata)


def made_scores(folder: Path, correct: list[bool], model: str, *, decoding: str = "d") -> Path:
    folder.mkdir(parents=True)
    n, right = len(correct), sum(correct)
    share = {"n": n, "correct": right, "share": right / n, "low": 0.0, "high": 1.0}
    identity = {"model": model, "items": "i", "verifier": "v", "decoding": decoding, "id": model}
    body = {"kind": "reasoning", "identity": identity, **share, "constant": share, "permuted": share, "categories": {}}
    (folder / "scores.json").write_text(json.dumps({"checkpoint": "x", "benchmarks": {"sums": body}, "ceiling": None}))
    rows = [(f"item-{place}", "c", "p", "r", "x", "x", b"", one, False) for place, one in enumerate(correct)]
    pl.DataFrame(rows, schema=pl.Schema(GRADED_ITEMS), orient="row").write_parquet(folder / "items-sums.parquet")
    write_manifest(folder, stage="evaluate", key="x", version=1, metadata={})
    return folder


@pytest.fixture
def family(tmp_path: Path) -> tuple[ScoreStore, ProvenanceStore, Artifact, Artifact]:
    """A store, and a parent and a child that provenance knows to be its child."""
    parent = _model(tmp_path / "parent", "parent")
    child = _model(tmp_path / "child", "child", step=40)
    provenance = ProvenanceStore(tmp_path / "provenance")
    provenance.root.mkdir()
    record = {"id": child.id, "inputs": {"parent": {"id": parent.id, "path": "data/models/init"}}}
    (provenance.root / f"{child.id}.jsonl").write_text(json.dumps(record) + "\n")
    return ScoreStore(tmp_path / "store"), provenance, parent, child


def test_a_short_cut_in_decoding_is_part_of_the_identity_and_exact_decoding_needs_no_word(tmp_path: Path) -> None:
    model, known = _model(tmp_path / "a", "a"), _measurement().identity("c_a", _model(tmp_path / "b", "a"))

    def identity(**short_cut: Any) -> str:
        stage1 = SAMPLING | {"text_steps": 2} | short_cut
        decoding = {"default": {"default": SAMPLING | short_cut}, "stage1": {"default": stage1}}
        evaluation = {"batch_size": 4, "seed": 1, "threads": 1, "decoding": decoding}
        return _measurement(evaluation=Evaluation.model_validate(evaluation)).identity("c_a", model)

    assert identity(cache="none", threshold=None) == known
    assert len({known, identity(cache="dual"), identity(threshold=0.9), identity(threshold=0.8)}) == 4


def test_each_part_of_a_measurement_is_part_of_its_identity(tmp_path: Path) -> None:
    model, other = _model(tmp_path / "a", "a"), _model(tmp_path / "b", "b")
    known = _measurement().identity("c_a", model)
    assert _measurement().identity("c_a", model) == known
    assert _measurement().identity("another_name", model) == known, "a name is no part of what was measured"
    changed = [
        _measurement().identity("c_a", other),
        _measurement(items={"sums": "j" * 64}).identity("c_a", model),
        _measurement(magvit="n" * 64).identity("c_a", model),
        _measurement(verifiers={"sums": "v-2"}).identity("c_a", model),
        _measurement(version=3).identity("c_a", model),
        _measurement(crop_policy="pad").identity("c_a", model),
        _measurement().identity("c_a", _model(tmp_path / "c", "a", key="stage2")),
    ]
    assert len({known, *changed}) == 8


def test_scores_that_an_older_verifier_graded_keep_its_name(tmp_path: Path) -> None:
    evaluation = _measurement().evaluation.model_dump(mode="json")
    record = {
        "version": 2,
        "params": {"evaluation": evaluation, "vq.resolution": 64, "vq.crop_policy": "squash"},
        "inputs": {"magvit": {"id": "m" * 64}, "items sums": {"id": "i" * 64}},
    }
    model = _model(tmp_path / "a", "a")
    for verifier in ("v-1", "v-2"):
        scores = {"benchmarks": {"sums": {"identity": {"verifier": verifier}}}}
        found = Measurement.from_record(record, scores).identity("c_a", model)
        assert found == _measurement(verifiers={"sums": verifier}).identity("c_a", model)


def test_an_evaluation_is_kept_once(family: Any, tmp_path: Path) -> None:
    store, provenance, parent, child = family
    assert not store.has("e" * 64)
    entry = store.add(made_scores(tmp_path / "first", [True, False], child.id), "e" * 64, "child", child, provenance)
    again = store.add(made_scores(tmp_path / "second", [True, True], child.id), "e" * 64, "child", child, provenance)
    assert store.has("e" * 64)
    assert store.entries() == [entry] == [again]
    assert store.scores(entry)["benchmarks"]["sums"]["correct"] == 1, "the first measurement stands"
    assert (entry.parent, entry.step) == (parent.id, 40)


def test_two_that_keep_the_same_evaluation_at_once_do_not_take_it_from_each_other(
    family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep and `mmada scores` both find what the graph has just evaluated."""
    store, provenance, parent, _ = family
    scores = made_scores(tmp_path / "scores", [True] * 9, parent.id)
    busy = threading.Lock()

    def slowly(source: Path, target: Path) -> None:
        assert busy.acquire(blocking=False), "another is at it"
        time.sleep(0.2)
        link_tree(source, target)
        busy.release()

    monkeypatch.setattr(score_store, "link_tree", slowly)
    with ThreadPoolExecutor(2) as pool:
        kept = [pool.submit(store.add, scores, "e" * 64, "parent", parent, provenance) for _ in range(2)]
    assert store.entries() == [kept[0].result()] == [kept[1].result()]
    assert store.scores(store.entries()[0])["benchmarks"]["sums"]["correct"] == 9


@pytest.mark.parametrize(("broken", "falls"), [(0, False), (3, False), (30, True)])
def test_a_fall_is_told_from_chance(
    family: Any, tmp_path: Path, broken: int, falls: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    store, provenance, parent, child = family
    before = [True] * 60 + [False] * 40
    after = [False] * broken + before[broken:]
    store.add(made_scores(tmp_path / "before", before, parent.id), "a" * 64, "parent", parent, provenance)
    entry = store.add(made_scores(tmp_path / "after", after, child.id), "b" * 64, "child", child, provenance)
    assert bool(falls_among(store.changes(entry))) == falls
    if falls:
        with pytest.raises(RegressionError, match="child on sums"):
            print_scores(store, as_json=False, check=True)
        assert "FELL" in capsys.readouterr().out
    print_scores(store, as_json=True, check=False)
    row = next(row for row in json.loads(capsys.readouterr().out) if row["name"] == "child")
    assert row["change"]["difference"] == pytest.approx(-broken / 100)
    assert row["change"]["only_second"] == broken


def test_the_store_is_read_once_however_many_evaluations_it_holds(
    family: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, provenance, parent, child = family
    for name, model in (("a", parent), ("b", child), ("c", child)):
        store.add(made_scores(tmp_path / name, [True] * 9, model.id), name * 64, name, model, provenance)
    readings: list[int] = []
    original = ScoreStore.entries
    monkeypatch.setattr(ScoreStore, "entries", lambda store: readings.append(1) or original(store))
    print_scores(store, as_json=False, check=True)
    list(published_scores(store, "sums"))
    assert len(readings) == 2


def test_another_suite_is_not_compared(family: Any, tmp_path: Path) -> None:
    store, provenance, parent, child = family
    scores = made_scores(tmp_path / "before", [True] * 50, parent.id)
    body = json.loads((scores / "scores.json").read_text())
    body["benchmarks"]["sums"]["identity"]["items"] = "other items"
    (scores / "scores.json").write_text(json.dumps(body))
    store.add(scores, "a" * 64, "parent", parent, provenance)
    entry = store.add(made_scores(tmp_path / "after", [False] * 50, child.id), "b" * 64, "child", child, provenance)
    assert store.changes(entry) == {}


@pytest.mark.parametrize("other", ["0" * 64, "f" * 64])
def test_a_parent_is_compared_under_the_same_decoding_alone(family: Any, tmp_path: Path, other: str) -> None:
    """By whatever name the parent's evaluation under another decoding stands in the store."""
    store, provenance, parent, child = family
    quick = made_scores(tmp_path / "quick", [True] * 50, parent.id, decoding="quick")
    store.add(quick, other, "parent", parent, provenance)
    entry = store.add(made_scores(tmp_path / "after", [False] * 50, child.id), "b" * 64, "child", child, provenance)
    assert store.changes(entry) == {}
    alike = store.add(made_scores(tmp_path / "alike", [False] * 50, parent.id), "a" * 64, "parent", parent, provenance)
    (compared_with, change) = store.changes(entry)["sums"]
    assert (compared_with, change.difference) == (alike, 0)


@pytest.mark.parametrize("names", ["0f", "f0"])
def test_of_several_evaluations_of_the_parent_the_youngest_counts(family: Any, tmp_path: Path, names: str) -> None:
    store, provenance, parent, child = family
    for age, name in enumerate(names):
        scores = made_scores(tmp_path / name, [bool(age)] * 50, parent.id)
        store.add(scores, name * 64, "parent", parent, provenance)
        os.utime(store.folder(name * 64).with_suffix(".json"), (age, age))
    entry = store.add(made_scores(tmp_path / "after", [True] * 50, child.id), "b" * 64, "child", child, provenance)
    (compared_with, change) = store.changes(entry)["sums"]
    assert (compared_with.identity, change.difference) == (names[1] * 64, 0)


def test_what_is_damaged_in_the_store_is_named_with_what_to_do(family: Any, tmp_path: Path) -> None:
    store, provenance, parent, _ = family
    scores = made_scores(tmp_path / "scores", [True] * 9, parent.id)
    entry = store.add(scores, "a" * 64, "parent", parent, provenance)
    file = store.folder(entry.identity).with_suffix(".json")
    whole = file.read_text()
    for damaged in ("", whole[:-9], "{}", "[]"):
        file.write_text(damaged)
        with pytest.raises(IntegrityError, match=f"{file} is gone or damaged .*; delete {file}"):
            print_scores(store, as_json=False, check=False)
    file.write_text(whole)
    shutil.rmtree(store.folder(entry.identity))
    with pytest.raises(IntegrityError, match=f"scores.json is gone or damaged .*; delete {file}"):
        print_scores(store, as_json=False, check=False)
    file.unlink()
    store.add(scores, entry.identity, "parent", parent, provenance)
    print_scores(store, as_json=False, check=False)


def test_many_items_a_little_better_and_a_few_far_worse_are_no_fall() -> None:
    """Of four answers to each item: the items that differ say that the checkpoint is better, their answers do not."""
    difference = [0.25] * 30 + [-1.0] * 8 + [0.0] * 62
    change = Comparison(100, 30, 8, sum(difference) / 100, *paired_interval(difference), mcnemar(30, 8))
    entry = Entry("a" * 64, "b" * 64, "child", "c" * 64, None)
    assert change.difference < 0
    assert change.p_value < 0.001
    assert falls_among({"drawing": (entry, change)}) == []
    fallen = replace(change, only_first=8, only_second=30)
    assert [fall.benchmark for fall in falls_among({"drawing": (entry, fallen)})] == ["drawing"]


def test_a_damaged_table_of_the_store_is_named_with_what_to_do(family: Any, tmp_path: Path) -> None:
    store, provenance, parent, child = family
    for name, model in (("a", parent), ("b", child)):
        store.add(made_scores(tmp_path / name, [True] * 9, model.id), name * 64, name, model, provenance)
    table = store.folder("a" * 64) / "items-sums.parquet"
    table.unlink()
    for damaged in (None, b"PAR1"):
        if damaged is not None:
            table.write_bytes(damaged)
        with pytest.raises(
            IntegrityError, match=f"{table} is gone or damaged .*; delete .*{'a' * 16}.json: `mmada scores`"
        ):
            print_scores(store, as_json=False, check=False)


@pytest.mark.parametrize("damaged", [None, "", '{"benchmarks": {'])
def test_damaged_scores_of_the_graph_are_named_with_what_to_do(project: Path, damaged: str | None) -> None:
    folder = _made_by_the_graph(project)
    (folder / "scores.json").unlink()
    if damaged is not None:
        (folder / "scores.json").write_text(damaged)
    with pytest.raises(IntegrityError, match=r"stage1/scores.json is gone or damaged .*`dvc checkout .*stage1`"):
        collect_scores(project, project)


def test_a_damaged_table_of_the_graph_is_not_kept(project: Path) -> None:
    folder = _made_by_the_graph(project)
    table = folder / "items-sums.parquet"
    whole = table.read_bytes()
    table.write_bytes(whole[:-1])
    with pytest.raises(IntegrityError, match=r"items-sums.parquet; delete .*stage1 and run"):
        collect_scores(project, project)
    table.write_bytes(whole)
    assert [entry.name for entry in collect_scores(project, project)] == ["stage1"]
    table.unlink()
    collect_scores(project, project)  # it is kept already, whole


def _made_by_the_graph(project: Path) -> Path:
    """Scores of the stage stage1, as the graph leaves them; returns their folder."""
    folder = project / "data/scores/stage1"
    model = _model(project / "data/models/stage1", "stage1")
    made = read_artifact(made_scores(folder, [True] * 9, model.id))
    evaluation = _measurement().evaluation.model_dump(mode="json")
    record = {
        "id": made.id,
        "version": 5,
        "params": {"evaluation": evaluation, "vq.resolution": 64, "vq.crop_policy": "squash"},
        "inputs": {
            "model": {"id": model.id, "path": "data/models/stage1"},
            "magvit": {"id": "m" * 64},
            "items sums": {"id": "i" * 64},
        },
    }
    (project / "data/provenance").mkdir()
    (project / "data/provenance" / f"{made.id}.jsonl").write_text(json.dumps(record) + "\n")
    return folder


def test_holm_is_the_published_procedure() -> None:
    # Holm 1979; the values are those of R's p.adjust(c(.01, .04, .03, .005), "holm").
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})


def _discordant(rng: random.Random, pairs: int, worse: float) -> float:
    """One-sided p-value of `pairs` items on which two models differ, each worse with probability `worse`."""
    fell = sum(rng.random() < worse for _ in range(pairs))
    return mcnemar(pairs - fell, fell) / 2 if fell > pairs - fell else 1.0


def test_alarms_do_not_cry_wolf_over_many_benchmarks() -> None:
    """20 tasks x 10 checkpoints that did not change: at most 5 % of such families raise any alarm."""
    rng = random.Random(3)
    families = 300
    cried = sum(
        any(significant({str(task): _discordant(rng, 30, 0.5) for task in range(20)}) for _ in range(10))
        for _ in range(families)
    )
    assert cried / families <= 0.05


def test_a_real_fall_is_heard() -> None:
    """-3 points on 1,319 items of which 6 % are discordant, among 19 tasks that did not move: heard in >= 80 %."""
    rng = random.Random(4)
    pairs, lost = round(0.06 * 1319), round(0.03 * 1319)
    worse = (pairs + lost) / 2 / pairs
    heard = 0
    for _ in range(200):
        p_values = {str(task): _discordant(rng, 30, 0.5) for task in range(19)}
        heard += "fell" in significant({**p_values, "fell": _discordant(rng, pairs, worse)})
    assert heard / 200 >= 0.8
