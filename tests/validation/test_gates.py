"""The gate: every limit can fail, the message says what to change, and Great Expectations is what decides."""

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mmada.contracts.facts import FACTS
from mmada.contracts.records import SELECTED
from mmada.contracts.tables import write_table
from mmada.errors import GateError
from mmada.lineage.manifest import write_manifest
from mmada.params_data import Gate
from mmada.params_schema import Paths
from mmada.stages.validate import validate
from mmada.validation.expectations import checks, tables
from mmada.validation.gates import run_checks
from tests.ingested import write_facts

GATE: dict[str, Any] = {
    "min_rows": 8,
    "max_drop_share": 0.25,
    "min_rows_per_task": {"chat": 4, "mmu": 4},
    "max_text_tokens": 50,
    "min_correct_share": 1.0,
}


def facts(**changes: dict[int, Any]) -> pl.DataFrame:
    """Ten annotated rows; `changes`: column -> row -> value."""
    rows = []
    for n in range(10):
        row = {
            "row_id": f"{n:064x}",
            "corpus": "c",
            "source_file": "a.jsonl",
            "file_sha256": "f",
            "row": n,
            "task": "chat" if n % 2 else "mmu",
            "kind": "",
            "image_sha256": "" if n % 2 else f"i{n}",
            "num_text_tokens": 10 + n,
            "num_thought_words": 3,
            "defect": "",
            "final_answer": "7",
            "answer_correct": "yes" if n % 2 else "unchecked",
            "loop_share": 0.0,
            "language_switches": 0,
            "psnr": None if n % 2 else 20.0,
            "pixel_std": None if n % 2 else 50.0,
            "structure": None if n % 2 else 0.5,
            "lost_share": None if n % 2 else 0.0,
            "code_entropy": None if n % 2 else 3.0,
            "content_key": str(n),
            "text_key": str(n),
        }
        rows.append(row | {name: values[n] for name, values in changes.items() if n in values})
    return pl.DataFrame(rows, schema=pl.Schema(FACTS))


def selected(kept: int) -> pl.DataFrame:
    rows = facts().head(kept).select("row_id", "corpus", "task", "kind", "source_file", "file_sha256", "row")
    origin = pl.struct("corpus", "source_file", "file_sha256", "row")
    return rows.with_columns(ordinal=pl.lit(0, dtype=pl.Int64), origins=pl.concat_list(origin)).select(list(SELECTED))


def project(tmp_path: Path, known: pl.DataFrame, kept: int) -> Paths:
    for name in ("facts", "selected"):
        (tmp_path / name).mkdir()
    write_facts(tmp_path / "facts", known)
    write_table(selected(kept), tmp_path / "selected/selected.parquet", SELECTED)
    for name in ("facts", "selected"):
        write_manifest(tmp_path / name, stage=name, version=1, metadata={})
    return Paths(**{name: str(tmp_path / name) for name in Paths.model_fields})


def test_good_data_pass_and_the_certificate_names_them(tmp_path: Path) -> None:
    paths = project(tmp_path, facts(), 10)
    out = tmp_path / "gate"
    out.mkdir()
    report = validate(out=out, paths=paths, gate=Gate(**GATE))
    certificate = json.loads((out / "certificate.json").read_text())
    assert certificate["selected"] == report.metadata["selected"] == report.inputs["selected"].id
    assert all(check["success"] for check in certificate["checks"])
    observed = {check["name"]: check["observed"] for check in certificate["checks"]}
    assert observed["rows kept"] == 10
    assert observed["share of rows dropped"] == 0.0
    assert "rows kept" in (tmp_path / "reports/gate.html").read_text()


@pytest.mark.parametrize(
    ("known", "kept", "entry", "loosened"),
    [
        (facts(), 7, "gate.min_rows", {"min_rows": 7, "max_drop_share": 0.3, "min_rows_per_task": {}}),
        (facts(), 7, "gate.max_drop_share", {"min_rows": 7, "max_drop_share": 0.3, "min_rows_per_task": {}}),
        (facts(), 7, "gate.min_rows_per_task.chat", {"min_rows": 7, "max_drop_share": 0.3, "min_rows_per_task": {}}),
        (facts(num_text_tokens={3: 51}), 10, "gate.max_text_tokens", {"max_text_tokens": 51}),
        (facts(answer_correct={3: "no"}), 10, "gate.min_correct_share", {"min_correct_share": 0.8}),
    ],
)
def test_a_failed_limit_stops_and_loosening_it_lets_pass(
    tmp_path: Path, known: pl.DataFrame, kept: int, entry: str, loosened: dict[str, Any]
) -> None:
    paths = project(tmp_path, known, kept)
    out = tmp_path / "gate"
    out.mkdir()
    with pytest.raises(GateError, match=f"{entry} in params.yaml") as refused:
        validate(out=out, paths=paths, gate=Gate(**GATE))
    assert "observed" in str(refused.value)
    assert not (out / "certificate.json").exists()
    assert "class=failed" in (tmp_path / "reports/gate.html").read_text()
    validate(out=out, paths=paths, gate=Gate(**{**GATE, **loosened}))
    assert (out / "certificate.json").exists()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"defect": {2: "thought_unclosed"}}, "no thought has a defect"),
        ({"psnr": {2: None}}, "every picture has codes"),
        ({"code_entropy": {2: 13.5}}, "codes carry at most 13 bits"),
    ],
)
def test_what_a_contract_demands_has_no_limit_to_loosen(changes: dict[str, Any], name: str) -> None:
    outcomes = run_checks(tables(facts(**changes), selected(10), ["chat", "mmu"]), checks(**GATE))
    assert [outcome.check.name for outcome in outcomes if not outcome.success] == [name]


def test_the_same_sample_twice_is_refused() -> None:
    twice = pl.concat([selected(10), selected(1)])
    outcomes = run_checks(tables(facts(), twice, ["chat", "mmu"]), checks(**GATE))
    assert "a sample is kept once" in [outcome.check.name for outcome in outcomes if not outcome.success]


def test_without_great_expectations_nothing_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "great_expectations", None)
    (tmp_path / "gate").mkdir()
    with pytest.raises(ImportError):
        validate(out=tmp_path / "gate", paths=project(tmp_path, facts(), 10), gate=Gate(**GATE))


def test_great_expectations_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    import great_expectations as gx

    asked: list[str] = []
    original = gx.datasource.fluent.interfaces.Batch.validate

    def validate_and_note(self: Any, expectation: Any, **options: Any) -> Any:
        asked.append(type(expectation).__name__)
        result = original(self, expectation, **options)
        result.success = not result.success
        return result

    monkeypatch.setattr(gx.datasource.fluent.interfaces.Batch, "validate", validate_and_note)
    outcomes = run_checks(tables(facts(), selected(10), ["chat", "mmu"]), checks(**GATE))
    assert asked == [outcome.check.kind for outcome in outcomes]
    assert not any(outcome.success for outcome in outcomes)
