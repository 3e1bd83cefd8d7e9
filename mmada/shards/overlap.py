"""No sample of a set of shards may hold a benchmark item: a model trained on it is measured by what it has seen."""

import polars as pl

from mmada.errors import GateError


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
