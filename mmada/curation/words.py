"""Texts as arrays of word hashes: the one normalisation that repetition, duplicates and contamination share.

Case, punctuation, LaTeX sizing and spacing, thousands separators and the spelling of small numbers do not
count; signs and operators do, because "3 - 2" is another question than "3 + 2".
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_LATEX_LAYOUT: Final = (
    r"\\(?:left|right|displaystyle|text|mathrm|mathbf|quad|qquad|big|Big)\b"
    r"|\\[,;: ()\[\]]|\\begin\{\w+\}|\\end\{\w+\}"
)
# A word (a letter, in scripts without spaces; at most 24 letters, so that no text is one endless word), a
# number, or a sign that changes the meaning of a formula.
_WORD: Final = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]"
    r"|[\p{L}\p{M}&&[^\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]]{1,24}"
    r"|[0-9]+(?:\.[0-9]+)?|[+*/=<>^\x{2212}]"
)
_NUMBER_WORDS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_SAME_WORD: Final = {word: str(value) for value, word in enumerate(_NUMBER_WORDS)} | {
    "dfrac": "frac",
    "tfrac": "frac",
    "cdot": "*",
    "times": "*",
    "leq": "le",
    "geq": "ge",
}


@dataclass(frozen=True)
class Words:
    """Word hashes of D texts, one after the other: text d is `hashes[offsets[d] : offsets[d + 1]]`."""

    hashes: Hashes
    offsets: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of words of each text."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> NDArray[np.int64]:
        """Text that each word belongs to."""
        return np.repeat(np.arange(self.counts.size), self.counts)


def normalised(texts: pl.Expr) -> pl.Expr:
    """Texts before they are cut into words."""
    return (
        texts.str.normalize("NFKC")
        .str.replace_all("\\!", "", literal=True)
        .str.replace_all(_LATEX_LAYOUT, " ")
        .str.to_lowercase()
        .str.replace_all(r"([0-9]),([0-9]{3})", "$1$2")
        .str.replace_all(r"([0-9]),([0-9]{3})", "$1$2")  # every second separator of a long number
        .str.replace_all(r"[-\x{2212}\x{2013}]\s*([0-9])", " \u2212 $1")
    )


def row_text() -> pl.Expr:
    """All text of a row (columns prompt and response)."""
    return pl.concat_str("prompt", pl.lit("\n"), "response").alias("text")


def split_words(texts: pl.Series) -> Words:
    """The words of every text, as stable 64-bit hashes (equal on every machine and in every version)."""
    lists = pl.DataFrame({"text": texts}).select(normalised(pl.col("text")).str.extract_all(_WORD)).to_series()
    counts = lists.list.len().to_numpy().astype(np.int64)
    flat = lists.explode(empty_as_null=False)
    names = flat.unique()
    table = pl.Series([_word_hash(_SAME_WORD.get(name, name)) for name in names], dtype=pl.UInt64)
    hashes = flat.replace_strict(names, table, return_dtype=pl.UInt64).to_numpy().astype(np.uint64)
    return Words(hashes, np.concatenate([[0], np.cumsum(counts)]))


def ngrams(words: Words, n: int) -> Words:
    """Hashes of the n-grams of consecutive words of each text; a text of fewer words is one gram of all it
    has.
    """
    width = np.minimum(np.maximum(words.counts, 1), n)
    counts = np.where(words.counts == 0, 0, words.counts - width + 1)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    owners = np.repeat(np.arange(counts.size), counts)
    starts = words.offsets[:-1][owners] + np.arange(counts.sum()) - offsets[:-1][owners]
    hashes = np.zeros(starts.size, np.uint64)
    padded = np.concatenate([words.hashes, np.zeros(n, np.uint64)])
    with np.errstate(over="ignore"):
        for position in range(n):
            word = np.where(position < width[owners], padded[starts + position], np.uint64(position))
            hashes = mix(hashes * np.uint64(0x9E3779B97F4A7C15) + word)
    return Words(hashes, offsets)


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


def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
