"""What is expected of the kept rows, as data: generated from params.gate and from the contracts of the tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mmada.contracts.facts import FACT_RANGES

BETWEEN: Final = "ExpectColumnValuesToBeBetween"
MEAN: Final = "ExpectColumnMeanToBeBetween"


@dataclass(frozen=True)
class Check:
    """One expectation. `table`: which of `narrow_tables` it is about; `kind`: the class of Great Expectations.

    `limit_at`: the params.yaml entry that sets its limit, empty for what a contract demands. `shows`: the column that
    people see of a row that fails; empty: the checked one.
    """

    name: str
    table: str
    kind: str
    arguments: Mapping[str, Any]
    limit_at: str = ""
    shows: str = ""

    @property
    def column(self) -> str:
        """The column that it is about; empty for a whole table."""
        return str(self.arguments.get("column", ""))


def checks(
    *,
    min_rows: int,
    max_drop_share: float,
    min_rows_per_task: Mapping[str, int],
    max_text_tokens: int,
    min_correct_share: float,
    max_shift: float,
    reference: str = "",
) -> list[Check]:
    """Everything that the kept rows must hold to; the arguments are params.gate's.

    `reference`: the version whose distributions are compared with, empty for none.
    """
    per_task = [
        _limit(
            f"rows of task {task}",
            "rows_per_task",
            "ExpectColumnMinToBeBetween",
            task,
            {"min_value": least},
            limit_at=f"gate.min_rows_per_task.{task}",
        )
        for task, least in sorted(min_rows_per_task.items())
    ]
    wanted = [
        Check("rows kept", "kept", "ExpectTableRowCountToBeBetween", {"min_value": min_rows}, "gate.min_rows"),
        *per_task,
        _limit(
            "share of rows dropped",
            "decided",
            MEAN,
            "is_dropped",
            {"max_value": max_drop_share},
            limit_at="gate.max_drop_share",
            shows="reason",
        ),
        _limit(
            "text tokens of a row",
            "kept",
            BETWEEN,
            "num_text_tokens",
            {"min_value": 1, "max_value": max_text_tokens},
            limit_at="gate.max_text_tokens",
        ),
        _limit(
            "share of checkable answers that are correct",
            "checkable",
            MEAN,
            "is_correct",
            {"min_value": min_correct_share},
            limit_at="gate.min_correct_share",
            shows="final_answer",
        ),
    ]
    if reference:
        name, limit = f"distributions are those of {reference}", {"max_value": max_shift}
        wanted.append(_limit(name, "shifts", BETWEEN, "shift", limit, limit_at="gate.max_shift", shows="moved"))
    return [*wanted, *_contract_checks()]


def _contract_checks() -> list[Check]:
    """What holds of any selection: identities and facts are whole, nothing defective is kept, pictures have codes."""
    none = {"max_value": 0}
    ranges = [
        _limit(f"{fact} is in its range", "kept", BETWEEN, fact, _bounds(low, high))
        for fact, (low, high) in FACT_RANGES.items()
    ]
    return [
        _limit("row ids are sha256", "kept", BETWEEN, "is_sha256", {"min_value": 1}),
        _limit("a sample is kept once", "kept", BETWEEN, "copies", {"max_value": 1}),
        _limit("facts are there", "kept", BETWEEN, "missing_facts", none),
        _limit("no fact is NaN", "kept", BETWEEN, "nan_facts", none),
        _limit("no thought has a defect", "kept", BETWEEN, "has_defect", none, shows="defect"),
        _limit("every picture has codes", "pictures", "ExpectColumnValuesToNotBeNull", "psnr", {}),
        *ranges,
    ]


def _limit(
    name: str, table: str, kind: str, column: str, limits: Mapping[str, float], *, limit_at: str = "", shows: str = ""
) -> Check:
    return Check(name, table, kind, {"column": column, **limits}, limit_at, shows)


def _bounds(low: float | None, high: float | None) -> dict[str, float]:
    return {name: value for name, value in (("min_value", low), ("max_value", high)) if value is not None}
