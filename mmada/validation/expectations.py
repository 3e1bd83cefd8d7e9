"""What is expected of the kept rows, as data: generated from params.gate and from the contracts of the
tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from mmada.params_section import PICTURE_TASKS

MAX_CODE_ENTROPY: Final = 13.0
"""Bits: a code has 13 bits (contracts.code_packing.BITS), so no picture's codes can carry more each."""


@dataclass(frozen=True)
class Check:
    """One expectation. `kind`: the class of Great Expectations; `limit_at`: the params.yaml entry that sets
    its limit.

    `table`: which of `tables`' results it is about. `limit_at` is empty for what a contract demands.
    """

    name: str
    table: str
    kind: str
    arguments: Mapping[str, Any]
    limit_at: str = ""


def checks(
    *,
    min_rows: int,
    max_drop_share: float,
    min_rows_per_task: Mapping[str, int],
    max_text_tokens: int,
    min_correct_share: float,
) -> list[Check]:
    """Everything that the kept rows must hold to; the arguments are params.gate's."""
    per_task = [
        Check(
            f"rows of task {task}",
            "rows_per_task",
            "ExpectColumnMinToBeBetween",
            {"column": task, "min_value": least},
            f"gate.min_rows_per_task.{task}",
        )
        for task, least in sorted(min_rows_per_task.items())
    ]
    return [
        Check("rows kept", "kept", "ExpectTableRowCountToBeBetween", {"min_value": min_rows}, "gate.min_rows"),
        *per_task,
        Check(
            "share of rows dropped",
            "decided",
            "ExpectColumnMeanToBeBetween",
            {"column": "is_dropped", "max_value": max_drop_share},
            "gate.max_drop_share",
        ),
        Check(
            "text tokens of a row",
            "kept",
            "ExpectColumnValuesToBeBetween",
            {"column": "num_text_tokens", "min_value": 1, "max_value": max_text_tokens},
            "gate.max_text_tokens",
        ),
        Check(
            "share of checkable answers that are correct",
            "checkable",
            "ExpectColumnMeanToBeBetween",
            {"column": "is_correct", "min_value": min_correct_share},
            "gate.min_correct_share",
        ),
        *_contract_checks(),
    ]


def _contract_checks() -> list[Check]:
    """What holds of any selection: identities are whole, nothing defective is kept, every picture has its
    codes.
    """
    return [
        Check("row ids are there", "kept", "ExpectColumnValuesToNotBeNull", {"column": "row_id"}),
        Check(
            "row ids are sha256",
            "kept",
            "ExpectColumnValuesToMatchRegex",
            {"column": "row_id", "regex": "^[0-9a-f]{64}$"},
        ),
        Check(
            "a sample is kept once",
            "kept",
            "ExpectCompoundColumnsToBeUnique",
            {"column_list": ["row_id", "corpus", "ordinal"]},
        ),
        Check("facts are there", "kept", "ExpectColumnValuesToNotBeNull", {"column": "num_text_tokens"}),
        Check(
            "no thought has a defect",
            "kept",
            "ExpectColumnValuesToBeInSet",
            {"column": "defect", "value_set": [""]},
        ),
        Check("every picture has codes", "pictures", "ExpectColumnValuesToNotBeNull", {"column": "psnr"}),
        Check(
            "codes carry at most 13 bits",
            "pictures",
            "ExpectColumnValuesToBeBetween",
            {"column": "code_entropy", "min_value": 0.0, "max_value": MAX_CODE_ENTROPY},
        ),
    ]


def tables(facts: pl.DataFrame, selected: pl.DataFrame, tasks: Sequence[str]) -> dict[str, pl.DataFrame]:
    """The narrow tables that the checks look at, by name.

    facts: contracts.facts.FACTS of all corpora (one row per raw row); selected: contracts.records.SELECTED;
    `tasks`: the tasks whose rows are counted.
    """
    columns = ("num_text_tokens", "defect", "answer_correct", "psnr", "code_entropy")
    known = facts.unique(["row_id", "corpus"], keep="first", maintain_order=True)
    kept = selected.select("row_id", "corpus", "task", "ordinal").join(
        known.select("row_id", "corpus", *columns), on=["row_id", "corpus"], how="left", maintain_order="left"
    )
    counts = dict(kept.group_by("task").len().iter_rows())
    checkable = kept.filter(pl.col("answer_correct") != "unchecked")
    return {
        "kept": kept.drop("answer_correct"),
        "pictures": kept.filter(pl.col("task").is_in(PICTURE_TASKS)).select("row_id", "psnr", "code_entropy"),
        "checkable": checkable.select(is_correct=(pl.col("answer_correct") == "yes").cast(pl.Float64)),
        # One row per annotated row, so that the mean is the share that selection dropped.
        "decided": pl.DataFrame({"is_dropped": [1.0] * (facts.height - kept.height) + [0.0] * kept.height}),
        "rows_per_task": pl.DataFrame({task: [counts.get(task, 0)] for task in tasks}),
    }
