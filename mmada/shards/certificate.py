"""What a set of shards was searched for: the benchmark items that training must not see, and the rows searched."""

import json
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.records import rows_digest
from mmada.errors import GateError

CERTIFICATE_NAME: Final = "overlap.json"
"""What curation.certificate says of the rows of a set of shards."""


def refuse_overlap(matches: pl.DataFrame, places: pl.DataFrame) -> None:
    """Raise GateError naming shard and item when a sample of a shard holds a benchmark item.

    `matches`: contracts.facts.BENCHMARK_MATCHES of the rows; `places`: key, shard and row_id of every sample.
    """
    found = places.join(matches, on="row_id", maintain_order="left")
    if found.height:
        first = found.row(0, named=True)
        raise GateError(
            f"{found['key'].n_unique()} samples hold benchmark items, the first is {first['key']} in {first['shard']}: "
            f"{first['benchmark']}/{first['item_id']} ({first['how']}); run `dvc repro select`, which leaves such rows "
            "out, or take the benchmark out of `benchmarks`"
        )


def refuse_unsearched(folder: Path, row_ids: pl.Series) -> None:
    """Raise GateError unless the certificate in `folder` speaks of exactly these rows."""
    path = folder / CERTIFICATE_NAME
    try:
        searched = json.loads(path.read_bytes())["rows_sha256"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        searched = None
    if searched != rows_digest(row_ids):
        raise GateError(
            f"{folder}: {CERTIFICATE_NAME} does not say that these very rows were searched for benchmark items, so a "
            "score of what is trained on them would mean nothing; run `dvc repro write_shards`"
        )
