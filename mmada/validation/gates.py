"""Ask Great Expectations, and say what came out: the only module that imports it (and pandas)."""

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import polars as pl

from mmada.errors import GateError
from mmada.validation.expectations import Check

_ROW_COUNT: Final = "ExpectTableRowCountToBeBetween"


@dataclass(frozen=True)
class Outcome:
    """What a check found. `observed`: the measured value, or the first values that break it. `rows`: looked
    at.
    """

    check: Check
    success: bool
    observed: Any
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Plain values in a stable order."""
        return {**asdict(self.check), "success": self.success, "observed": self.observed, "rows": self.rows}


def run_checks(tables: Mapping[str, pl.DataFrame], checks: Sequence[Check]) -> list[Outcome]:
    """The outcome of every check, in their order.

    A check over a table without rows holds (nothing contradicts it), but for the number of rows itself.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported, which takes 3 s: hence here
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("kept rows")
    batches = {
        name: source.add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("all")
        .get_batch(batch_parameters={"dataframe": table.to_pandas()})
        for name, table in tables.items()
    }
    outcomes = []
    for check in checks:
        rows = tables[check.table].height
        if rows == 0 and check.kind != _ROW_COUNT:
            outcomes.append(Outcome(check, True, None, rows))
            continue
        result = batches[check.table].validate(getattr(gx.expectations, check.kind)(**check.arguments))
        failure = _exception(result.exception_info)
        if failure:
            raise RuntimeError(f"the check {check.name!r} could not be evaluated: {failure}")
        outcomes.append(Outcome(check, bool(result.success), _observed(result.result), rows))
    return outcomes


def _exception(info: Mapping[str, Any]) -> str:
    """Message of an exception inside an expectation (its information is nested for metrics)."""
    if "raised_exception" in info:
        return str(info["exception_message"]) if info["raised_exception"] else ""
    return next((message for message in map(_exception, info.values()) if message), "")


def _observed(result: Mapping[str, Any]) -> Any:
    """The measured value of an aggregate, or the first unexpected values of a column."""
    value = result.get("observed_value")
    if value is None:
        value = [result.get("unexpected_count", 0), *result.get("partial_unexpected_list", [])[:5]]
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def refuse_failures(outcomes: Iterable[Outcome], report: str) -> None:
    """Raise GateError that names every failed check, what was observed, the limit, and the entry that sets
    it.
    """
    failed = [outcome for outcome in outcomes if not outcome.success]
    if failed:
        lines = [f"  {_explain(outcome)}" for outcome in failed]
        raise GateError(
            f"the data does not pass {len(failed)} checks; the whole report is {report}\n" + "\n".join(lines)
        )


def _explain(outcome: Outcome) -> str:
    check = outcome.check
    limits = {name: value for name, value in check.arguments.items() if not name.startswith("column")}
    remedy = (
        f"mend the data, or change {check.limit_at} in params.yaml"
        if check.limit_at
        else "a contract is broken: this is a defect, not a limit"
    )
    expected = ", ".join(f"{name} {value}" for name, value in limits.items()) or check.kind
    return f"{check.name}: observed {outcome.observed}, expected {expected} ({check.kind}); {remedy}"


def to_html(outcomes: Sequence[Outcome], title: str) -> str:
    """A page that needs nothing from the net."""
    rows = "".join(
        f"<tr class={'ok' if outcome.success else 'failed'}>"
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in _cells(outcome))
        + "</tr>"
        for outcome in outcomes
    )
    head = "".join(f"<th>{name}</th>" for name in ("passed", "check", "expectation", "observed", "rows", "limit"))
    style = (
        "body{font:14px sans-serif;margin:2em}td,th{padding:.3em .8em;text-align:left}"
        ".ok td{background:#eaf6ea}.failed td{background:#fbe3e3}"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{style}</style><h1>{html.escape(title)}</h1><table><tr>{head}</tr>{rows}</table></html>\n"
    )


def _cells(outcome: Outcome) -> tuple[object, ...]:
    check = outcome.check
    arguments = ", ".join(f"{name}={value}" for name, value in check.arguments.items())
    passed = "yes" if outcome.success else "no"
    return passed, check.name, f"{check.kind}({arguments})", outcome.observed, outcome.rows, check.limit_at
