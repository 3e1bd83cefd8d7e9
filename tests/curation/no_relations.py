"""What selection is given of several rows together, where there is nothing: tables without lines."""

from typing import Final

import polars as pl

from mmada.contracts.facts import BENCHMARK_MATCHES, NEAR_DUPLICATES, PICTURE_PAIRS, SEMANTIC_KEYS, SEMANTIC_PAIRS

NO_PAIRS: Final = pl.DataFrame(schema=pl.Schema(NEAR_DUPLICATES))
NO_MATCHES: Final = pl.DataFrame(schema=pl.Schema(BENCHMARK_MATCHES))
NO_OTHERS: Final = {
    "picture_pairs": pl.DataFrame(schema=pl.Schema(PICTURE_PAIRS)),
    "semantic_keys": pl.DataFrame(schema=pl.Schema(SEMANTIC_KEYS)),
    "semantic_pairs": pl.DataFrame(schema=pl.Schema(SEMANTIC_PAIRS)),
}
"""By the names of `decide`'s arguments."""
