"""Texts as arrays of word hashes: the one normalisation that repetition, duplicates and contamination share.

Case, punctuation, Markdown, tags, LaTeX sizing and spacing, thousands separators and the spelling of small numbers do
not count; signs and operators do, because "3 - 2" is another question than "3 + 2".
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.answer_spelling import NUMBERS
from mmada.curation.normalised_text import normalised

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_MOST_LETTERS: Final = 24
"""Bytes of a word; a longer run of letters is several, so that no text is one endless word."""
_SAME_WORD: Final = {
    **NUMBERS,
    "dfrac": "frac",
    "tfrac": "frac",
    "cdot": "*",
    "times": "*",
    "leq": "le",
    "geq": "ge",
    "neq": "ne",
}
_CHUNK_BYTES: Final = 1 << 16
"""Text that is cut into words at a time, so that it stays in the processor's cache."""

_LETTER, _DIGIT, _SIGN = 1, 2, 3
_KINDS: Final = b"".join(
    byte.islower() * b"\1"
    or byte.isdigit() * b"\2"
    or (byte in b"+*/=<>^") * b"\3"
    or (byte >= b"\x80") * b"\1"
    or b"\0"
    for byte in (bytes([value]) for value in range(256))
)
"""What each byte of a normalised text is, 0 where it only parts words."""

_BASE: Final = 0x9E3779B97F4A7C15  # of the hashes of runs; odd: it has an inverse modulo 2**64


@dataclass(frozen=True)
class Words:
    """Word hashes of D texts, one after the other: text d is `hashes[offsets[d] : offsets[d + 1]]`."""

    hashes: Hashes
    offsets: Places

    @property
    def counts(self) -> Places:
        """Number of words of each text."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Places:
        """Text that each word belongs to."""
        return np.repeat(np.arange(self.counts.size), self.counts)


def row_text() -> pl.Expr:
    """All text of a row (columns prompt and response)."""
    return pl.concat_str("prompt", pl.lit("\n"), "response").alias("text")


def all_text() -> pl.Expr:
    """All that a row says (columns prompt, response and reference): samples hold the reference too."""
    return pl.concat_str("prompt", "response", "reference", separator="\n").alias("text")


def split_words(texts: pl.Series) -> Words:
    """The words of every text, as stable 64-bit hashes (equal on every machine, whatever the version of numpy).

    A word is a run of letters (one letter, in scripts without spaces), a number, or a sign that changes the meaning of
    a formula; a hyphen is one before a digit or, where it joins no letters, before a variable of one letter.
    """
    if texts.is_empty():
        return Words(np.empty(0, np.uint64), np.zeros(1, np.int64))
    lines = normalised(texts).to_frame("text").select(pl.concat_str(pl.col("text").fill_null(""), pl.lit("\n")))
    column = lines.to_series().rechunk()
    ends = np.cumsum(column.str.len_bytes().to_numpy(), dtype=np.int64)
    data = np.frombuffer(column.str.join().to_arrow().buffers()[2], np.uint8)
    hashes, counts, first, start = [], [], 0, 0
    while first < ends.size:
        last = max(int(np.searchsorted(ends, start + _CHUNK_BYTES, side="right")), first + 1)
        found = _words(data[start : ends[last - 1]], ends[first:last] - start)
        hashes.append(found.hashes)
        counts.append(found.counts)
        first, start = last, int(ends[last - 1])
    return Words(np.concatenate(hashes), np.concatenate([[0], np.cumsum(np.concatenate(counts))]))


def ngrams(words: Words, n: int) -> Words:
    """Hashes of the n-grams of consecutive words of each text; a text of fewer words is one gram of all it
    has.
    """
    width = np.minimum(words.counts, n)
    counts = np.where(words.counts == 0, 0, words.counts - width + 1)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    starts = np.arange(offsets[-1]) + np.repeat(words.offsets[:-1] - offsets[:-1], counts)
    widths = np.repeat(width, counts)
    runs = run_hashes(run_sums(words.hashes), starts, starts + widths)
    return Words(mix(runs + widths.astype(np.uint64)), offsets)


def run_sums(values: Hashes) -> Hashes:
    """What `run_hashes` needs to know of K values: the sums [K + 1] of the first of them times powers of _BASE."""
    factors, _ = powers(1 << int(values.size).bit_length())
    sums = np.zeros(values.size + 1, np.uint64)
    with np.errstate(over="ignore"):
        np.cumsum(values * factors[: values.size], out=sums[1:])
    return sums


def run_hashes(sums: Hashes, starts: Places, ends: Places) -> Hashes:
    """Hash of each run values[start:end]: the polynomial in _BASE modulo 2**64 with these coefficients."""
    _, inverses = powers(1 << int(sums.size - 1).bit_length())
    with np.errstate(over="ignore"):
        return (sums.take(ends) - sums.take(starts)) * inverses.take(starts)


def window_hashes(sums: Hashes, n: int, first: int, last: int) -> Hashes:
    """Hash of the run of n values that begins at each place from `first` to before `last`, as `run_hashes` has it."""
    _, inverses = powers(1 << int(sums.size - 1).bit_length())
    with np.errstate(over="ignore"):
        return (sums[first + n : last + n] - sums[first:last]) * inverses[first:last]


def text_keys(words: Words) -> Hashes:
    """One hash [D] of each text's whole word sequence: equal keys are equal texts but for what does not
    count.
    """
    positions = (np.arange(words.hashes.size) - words.offsets[:-1][words.owners]).astype(np.uint64)
    with np.errstate(over="ignore"):
        placed = mix(words.hashes ^ mix(positions + np.uint64(1)))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(placed, dtype=np.uint64)])
        return mix(sums[words.offsets[1:]] - sums[words.offsets[:-1]])


def mix(values: Hashes) -> Hashes:
    """A bijection in which every input bit moves every output bit (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_FIRST_BYTES: Final = np.array([(1 << 8 * min(count, 8)) - 1 for count in range(_MOST_LETTERS + 1)], np.uint64)
"""Mask of so many first bytes of eight."""


def _words(data: NDArray[np.uint8], line_ends: Places) -> Words:
    """Words of a chunk of normalised lines (UTF-8, each with its line end)."""
    kinds = np.zeros(data.size + 2, np.uint8)  # one for what stands before and after the lines
    kinds[1:-1] = np.frombuffer(data.tobytes().translate(_KINDS), np.uint8)
    dots = np.flatnonzero(data == ord(".")) + 1
    kinds[dots[(kinds[dots - 1] == _DIGIT) & (kinds[dots + 1] == _DIGIT)]] = _DIGIT
    hyphens = np.flatnonzero(data == ord("-")) + 1
    before, after, beyond = kinds[hyphens - 1], kinds[hyphens + 1], kinds[hyphens + 2]  # a line end is the last byte
    is_of_variable = (before != _LETTER) & (after == _LETTER) & (beyond != _LETTER)
    kinds[hyphens[(after == _DIGIT) | is_of_variable]] = _SIGN
    edges = kinds[1:] != kinds[:-1]
    edges |= kinds[1:] == _SIGN
    starts, ends = np.flatnonzero(edges & (kinds[1:] != 0)), np.flatnonzero(edges & (kinds[:-1] != 0))
    if (ends - starts > _MOST_LETTERS).any():
        starts, ends = _cut_long(starts, ends)
    bounds = np.concatenate([[0], np.searchsorted(starts, line_ends)])
    return Words(_same(_word_hashes(data, starts, ends)), bounds)


def _word_hashes(data: NDArray[np.uint8], starts: Places, ends: Places) -> Hashes:
    """Hash of each word data[start:end], eight bytes after eight bytes. No byte of a word is zero and `mix` is a
    bijection, so that up to eight bytes no two words share one.
    """
    padded = np.concatenate([data, np.zeros(8, np.uint8)])
    eights = np.ascontiguousarray(np.ndarray(data.size + 1, "<u8", padded, strides=(1,)))  # from each byte on
    sizes = ends - starts
    hashes = mix(eights.take(starts) & _FIRST_BYTES.take(sizes))
    for begin in range(8, _MOST_LETTERS, 8):
        longer = np.flatnonzero(sizes > begin)
        more = eights.take(starts[longer] + begin) & _FIRST_BYTES.take(sizes[longer] - begin)
        hashes[longer] = mix(hashes[longer] ^ more)
    return hashes


def _cut_long(starts: Places, ends: Places) -> tuple[Places, Places]:
    pieces = -(-(ends - starts) // _MOST_LETTERS)
    within = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    first = np.repeat(starts, pieces) + within * _MOST_LETTERS
    return first, np.minimum(first + _MOST_LETTERS, np.repeat(ends, pieces))


def _same(hashes: Hashes) -> Hashes:
    """Word hashes with one spelling for each of what _SAME_WORD holds."""
    spelled, meant, may_be = _spellings()
    places = np.flatnonzero(may_be.take((hashes >> np.uint64(48)).view(np.int64)))
    found = np.minimum(np.searchsorted(spelled, hashes[places]), spelled.size - 1)
    hits = spelled[found] == hashes[places]
    hashes[places[hits]] = meant[found[hits]]
    return hashes


@lru_cache(1)
def _spellings() -> tuple[Hashes, Hashes, NDArray[np.bool_]]:
    """Hashes of the words of _SAME_WORD, sorted, of what they mean, and which first 16 bits they have."""
    table = sorted((_word_hash(word), _word_hash(meaning)) for word, meaning in _SAME_WORD.items())
    spelled, meant = np.array(table, np.uint64).T
    may_be = np.zeros(1 << 16, bool)
    may_be[spelled >> np.uint64(48)] = True
    return spelled, meant, may_be


def _word_hash(word: str) -> int:
    data = np.frombuffer(word.encode(), np.uint8)
    return int(_word_hashes(data, np.array([0]), np.array([data.size]))[0])


@lru_cache(4)
def powers(count: int) -> tuple[Hashes, Hashes]:
    """The first powers of _BASE and of its inverse modulo 2**64."""
    result = []
    for base in (_BASE, pow(_BASE, -1, 1 << 64)):
        factors = np.full(count, base, np.uint64)
        factors[0] = 1
        result.append(np.multiply.accumulate(factors))
    return result[0], result[1]
