"""How much of a text repeats itself, and how often it changes its script."""

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.curation.words import Words, mix, ngrams

LOOP_WORDS: Final = 8
"""Length of the repeated phrase; a shorter phrase said over and over also fills windows of this length."""
LOOP_TIMES: Final = 4
"""How often a window must occur to count as a loop: arguments do return to an expression twice or three
times.
"""


def loop_shares(words: Words) -> NDArray[np.float64]:
    """Share of each text's words [D] that lie in a window of LOOP_WORDS words which occurs LOOP_TIMES times
    or more.
    """
    windows = ngrams(words, LOOP_WORDS)
    owners = windows.owners
    with np.errstate(over="ignore"):
        keys = mix(windows.hashes ^ mix(owners.astype(np.uint64) + np.uint64(1)))
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    looping = np.flatnonzero(counts[inverse] >= LOOP_TIMES)
    # A window covers the words from its start on: mark starts and ends, and sum.
    starts = words.offsets[:-1][owners[looping]] + looping - windows.offsets[:-1][owners[looping]]
    edges = np.zeros(words.hashes.size + LOOP_WORDS + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + LOOP_WORDS, -1)
    covered = np.concatenate([[0], np.cumsum(np.cumsum(edges)[: words.hashes.size] > 0)])
    totals = covered[words.offsets[1:]] - covered[words.offsets[:-1]]
    shares: NDArray[np.float64] = totals / np.maximum(words.counts, 1)
    return shares


_SCRIPTS: Final = (
    r"\p{Latin}",
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]",
    r"\p{Cyrillic}",
    r"\p{Arabic}",
)
_RUN: Final = 2
"""Letters of a script in a row that make a stretch of it: one foreign letter is a symbol, not a language."""


def script_switches(texts: pl.Expr) -> pl.Expr:
    """How often a text changes from one script to another (Latin, East Asian, Cyrillic, Arabic), symbols
    apart.
    """
    runs = texts.str.extract_all("|".join(f"(?:{script}){{{_RUN},}}" for script in _SCRIPTS))
    first_letters = pl.element().str.head(1)
    script = pl.coalesce(
        [pl.when(first_letters.str.contains(pattern)).then(number) for number, pattern in enumerate(_SCRIPTS)]
    )
    numbers = runs.list.eval(script)
    return numbers.list.eval((pl.element() != pl.element().shift()).sum()).list.first().fill_null(0).cast(pl.Int64)
