"""How outputs came to be: append-only, once per way, found from any copy."""

import hashlib
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mmada.errors import InputError, IntegrityError
from mmada.lineage.manifest import Artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run
from mmada.lineage.trace import trace
from mmada.lineage.verify import Finding, verify
from tests.e2e.project_folder import run


def _artifact(folder: Path, content: str, stage: str) -> Artifact:
    folder.mkdir(parents=True)
    (folder / "file").write_text(content)
    return write_manifest(folder, stage=stage, version=1, metadata={})


def _run(stage: str, folder: Path, inputs: dict[str, Artifact], **params: object) -> Run:
    return Run(
        stage=stage,
        key="",
        version=1,
        path=folder.as_posix(),
        inputs={name: (artifact.id, artifact.path.as_posix()) for name, artifact in inputs.items()},
        raw_files={},
        params=params,
        started=datetime.now(UTC),
    )


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProvenanceStore:
    monkeypatch.chdir(tmp_path)
    return ProvenanceStore(tmp_path / "provenance")


def test_making_it_again_in_the_same_way_adds_nothing(store: ProvenanceStore, tmp_path: Path) -> None:
    made = _artifact(tmp_path / "a", "x", "ingest")
    for _ in range(3):
        store.append(made, _run("ingest", made.path, {}, limit=1))
    assert len(store.records(made.id)) == 1
    store.append(made, _run("ingest", made.path, {}, limit=2))
    assert [record["params"] for record in store.records(made.id)] == [{"limit": 1}, {"limit": 2}]


def test_trace_walks_over_ids(store: ProvenanceStore, tmp_path: Path) -> None:
    raw, facts, model = (_artifact(tmp_path / n, n, s) for n, s in (("a", "ingest"), ("b", "annotate"), ("c", "train")))
    store.append(raw, _run("ingest", raw.path, {}))
    store.append(facts, _run("annotate", facts.path, {"ingested": raw}))
    store.append(model, _run("train", model.path, {"facts": facts, "rows": raw}))
    lineage = trace(model.path, store)
    assert list(lineage.nodes) == [model.id, facts.id, raw.id]


def test_of_several_ways_the_one_is_told_whose_inputs_lie_here(store: ProvenanceStore, tmp_path: Path) -> None:
    """A limit that was changed and changed back: gate and certificate are the first ones again, no stage ran."""
    gates = [_artifact(tmp_path / name, name, "validate") for name in ("first", "second")]
    shards = _artifact(tmp_path / "shards", "s", "write_shards")
    for limit, gate in enumerate(gates):
        store.append(gate, _run("validate", Path("gate"), {}, limit=limit))
        run = _run("write_shards", Path("shards"), {"gate": gate})
        store.append(shards, replace(run, inputs={"gate": (gate.id, "gate")}))
    assert list(trace(shards.path, store, tmp_path).nodes) == [shards.id, gates[1].id]
    for gate in (gates[0], gates[1]):
        shutil.rmtree(tmp_path / "gate", ignore_errors=True)
        shutil.copytree(gate.path, tmp_path / "gate")
        lineage = trace(shards.path, store, tmp_path)
        assert list(lineage.nodes) == [shards.id, gate.id]
        assert not [found for found in verify(shards.path, lineage, tmp_path).findings if found.path.endswith("gate")]


def test_a_raw_file_of_which_two_versions_were_read_is_named_with_both(store: ProvenanceStore, tmp_path: Path) -> None:
    """A model on new data whose parent was trained on the data before: only one of the two can lie here now."""
    (tmp_path / "table.jsonl").write_text("new")
    shas = {content: hashlib.sha256(content.encode()).hexdigest() for content in ("old", "new")}
    rows = {content: _artifact(tmp_path / content, content, "ingest") for content in shas}
    for content, made in rows.items():
        store.append(made, replace(_run("ingest", made.path, {}), raw_files={"table.jsonl": shas[content]}))
    for inputs in (["new", "old"], ["old", "new"]):
        model = _artifact(tmp_path / "-".join(inputs), "-".join(inputs), "train")
        store.append(model, _run("train", model.path, {f"{place}": rows[name] for place, name in enumerate(inputs)}))
        lineage = trace(model.path, store)
        assert sorted(lineage.raw_files()) == sorted(("table.jsonl", sha) for sha in shas.values())
        assert verify(model.path, lineage, tmp_path).findings == (Finding("changed", "table.jsonl", "raw"),)


def test_an_unknown_output_says_where_to_look(store: ProvenanceStore, tmp_path: Path) -> None:
    made = _artifact(tmp_path / "a", "x", "ingest")
    with pytest.raises(InputError, match="--project"):
        trace(made.path, store)


def test_a_damaged_record_is_named(store: ProvenanceStore, tmp_path: Path) -> None:
    made = _artifact(tmp_path / "a", "x", "ingest")
    store.append(made, _run("ingest", made.path, {}))
    (store.root / f"{made.id}.jsonl").write_text("{")
    with pytest.raises(IntegrityError, match="damaged"):
        store.records(made.id)


def test_what_a_run_writes_itself_makes_no_patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = ProvenanceStore(Path("provenance"))
    made = _artifact(tmp_path / "a", "x", "ingest")
    store.append(made, _run("ingest", made.path, {}, limit=1))
    Path("code.py").write_text("")
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "git", "add", "--all")
    run(tmp_path, "git", "commit", "--quiet", "--message", "made")
    store.append(made, _run("ingest", made.path, {}, limit=2))
    store.append(made, _run("ingest", made.path, {}, limit=3))
    assert [record["code"]["patch"] for record in store.records(made.id)] == ["", "", ""]
    Path("code.py").write_text("edited")
    store.append(made, _run("ingest", made.path, {}, limit=4))
    assert store.records(made.id)[-1]["code"]["patch"] != ""


def test_names_may_hold_any_character(store: ProvenanceStore, tmp_path: Path) -> None:
    made = _artifact(tmp_path / "a", "x", "ingest")
    name = "b\u2028\u2029\x85\x0b\x1c.jsonl"
    for limit in (1, 2):
        store.append(made, replace(_run("ingest", made.path, {}, limit=limit), raw_files={name: "0" * 64}))
    assert [list(record["raw_files"]) for record in store.records(made.id)] == [[name]] * 2
