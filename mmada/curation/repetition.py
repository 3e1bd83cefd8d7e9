"""How much of a text repeats itself or its prompt, and how often it changes its script."""

import re
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.curation.words import Hashes, Words, mix, ngrams, split_words

LOOP_WORDS: Final = 8
"""Length of the repeated phrase; a shorter phrase said over and over also fills windows of this length."""
LOOP_TIMES: Final = 4
"""How often a window must occur to count as a loop: arguments do return to an expression twice or three
times.
"""
_WORDLESS: Final = re.compile(r"[\W_]{100,}")
"""More signs or emoji than any ruler has, blanks apart: a loop that has no words."""
_STUTTER: Final = re.compile(r"([^\W_]{1,8}?)\1{99,}")
"""A few letters or digits again and again: what is cut into words may count as few of them."""
_COPY_WORDS: Final = 50
"""Length of a passage that nobody writes twice by chance: such passages are 16 % of R1 and Sky-T1 thoughts at most."""
_VALUE_WORDS: Final = 50
"""An answer of fewer words may be a value that repeats itself, such as a matrix of zeros."""
_ANSWER_TIMES: Final = 8
"""LOOP_TIMES of an answer: a short derivation writes its one long expression in every line."""


def loop_shares(words: Words, times: int = LOOP_TIMES, length: int = LOOP_WORDS) -> NDArray[np.float64]:
    """Share of each text's words [D] that lie in a window of so many words which occurs so many times or more."""
    windows = ngrams(words, length)
    _, inverse, counts = np.unique(_keys_of_owners(windows), return_inverse=True, return_counts=True)
    looping = np.flatnonzero(counts[inverse] >= times)
    return _covered_shares(words, windows, looping, length)


def copied_shares(words: Words) -> NDArray[np.float64]:
    """Share of each text's words [D] that lie in a long passage which the text holds twice or more."""
    return loop_shares(words, times=2, length=_COPY_WORDS)


def wordless_shares(texts: pl.Series) -> NDArray[np.float64]:
    """Share of each text's characters [D], blanks apart, that lie in long stretches of signs or the same few
    letters or digits.
    """
    dense = ["".join(text.split()) for text in texts]  # an empty line of a wide table is all blanks
    wordless = [
        sum(stretch.end() - stretch.start() for kind in (_WORDLESS, _STUTTER) for stretch in kind.finditer(text))
        for text in dense
    ]
    return np.array(wordless, np.float64) / np.maximum([len(text) for text in dense], 1)


def answer_loop_shares(answers: pl.Series) -> NDArray[np.float64]:
    """Share of each answer [D] that lies in a loop, of words or of signs."""
    words = split_words(answers)
    return np.maximum(loop_shares(words, _ANSWER_TIMES) * (words.counts >= _VALUE_WORDS), wordless_shares(answers))


_SHARED_WORDS: Final = 3
"""Length of the phrases by which a thought is compared with its prompt."""


def shared_shares(words: Words, others: Words) -> NDArray[np.float64]:
    """Share of each text's words [D] that lie in a phrase of the other text of the same number."""
    windows = ngrams(words, _SHARED_WORDS)
    known = _keys_of_owners(ngrams(others, _SHARED_WORDS))
    shared = np.flatnonzero(np.isin(_keys_of_owners(windows), known))
    return _covered_shares(words, windows, shared, _SHARED_WORDS)


def _covered_shares(words: Words, windows: Words, chosen: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Share of each text's words [D] that lie in one of the chosen windows of n words."""
    # A window covers the words from its start on: mark starts and ends, and sum.
    owners = windows.owners[chosen]
    starts = words.offsets[:-1][owners] + chosen - windows.offsets[:-1][owners]
    edges = np.zeros(words.hashes.size + n + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, np.minimum(starts + n, words.offsets[1:][owners]), -1)
    covered = np.concatenate([[0], np.cumsum(np.cumsum(edges)[: words.hashes.size] > 0)])
    totals = covered[words.offsets[1:]] - covered[words.offsets[:-1]]
    shares: NDArray[np.float64] = totals / np.maximum(words.counts, 1)
    return shares


def _keys_of_owners(grams: Words) -> Hashes:
    """Hashes that are equal for equal n-grams of one text only."""
    with np.errstate(over="ignore"):
        return mix(grams.hashes ^ mix(grams.owners.astype(np.uint64) + np.uint64(1)))


_SCRIPTS: Final = (
    r"\p{Latin}",
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]",
    r"\p{Cyrillic}",
    r"\p{Arabic}",
    r"\p{Devanagari}",
    r"\p{Thai}",
    r"\p{Hebrew}",
)
_RUN: Final = 2
"""Letters of a script in a row that make a stretch of it: one foreign letter is a symbol, not a language."""


def script_switches(texts: pl.Expr) -> pl.Expr:
    """How often a text changes from one script to another (Latin, East Asian, Cyrillic, ...), symbols apart.

    Names and terms in Latin letters are at home in every script: they count in texts that are mostly Latin only.
    """
    runs = texts.str.extract_all("|".join(f"(?:{script}){{{_RUN},}}" for script in _SCRIPTS))
    letter = pl.element().str.head(1)
    script = pl.coalesce(
        [pl.when(letter.str.contains(pattern)).then(number) for number, pattern in enumerate(_SCRIPTS)]
    )
    is_latin = letter.str.contains(_SCRIPTS[0])
    chars = pl.element().str.len_chars()
    mostly_latin = 2 * chars.filter(is_latin).sum() >= chars.sum()
    numbers = runs.list.eval(script.filter(mostly_latin | ~is_latin))
    return numbers.list.eval((pl.element() != pl.element().shift()).sum()).list.first().fill_null(0).cast(pl.Int64)
