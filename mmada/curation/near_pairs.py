"""Near duplicates in a corpus that grows: a pair of texts is compared once for good, whatever is added later."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.curation.dedup import (
    Pairs,
    Positions,
    Sketches,
    jaccard,
    join_sketches,
    near_duplicate_candidates,
    shown_keys,
)
from mmada.curation.pair_memo import compared, with_similarity
from mmada.curation.words import Hashes, ngrams, row_text, split_words
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import LateUnit

VERSION: Final = 3
"""Of the comparison: raise it when equal texts get another key or another similarity."""

_PAIRS_PER_UNIT: Final = 20_000
_WORDS_PER_UNIT: Final = 2_000_000


@dataclass(frozen=True)
class Documents:
    """D texts with words, and where they stand: half a kilobyte for each, without the texts."""

    keys: Hashes
    """dedup.text_keys_of_groups: equal for texts that are one."""
    sketches: Sketches
    files: NDArray[np.int32]
    """Number of the records part."""
    rows: NDArray[np.int32]
    """Row in that part."""
    num_words: NDArray[np.int32]

    def __getitem__(self, rows: Positions) -> "Documents":
        return Documents(self.keys[rows], self.sketches[rows], self.files[rows], self.rows[rows], self.num_words[rows])


def join_documents(parts: Sequence[Documents]) -> Documents:
    """One of each text of all parts, in order of their keys."""
    keys, first = np.unique(np.concatenate([part.keys for part in parts]), return_index=True)
    arrays = (np.concatenate([vars(part)[name] for part in parts])[first] for name in ("files", "rows", "num_words"))
    return Documents(keys, join_sketches([part.sketches for part in parts])[first], *arrays)


def near_duplicates(
    documents: Documents, files: Sequence[Path], *, shingle: int, floor: float, store: UnitStore
) -> pl.DataFrame:
    """NEAR_DUPLICATES: all pairs of distinct documents of one group with a Jaccard similarity of `floor` or more.

    documents: distinct, in order of their keys; files: the records parts (prompt, response) that they number. Pairs
    that were ever compared with this store are not compared again.
    """
    pairs = near_duplicate_candidates(documents.sketches, floor=floor)
    memo = store.group(f"jaccard-{unit_key('jaccard', VERSION, shingle)[:16]}")
    named = _named(documents.keys, pairs)
    units = partial(_units, documents, pairs, files, shingle)
    found = with_similarity(named, units, _compare, memo, title="near duplicates").filter(pl.col("similarity") >= floor)
    return found.select(
        text_key=shown_keys(found["left"]), twin=shown_keys(found["right"]), similarity="similarity"
    ).sort("text_key", "twin")


def _named(keys: Hashes, pairs: Pairs) -> pl.DataFrame:
    return pl.DataFrame({"left": keys[pairs[:, 0]], "right": keys[pairs[:, 1]]})


@dataclass(frozen=True)
class _Comparison:
    """Texts to compare: `pairs` are positions in `texts` and `keys`."""

    texts: pl.Series
    keys: Hashes
    pairs: Pairs
    shingle: int


def _units(
    documents: Documents, pairs: Pairs, files: Sequence[Path], shingle: int, missing: Positions
) -> Iterator[LateUnit[_Comparison]]:
    pairs = pairs[missing]
    pairs = pairs[np.argsort(documents.files[pairs[:, 0]], kind="stable")]  # so that a unit reads few parts
    words = np.cumsum(documents.num_words[pairs].sum(axis=1, dtype=np.int64))
    number = np.maximum(words // _WORDS_PER_UNIT, np.arange(len(pairs)) // _PAIRS_PER_UNIT)
    for some in np.split(pairs, np.flatnonzero(np.diff(number)) + 1):
        if some.size:
            yield LateUnit(unit_key(documents.keys[some].tolist()), partial(_load, documents, some, files, shingle))


def _load(documents: Documents, pairs: Pairs, files: Sequence[Path], shingle: int) -> _Comparison:
    involved, positions = np.unique(pairs, return_inverse=True)
    some = documents[involved]
    order = np.argsort(some.files, kind="stable")
    texts = []
    for part in np.split(order, np.flatnonzero(np.diff(some.files[order])) + 1):
        rows = pl.read_parquet(files[some.files[part[0]]], columns=["prompt", "response"])[some.rows[part]]
        texts.append(rows.select(row_text()).to_series())
    return _Comparison(pl.concat(texts)[np.argsort(order)], some.keys, positions.reshape(pairs.shape), shingle)


def _compare(task: _Comparison) -> bytes:
    similarity = jaccard(ngrams(split_words(task.texts), task.shingle), task.pairs)
    return compared(_named(task.keys, task.pairs), similarity)
