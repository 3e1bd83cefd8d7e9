"""Ask Great Expectations, and refuse what it does not let pass: the only module that imports it (and pandas)."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import polars as pl

from mmada.errors import GateError
from mmada.params_data import GateOverride
from mmada.validation.expectations import MEAN, Check
from mmada.validation.narrow import numbers

EXAMPLES: Final = 5
_ROW_COUNT: Final = "ExpectTableRowCountToBeBetween"
_UNSEEN: Final = r"[\p{C}\p{Zl}\p{Zp}]+"
"""Ends of lines, escapes, marks that turn text around: they would break the lists, or command a terminal."""
_PLACES: Final = {"result_format": "COMPLETE", "return_unexpected_index_query": False}


@dataclass(frozen=True)
class Outcome:
    """What a check found. `observed`: the measured value, None for checks on every row; `rows`: lines looked at.

    `failing`: `row` and `value` of every line that breaks it or, for a share, counts against it; `override`: the entry
    that lets it pass all the same.
    """

    check: Check
    success: bool
    observed: float | None
    rows: int
    failing: pl.DataFrame
    override: GateOverride | None = None

    @property
    def passes(self) -> bool:
        """Whether it stops nothing."""
        return self.success or self.override is not None

    def to_json(self) -> dict[str, Any]:
        """Plain values in a stable order, with the first examples of what fails."""
        return {
            **asdict(self.check),
            "success": self.success,
            "observed": self.observed,
            "rows": self.rows,
            "failing": self.failing.height,
            "examples": [list(line) for line in self.failing.head(EXAMPLES).iter_rows()],
            "override": self.override.model_dump() if self.override else None,
        }


def run_checks(tables: Mapping[str, pl.DataFrame], checks: Sequence[Check]) -> list[Outcome]:
    """The outcome of every check, in their order. tables: narrow.narrow_tables.

    A check over a table without rows holds (nothing contradicts it), but for the number of rows itself.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported, which takes 3 s: hence here
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("kept rows")
    outcomes: dict[str, Outcome] = {}
    for name in dict.fromkeys(check.table for check in checks):  # a table at a time, to hold one copy of one
        table = tables[name]
        asset = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        batch = asset.get_batch(batch_parameters={"dataframe": numbers(table).to_pandas()})
        for check in (check for check in checks if check.table == name):
            if table.is_empty() and check.kind != _ROW_COUNT:
                outcomes[check.name] = Outcome(check, True, None, 0, _lines(table, check, []))
                continue
            expectation = getattr(gx.expectations, check.kind)(**check.arguments)
            outcomes[check.name] = _outcome(check, table, batch.validate(expectation, result_format=_PLACES))
    return [outcomes[check.name] for check in checks]


def _outcome(check: Check, table: pl.DataFrame, answer: Any) -> Outcome:
    failure = _exception(answer.exception_info)
    if failure:
        raise RuntimeError(f"the check {check.name!r} could not be evaluated: {failure}")
    observed = answer.result.get("observed_value")
    return Outcome(
        check,
        bool(answer.success),
        None if observed is None else float(observed),
        table.height,
        _lines(table, check, _failing(check, table, answer)),
    )


def _failing(check: Check, table: pl.DataFrame, answer: Any) -> Sequence[int]:
    """Places of the lines to show: those that break the check, or that count against a share of 0s and 1s."""
    if answer.success:
        return []
    if check.kind == MEAN:
        against = pl.col(check.column) if "max_value" in check.arguments else ~pl.col(check.column)
        return table.select(pl.arg_where(against)).to_series().to_list()
    return list(answer.result.get("unexpected_index_list", []))


def _lines(table: pl.DataFrame, check: Check, places: Sequence[int]) -> pl.DataFrame:
    if not places:
        return pl.DataFrame(schema={"row": pl.String, "value": pl.String})
    shown = pl.col(check.shows or check.column).cast(pl.String).fill_null("none").str.replace_all(_UNSEEN, " ")
    return table[list(places)].select("row", value=shown)


def _exception(info: Mapping[str, Any]) -> str:
    """Message of an exception inside an expectation (its information is nested for metrics)."""
    if "raised_exception" in info:
        return str(info["exception_message"]) if info["raised_exception"] else ""
    return next((message for message in map(_exception, info.values()) if message), "")


def check_overrides(overrides: Sequence[GateOverride], checks: Sequence[Check], selected: str) -> None:
    """Raise GateError for overrides (params.gate.overrides) of other rows than `selected`, of no check, or twice."""
    names = [check.name for check in checks]
    for place, override in enumerate(overrides):
        where = f"gate.overrides[{place}] in params.yaml"
        if override.selected != selected:
            raise GateError(
                f"{where} was given for the selected rows {override.selected[:12]}, but these are {selected}: take it "
                "out, or, if these should pass too, look at them and name their id"
            )
        if override.check not in names:
            raise GateError(f"{where}: there is no check {override.check!r}; checks: {', '.join(names)}")
        if override.check in [earlier.check for earlier in overrides[:place]]:
            raise GateError(f"{where}: {override.check!r} has an override already; keep one of them")


def with_overrides(outcomes: Sequence[Outcome], overrides: Sequence[GateOverride]) -> list[Outcome]:
    """`outcomes`, those that failed with the override that lets them pass, where there is one."""
    by_check = {override.check: override for override in overrides}
    return [one if one.success else replace(one, override=by_check.get(one.check.name)) for one in outcomes]


def refuse_failures(outcomes: Iterable[Outcome], report: str, selected: str) -> None:
    """Raise GateError that says of every failed check what was observed, which rows, and what to do next.

    `report`: the folder of the report (validation.report); `selected`: id of the rows.
    """
    failed = [outcome for outcome in outcomes if not outcome.passes]
    if failed:
        lines = [line for outcome in failed for line in _explain(outcome, report)]
        raise GateError(
            f"the data does not pass {len(failed)} {'check' if len(failed) == 1 else 'checks'}; "
            f"the whole report is {report}/index.html\n"
            + "\n".join(lines)
            + f"\nTo let one check pass for these rows alone, commit an entry of gate.overrides for their id {selected}"
        )


def _explain(outcome: Outcome, report: str) -> list[str]:
    check, failing = outcome.check, outcome.failing
    remedy = (
        f"mend the data, or change {check.limit_at} in params.yaml"
        if check.limit_at
        else "a contract is broken: this is a defect, not a limit"
    )
    found = f"{failing.height:,} of {outcome.rows:,} rows fail"
    if outcome.observed is not None:
        against = "" if failing.is_empty() else f", {failing.height:,} rows count against it"
        found = f"observed {outcome.observed:g}{against}"
    lines = [f"  {check.name}: {found}; expected {expected(check)} ({check.kind}); {remedy}"]
    lines += [f"    {row}  {value}" for row, value in failing.head(EXAMPLES).iter_rows()]
    if not failing.is_empty() and check.table != "shifts":
        file = f"{report}/{file_name(check)}"
        lines.append(f"    all of them: `cut -f1 {file} | xargs mmada show rows`; the story of one: `mmada why ROW`")
    return lines


def expected(check: Check) -> str:
    """The limits of a check in words."""
    words = {"min_value": "at least", "max_value": "at most"}
    limits = [f"{words[name]} {value:,}" for name, value in check.arguments.items() if name in words]
    return " and ".join(limits) or "a value in every row"


def file_name(check: Check) -> str:
    """File of a report that lists the rows which fail."""
    return f"{check.name.replace(' ', '_')}.txt"
