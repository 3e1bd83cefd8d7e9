"""Training is refused on shards that passed no gate, or that were not searched for a benchmark registered since."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mmada.errors import GateError
from mmada.lineage.benchmark_search import refuse_unchecked_shards
from mmada.lineage.manifest import Artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run


def made(root: Path, folder: str, stage: str, inputs: Mapping[str, Artifact], text: str = "") -> Artifact:
    path = root / folder
    path.mkdir(parents=True, exist_ok=True)
    (path / "file").write_text(text or folder)
    artifact = write_manifest(path, stage=stage, version=1, metadata={})
    read = {name: (one.id, one.path.as_posix()) for name, one in inputs.items()}
    run = Run(stage, "", 1, folder, read, raw_files={}, params={}, started=datetime.now(UTC))
    ProvenanceStore(root / "provenance").append(artifact, run)
    return artifact


def shards_of(root: Path, *benchmarks: str, with_gate: bool = True) -> Artifact:
    """Shards whose rows were searched for these benchmarks."""
    inputs = {f"benchmark {name}": made(root, f"items/{name}", "benchmark_items", {}) for name in benchmarks}
    inputs["selected"] = selected = made(root, "selected", "select", {})
    if with_gate:
        inputs["gate"] = made(root, "gate", "validate", {"selected": selected})
    return made(root, "shards", "write_shards", inputs)


def refuse(root: Path, shards: Artifact, *registered: str) -> None:
    refuse_unchecked_shards(shards, ProvenanceStore(root / "provenance"), registered, root / "items")


def test_shards_that_were_searched_for_everything_are_let_in(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, "sums", "drawings")
    refuse(tmp_path, shards, "sums", "drawings")
    refuse(tmp_path, shards, "sums")


def test_a_benchmark_registered_since_makes_them_unchecked(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"unchecked: they were not searched for drawings of.*dvc repro write_shards"):
        refuse(tmp_path, shards_of(tmp_path, "sums"), "sums", "drawings")


def test_other_items_of_a_benchmark_make_them_unchecked(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, "sums")
    made(tmp_path, "items/sums", "benchmark_items", {}, text="harder sums")
    with pytest.raises(GateError, match="not searched for sums"):
        refuse(tmp_path, shards, "sums")


def test_a_search_that_finds_nothing_new_lets_the_same_shards_in(tmp_path: Path) -> None:
    before = shards_of(tmp_path, "sums")
    again = shards_of(tmp_path, "sums", "drawings")
    assert again.id == before.id
    refuse(tmp_path, again, "sums", "drawings")


def test_what_was_searched_for_at_any_time_counts(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, "sums", "drawings")
    assert shards_of(tmp_path, "sums").id == shards.id, "this search was the last one"
    refuse(tmp_path, shards, "sums", "drawings")


def test_shards_that_passed_no_gate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="no gate let the rows of"):
        refuse(tmp_path, shards_of(tmp_path, "sums", with_gate=False), "sums")
