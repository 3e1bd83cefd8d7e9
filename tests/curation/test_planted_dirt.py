"""On seeds that the filters were not tuned on, the drop ledger names exactly the rows that were planted, by
reason.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mmada.contracts.records import SELECTED
from mmada.contracts.tables import read_table
from mmada.params_schema import Params
from mmada.stage_runner import run_stage
from tests.curation.pipeline import DIRT, ingest_all, ledger, small_params

Place = tuple[str, int]
DUPLICATES = ("duplicate_exact", "duplicate_near")


def _places(params: Params, rows: list[dict[str, Any]]) -> list[Place]:
    """(file below the corpus, line) of ledger rows or origins, as planted.json writes them."""
    folders = {key: Path(corpus.path).name for key, corpus in params.corpora.items()}
    return [(f"{folders[row['corpus']]}/{row['source_file']}", row["row"]) for row in rows]


@pytest.mark.parametrize("seed", [90210, 777001])
def test_the_ledger_is_what_was_planted(project: Path, seed: int) -> None:
    # A tokenizer fitted on so few rows spells rows in capitals letter by letter: 256 instead of 128 tokens.
    params = small_params(demo_corpora={"demo": {"seed": seed}}, selection={"max_text_tokens": 256})
    run_stage("make_demo_corpus@demo", params)
    ingest_all(params)
    run_stage("annotate", params)
    run_stage("select", params)
    listed = json.loads((Path(params.paths.demo_corpora) / "demo" / "planted.json").read_text("utf-8"))
    planted = {reason: {(file, line) for file, line in entry["rows"]} for reason, entry in listed.items()}
    assert {reason: len(rows) for reason, rows in planted.items()} == DIRT

    dropped = ledger(params)
    found = {
        reason: set(_places(params, rows.rows(named=True)))
        for (reason,), rows in dropped.partition_by("reason", as_dict=True).items()
    }
    by_place = {reason: rows for reason, rows in planted.items() if reason not in DUPLICATES}
    assert {reason: found.get(reason, set()) for reason in by_place} == by_place
    assert set(found) == set(planted)

    # Of equal rows either may stay: each dropped one and its kept twin must be one planted row and its
    # original.
    selected = read_table(Path(params.paths.selected) / "selected.parquet", SELECTED, "selected")
    origins = {row["row_id"]: _places(params, row["origins"]) for row in selected.rows(named=True)}
    for reason in DUPLICATES:
        explained: set[Place] = set()
        for row in dropped.filter(reason=reason).rows(named=True):
            pair = {*_places(params, [row]), *origins[row["value"]]}
            assert len(pair & planted[reason]) == 1, row
            explained |= pair & planted[reason]
        assert explained == planted[reason]

    ingested = pl.concat(pl.read_parquet(path) for path in Path(params.paths.ingested).glob("*/records-*.parquet"))
    assert ingested.height == selected.height + dropped.filter(pl.col("row_id") != "").height
