"""The gate: Great Expectations on the kept rows. What it refuses, no training stage gets to see."""

import json
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.facts import read_facts
from mmada.contracts.records import SELECTED
from mmada.contracts.tables import read_table
from mmada.lineage.manifest import open_artifact
from mmada.params_data import Gate
from mmada.params_schema import Paths
from mmada.stage_report import StageReport
from mmada.storage import atomic_write
from mmada.validation.expectations import checks, tables
from mmada.validation.gates import refuse_failures, run_checks, to_html

VERSION: Final = 1
OUT: Final = "gate"


def validate(*, out: Path, paths: Paths, gate: Gate) -> StageReport:
    """Writes `certificate.json`: every check with its limit and what was observed, for one version of the
    rows.

    The same as a page goes to `<reports>/gate.html`, also when the gate refuses. Raises GateError naming the
    checks that failed and the entries of params.yaml that set their limits.
    """
    inputs = {"facts": open_artifact(Path(paths.facts)), "selected": open_artifact(Path(paths.selected))}
    facts = read_facts(inputs["facts"].path)
    selected = read_table(inputs["selected"].path / "selected.parquet", SELECTED, "selected rows")
    limits = gate.model_dump()
    outcomes = run_checks(tables(facts, selected, sorted(gate.min_rows_per_task)), checks(**limits))
    report = Path(paths.reports) / "gate.html"
    atomic_write(report, to_html(outcomes, "Gate: expectations of the kept rows").encode())
    refuse_failures(outcomes, report.as_posix())
    certificate = {
        "selected": inputs["selected"].id,
        "limits": limits,
        "checks": [outcome.to_json() for outcome in outcomes],
    }
    text = json.dumps(certificate, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (out / "certificate.json").write_text(text, encoding="utf-8")
    return StageReport(
        inputs=inputs,
        rows_in=selected.height,
        rows_kept=selected.height,
        metrics={"checks": len(outcomes), "rows_by_task": _by_task(selected)},
        metadata={"selected": inputs["selected"].id},
    )


def _by_task(selected: pl.DataFrame) -> dict[str, int]:
    return dict(selected.group_by("task").len().sort("task").iter_rows())
