"""The gate: every limit can fail, the message says what to change, and Great Expectations is what decides."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from mmada.contracts.facts import FACTS, STORED_FACTS
from mmada.contracts.records import DROPS, SELECTED
from mmada.contracts.tables import write_table
from mmada.errors import ContractError, GateError
from mmada.lineage.manifest import file_sha256, read_artifact, write_manifest
from mmada.params_data import Gate
from mmada.params_schema import Paths
from mmada.stage_report import StageReport
from mmada.stages.validate import validate
from mmada.validation.expectations import checks
from mmada.validation.gates import run_checks
from mmada.validation.narrow import DROP_COLUMNS, FACT_COLUMNS, SELECTED_COLUMNS, narrow_tables

GATE: dict[str, Any] = {
    "min_rows": 8,
    "max_drop_share": 0.25,
    "min_rows_per_task": {"chat": 4, "mmu": 4},
    "max_text_tokens": 50,
    "min_correct_share": 1.0,
    "max_shift": 0.03,
}
SETTINGS: dict[str, Any] = {"reference": "none", "overrides": ()}


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
            "blur": None if n % 2 else 0.3,
            "image_side": None if n % 2 else 64,
            "image_aspect": None if n % 2 else 1.0,
            "scores": [],
            "personal_data": "",
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


def dropped(kept: int) -> pl.DataFrame:
    rows = facts().slice(kept).select("row_id", "corpus", "source_file", "row")
    return rows.with_columns(reason=pl.lit("answer_wrong"), value=pl.lit("8"), excerpt=pl.lit("")).select(list(DROPS))


def narrow(known: pl.DataFrame, chosen: pl.DataFrame) -> dict[str, pl.DataFrame]:
    lost = dropped(10).lazy().select(DROP_COLUMNS)
    return narrow_tables(
        known.lazy().select(FACT_COLUMNS), chosen.lazy().select(SELECTED_COLUMNS), lost, ["chat", "mmu"]
    )


def project(tmp_path: Path, known: pl.DataFrame, kept: int) -> Paths:
    for name in ("facts", "selected"):
        (tmp_path / name).mkdir()
    (tmp_path / "facts/c").mkdir()
    known.drop(set(FACTS) - set(STORED_FACTS), strict=False).write_parquet(tmp_path / "facts/c/facts-000000.parquet")
    (tmp_path / "facts/certificate.json").write_text('{"benchmarks": {"sums": "items"}, "index": "digest"}')
    write_table(selected(kept), tmp_path / "selected/selected.parquet", SELECTED)
    write_table(dropped(kept), tmp_path / "selected/dropped.parquet", DROPS)
    for name in ("facts", "selected"):
        write_manifest(tmp_path / name, stage=name, version=1, metadata={})
    return Paths(**{name: str(tmp_path / name) for name in Paths.model_fields})


def run_gate(
    paths: Paths, *, settings: Mapping[str, Any] = SETTINGS, registered: Sequence[str] = ("sums",), **limits: Any
) -> tuple[StageReport, dict[str, Any]]:
    """The stage's report and its certificate."""
    out = Path(paths.gate)
    out.mkdir(exist_ok=True)
    report = validate(out=out, paths=paths, gate=Gate(**{**GATE, **settings, **limits}), registered=registered)
    return report, json.loads((out / "certificate.json").read_text())


def test_good_data_pass_and_the_certificate_names_them(tmp_path: Path) -> None:
    paths = project(tmp_path, facts(), 10)
    report, certificate = run_gate(paths)
    assert certificate["selected"] == report.metadata["selected"] == report.inputs["selected"].id
    assert all(check["success"] for check in certificate["checks"])
    observed = {check["name"]: check["observed"] for check in certificate["checks"]}
    assert observed["rows kept"] == 10
    assert observed["share of rows dropped"] == 0.0
    assert (certificate["benchmarks"], certificate["benchmark_index"]) == ({"sums": "items"}, "digest")
    page = (tmp_path / "reports/gate/index.html").read_text()
    assert "rows kept" in page
    assert "http" not in page


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
    with pytest.raises(GateError, match=f"{entry} in params.yaml"):
        run_gate(paths)
    assert not (Path(paths.gate) / "certificate.json").exists()
    assert "class=failed" in (tmp_path / "reports/gate/index.html").read_text()
    _, certificate = run_gate(paths, **loosened)
    assert all(check["success"] for check in certificate["checks"])


def test_a_failed_check_names_rows_values_and_where_the_rest_is(tmp_path: Path) -> None:
    paths = project(tmp_path, facts(num_text_tokens={n: 51 + n for n in range(7)}), 10)
    with pytest.raises(GateError) as refused:
        run_gate(paths)
    message = str(refused.value)
    assert "text tokens of a row: 7 of 10 rows fail; expected at least 1 and at most 50" in message
    assert [f"{n:064x}  {51 + n}" in message for n in range(7)] == [True] * 5 + [False] * 2
    listed = tmp_path / "reports/gate/text_tokens_of_a_row.txt"
    assert f"cut -f1 {listed} | xargs mmada show rows" in message
    assert "mmada why" in message
    assert listed.read_text().splitlines() == [f"{n:064x}\t{51 + n}" for n in range(7)]


def test_a_share_shows_the_rows_that_count_against_it(tmp_path: Path) -> None:
    known = facts(answer_correct={3: "no"}, final_answer={3: "eleven"})
    with pytest.raises(GateError, match=r"(?s)observed 0\.8, 1 rows count against it.*0003  eleven"):
        run_gate(project(tmp_path, known, 10))


def test_what_a_row_says_stays_in_its_line_and_commands_no_terminal(tmp_path: Path) -> None:
    said = "7\n8\t\x1b[2J\u202e"
    known = facts(answer_correct={1: "no"}, final_answer={1: said})
    with pytest.raises(GateError) as refused:
        run_gate(project(tmp_path, known, 10))
    assert f"{1:064x}  7 8 [2J " in str(refused.value)
    assert not set(said) & set("\t\x1b\u202e") & set(str(refused.value))
    (listed,) = (tmp_path / "reports/gate").glob("share_of_checkable*.txt")
    assert [line.split("\t")[0] for line in listed.read_text().splitlines()] == [f"{1:064x}"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"defect": {2: "thought_unclosed"}}, "no thought has a defect"),
        ({"psnr": {2: None}}, "every picture has codes"),
        ({"code_entropy": {2: 13.5}}, "code_entropy is in its range"),
        ({"loop_share": {2: float("nan")}}, "no fact is NaN"),
        ({"psnr": {2: float("nan")}}, "no fact is NaN"),
        ({"answer_correct": {2: None}}, "facts are there"),
    ],
)
def test_what_a_contract_demands_has_no_limit_to_loosen(changes: dict[str, Any], name: str) -> None:
    outcomes = run_checks(narrow(facts(**changes), selected(10)), checks(**GATE))
    failed = [outcome for outcome in outcomes if not outcome.success]
    assert name in [outcome.check.name for outcome in failed]
    assert all(outcome.failing["row"].to_list() == [f"{2:064x}"] for outcome in failed)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (facts().drop("psnr"), "missing columns \\['psnr'\\]"),
        (facts().cast({"num_text_tokens": pl.String}), "num_text_tokens is String, not Int64"),
    ],
)
def test_facts_of_another_shape_are_a_named_error(tmp_path: Path, known: pl.DataFrame, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        run_gate(project(tmp_path, known, 10))


def test_facts_that_are_no_table_are_a_named_error(tmp_path: Path) -> None:
    paths = project(tmp_path, facts(), 10)
    (tmp_path / "facts/c/facts-000000.parquet").write_text("rows")
    write_manifest(tmp_path / "facts", stage="facts", version=1, metadata={})
    with pytest.raises(ContractError, match="is not a readable parquet file"):
        run_gate(paths)


def test_rows_that_were_not_searched_for_a_benchmark_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"unchecked: they were not searched for drawings of"):
        run_gate(project(tmp_path, facts(), 10), registered=("sums", "drawings"))


def override(paths: Paths, **changes: str) -> dict[str, Any]:
    """Settings of the gate that let rows pass in which a number of tokens is too high."""
    entry = {"check": "text tokens of a row", "who": "Ada", "why": "a known long row", **changes}
    return {"reference": "none", "overrides": [{"selected": read_artifact(Path(paths.selected)).id, **entry}]}


def test_an_override_lets_one_check_of_one_version_pass(tmp_path: Path) -> None:
    paths = project(tmp_path, facts(num_text_tokens={3: 51}), 10)
    report, certificate = run_gate(paths, settings=override(paths))
    (failed,) = [check for check in certificate["checks"] if not check["success"]]
    assert failed["override"]["who"] == "Ada"
    assert failed["examples"] == [[f"{3:064x}", "51"]]
    assert report.metrics["overridden"] == ["text tokens of a row"]
    assert "by override of Ada: a known long row" in (tmp_path / "reports/gate/index.html").read_text()
    with pytest.raises(GateError, match="rows kept"):
        run_gate(paths, settings=override(paths), min_rows=11)  # nothing else passes with it


def test_rows_that_moved_from_the_reference_are_refused(tmp_path: Path) -> None:
    paths = project(tmp_path, facts(), 10)
    known = {"answer_correct": {"counts": {"yes": 500, "unchecked": 4500}}, "task": {"counts": {"chat": 5, "mmu": 5}}}
    Path(paths.profiles).mkdir()
    (Path(paths.profiles) / "first.json").write_text(json.dumps(known))
    compared = {**SETTINGS, "reference": "first"}
    message = r"(?s)distributions are those of first: 1 of 2 rows fail.*answer_correct  .*90\.0% -> 50\.0% unchecked.*"
    with pytest.raises(GateError, match=message):
        run_gate(paths, settings=compared)
    _, certificate = run_gate(paths, settings=compared, max_shift=0.5)
    assert certificate["limits"]["reference"] == "first"
    assert certificate["reference_sha256"] == file_sha256(Path(paths.profiles) / "first.json")
    known["answer_correct"]["counts"] = {"yes": 5000, "unchecked": 5000}
    (Path(paths.profiles) / "first.json").write_text(json.dumps(known))
    run_gate(paths, settings=compared)


def test_the_profile_of_a_version_has_not_moved_from_itself(tmp_path: Path) -> None:
    paths = project(tmp_path, facts(), 10)
    run_gate(paths)
    Path(paths.profiles).mkdir()
    shutil.copy(Path(paths.gate) / "profile.json", Path(paths.profiles) / "first.json")
    run_gate(paths, settings={**SETTINGS, "reference": "first"}, max_shift=0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selected": "0" * 64}, r"gate\.overrides\[0\] in params.yaml was given for the selected rows 000000000000"),
        ({"check": "text"}, "there is no check 'text'; checks: rows kept, "),
    ],
)
def test_an_override_of_something_else_is_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    paths = project(tmp_path, facts(), 10)
    with pytest.raises(GateError, match=message):
        run_gate(paths, settings=override(paths, **changes))


@pytest.mark.parametrize("entry", ["check", "selected", "who", "why"])
@pytest.mark.parametrize("given", [None, "", " "])
def test_an_override_that_leaves_something_open_is_refused(entry: str, given: str | None) -> None:
    whole = {"check": "rows kept", "selected": "0" * 64, "who": "Ada", "why": "because"}
    changed = {**whole, entry: given} if given is not None else {k: v for k, v in whole.items() if k != entry}
    with pytest.raises(ValidationError, match=entry):
        Gate(**{**GATE, "reference": "none", "overrides": [changed]})


def test_the_same_sample_twice_is_refused() -> None:
    twice = pl.concat([selected(10), selected(1)])
    outcomes = run_checks(narrow(facts(), twice), checks(**GATE))
    assert "a sample is kept once" in [outcome.check.name for outcome in outcomes if not outcome.success]


def test_without_great_expectations_nothing_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "great_expectations", None)
    with pytest.raises(ImportError):
        run_gate(project(tmp_path, facts(), 10))


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
    outcomes = run_checks(narrow(facts(), selected(10)), checks(**GATE))
    assert sorted(asked) == sorted(outcome.check.kind for outcome in outcomes)
    assert not any(outcome.success for outcome in outcomes)
