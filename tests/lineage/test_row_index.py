"""Raw rows are named by the row indexes in provenance: what is wrong with one is said, never passed over."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from mmada.errors import IntegrityError
from mmada.lineage.impact import impact
from mmada.lineage.manifest import Artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run
from mmada.lineage.render import trace_lines
from mmada.lineage.trace import trace
from mmada.lineage.verify import Finding, verify
from mmada.params_schema import load_params
from mmada.shards.index import index_parts
from mmada.training.guard import SkippedBatch, skipped_batches
from tests.shards.made import make_sample, write_set

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = [make_sample(number) for number in range(20)]


@pytest.fixture
def shards(tmp_path: Path) -> Artifact:
    """A set of shards with provenance, in the project `tmp_path`."""
    made = write_set(tmp_path / "shards", SAMPLES, 5)
    run = Run("write_shards", "stage1", 1, "shards", {}, {}, {}, datetime.now(UTC))
    ProvenanceStore(tmp_path / "provenance").append(made, run, rows=index_parts(made.path))
    return made


def _rows_file(shards: Artifact, project: Path) -> Path:
    return ProvenanceStore(project / "provenance").rows_file(shards.id)


def _findings(shards: Artifact, project: Path) -> list[Finding]:
    lineage = trace(shards.path, ProvenanceStore(project / "provenance"))
    return list(verify(shards.path, lineage, project).findings)


def test_verify_finds_every_byte_that_changes_what_a_row_index_says(shards: Artifact, tmp_path: Path) -> None:
    file = _rows_file(shards, tmp_path)
    whole, rows = file.read_bytes(), pl.read_parquet(file)
    assert _findings(shards, tmp_path) == []
    changed = 0
    for place in range(10, len(whole), len(whole) // 40):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = _findings(shards, tmp_path)
        if found:
            assert found == [Finding("changed", file.as_posix(), "write_shards@stage1")], place
        else:
            assert pl.read_parquet(file).equals(rows), place
        changed += len(found)
    assert changed > 10


def test_verify_finds_that_a_row_index_is_missing(shards: Artifact, tmp_path: Path) -> None:
    file = _rows_file(shards, tmp_path)
    file.unlink()
    assert _findings(shards, tmp_path) == [Finding("missing", file.as_posix(), "write_shards@stage1")]


def _trained(shards: Artifact, tmp_path: Path) -> tuple[Artifact, ProvenanceStore]:
    """A model of three steps, of which the second moved no weight."""
    store = ProvenanceStore(tmp_path / "provenance")
    (tmp_path / "model").mkdir()
    model = write_manifest(tmp_path / "model", stage="train", key="stage1", version=1, metadata={})
    block = load_params(ROOT / "params.yaml").training["stage1"].model_dump(mode="json")
    block |= {"max_steps": 3, "grad_accumulation": 1}
    block["masked_prediction"]["batch_size"] = 4
    block["data"] |= {"corpora": {"captions": 1.0}}
    events = skipped_batches([SkippedBatch(1, "loss nan", ())])
    inputs = {"shards": (shards.id, "shards")}
    params = {"training.stage1": block}
    run = Run("train", "stage1", 1, "model", inputs, {}, params, datetime.now(UTC), events=events)
    store.append(model, run)
    return model, store


def test_a_step_that_moved_no_weight_says_so(shards: Artifact, tmp_path: Path) -> None:
    model, store = _trained(shards, tmp_path)
    lineage = trace(model.path, store, tmp_path)
    assert [lineage.step_rows(step)["skipped"].to_list() for step in range(3)] == [[""] * 4, ["loss nan"] * 4, [""] * 4]


def test_verify_finds_that_a_record_names_other_files(shards: Artifact, tmp_path: Path) -> None:
    record = ProvenanceStore(tmp_path / "provenance").record_file(shards.id)
    sha256 = next(iter(shards.files.values()))
    record.write_text(record.read_text().replace(sha256, sha256[::-1]))
    assert _findings(shards, tmp_path) == [Finding("changed", record.as_posix(), "write_shards@stage1")]


@pytest.mark.parametrize("change", [('"inputs"', '"inpuus"'), ('"max_steps"', '"max_stepz"'), ('"lm"', '"lo"')])
def test_a_record_that_does_not_say_what_it_must_is_named(
    shards: Artifact, tmp_path: Path, change: tuple[str, str]
) -> None:
    model, store = _trained(shards, tmp_path)
    record = store.record_file(model.id)
    record.write_text(record.read_text().replace(*change))
    with pytest.raises(IntegrityError, match=rf"{model.id}\.jsonl is damaged"):
        trace(model.path, store, tmp_path).step_rows(0)


@pytest.mark.parametrize(
    ("harm", "said"), [(Path.unlink, "is missing"), (lambda file: file.write_bytes(b"P"), "damaged")]
)
def test_whoever_asks_for_rows_is_told(
    shards: Artifact, tmp_path: Path, harm: Callable[[Path], object], said: str
) -> None:
    store = ProvenanceStore(tmp_path / "provenance")
    assert trace_lines(trace(shards.path, store))[-1].startswith("write_shards@stage1: 20 samples")
    harm(_rows_file(shards, tmp_path))
    with pytest.raises(IntegrityError, match=said):
        trace_lines(trace(shards.path, store))
    with pytest.raises(IntegrityError, match=said):
        impact(SAMPLES[0].row_id, store)
