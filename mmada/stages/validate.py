"""The gate: Great Expectations on the kept rows. What it refuses, no training stage gets to see."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.facts import STORED_FACTS, facts_parts
from mmada.contracts.records import DROPS, SELECTED
from mmada.contracts.tables import scan_columns
from mmada.lineage.benchmark_search import refuse_unchecked
from mmada.lineage.manifest import Artifact, file_sha256, open_artifact
from mmada.params_data import NO_REFERENCE, Gate
from mmada.params_schema import Paths
from mmada.stage_report import StageReport
from mmada.validation.drift import profile, read_profile, shifts, write_profile
from mmada.validation.expectations import Check, checks
from mmada.validation.gates import check_overrides, refuse_failures, run_checks, with_overrides
from mmada.validation.narrow import DROP_COLUMNS, FACT_COLUMNS, SELECTED_COLUMNS, narrow_tables
from mmada.validation.report import write_report

VERSION: Final = 2
OUT: Final = "gate"

PROFILE_FILE: Final = "profile.json"


def validate(*, out: Path, paths: Paths, gate: Gate, registered: Sequence[str]) -> StageReport:
    """Writes `certificate.json` (every check with its limit and what was observed, for one version of the rows, and
    which benchmarks were searched for) and `profile.json` (their distributions, which `mmada promote` keeps).

    A report for people goes to `<reports>/gate`, also when the gate refuses. Raises GateError naming the checks that
    failed and the entries of params.yaml that set their limits, or a benchmark that was not searched for.
    """
    inputs = {"facts": open_artifact(Path(paths.facts)), "selected": open_artifact(Path(paths.selected))}
    selected = inputs["selected"].id
    search = json.loads((inputs["facts"].path / "certificate.json").read_text(encoding="utf-8"))
    refuse_unchecked(search["benchmarks"].items(), registered, Path(paths.benchmark_items), "these rows")
    tables = _tables(inputs, sorted(gate.min_rows_per_task))
    wanted = gate_checks(gate)
    check_overrides(gate.overrides, wanted, selected)
    reference = Path(paths.profiles) / f"{gate.reference}.json"
    if gate.reference != NO_REFERENCE:
        tables["shifts"] = shifts(tables, read_profile(reference))
    outcomes = with_overrides(run_checks(tables, wanted), gate.overrides)
    report = Path(paths.reports) / "gate"
    write_report(outcomes, report, selected)
    refuse_failures(outcomes, report.as_posix(), selected)
    certificate = {
        "selected": selected,
        "limits": gate.model_dump(exclude={"overrides"}),
        "checks": [outcome.to_json() for outcome in outcomes],
        "benchmarks": search["benchmarks"],
        "benchmark_index": search["index"],
        "reference_sha256": "" if gate.reference == NO_REFERENCE else file_sha256(reference),
    }
    text = json.dumps(certificate, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (out / "certificate.json").write_text(text, encoding="utf-8")
    write_profile(profile(tables), out / PROFILE_FILE)
    rows = tables["kept"]
    return StageReport(
        inputs=inputs,
        rows_in=rows.height,
        rows_kept=rows.height,
        metrics={
            "checks": len(outcomes),
            "overridden": [outcome.check.name for outcome in outcomes if outcome.override],
            "rows_by_task": dict(rows.group_by("task").len().sort("task").iter_rows()),
        },
        metadata={"selected": selected},
    )


def gate_checks(gate: Gate) -> list[Check]:
    """What the gate checks."""
    reference = "" if gate.reference == NO_REFERENCE else gate.reference
    return checks(**gate.model_dump(exclude={"reference", "overrides"}), reference=reference)


def _tables(inputs: Mapping[str, Artifact], tasks: Sequence[str]) -> dict[str, pl.DataFrame]:
    facts, selected = inputs["facts"].path, inputs["selected"].path
    return narrow_tables(
        scan_columns(facts_parts(facts), STORED_FACTS, FACT_COLUMNS, "facts"),
        scan_columns([selected / "selected.parquet"], SELECTED, SELECTED_COLUMNS, "selected rows"),
        scan_columns([selected / "dropped.parquet"], DROPS, DROP_COLUMNS, "ledger of selection"),
        tasks,
    )
