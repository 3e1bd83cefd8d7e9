"""Gopher's measures of repetition in plain text (arXiv:2112.11446, table A1), as datatrove computes them.

All texts at once: pieces of text are rolling hashes, and only those that occur again are looked at one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.curation.words import Hashes, mix, powers

LIMITS: Final = {
    **{"dup_para_frac": 0.30, "dup_para_char_frac": 0.20, "dup_line_frac": 0.30, "dup_line_char_frac": 0.20},
    **{"top_2_gram": 0.20, "top_3_gram": 0.18, "top_4_gram": 0.16},
    **{"duplicated_5_n_grams": 0.15, "duplicated_6_n_grams": 0.14, "duplicated_7_n_grams": 0.13},
    **{"duplicated_8_n_grams": 0.12, "duplicated_9_n_grams": 0.11, "duplicated_10_n_grams": 0.10},
}
"""Largest share that a text may have, by datatrove's name of the measure."""

WORD: Final = r"\w+|[^\w\s]"
"""A word or a sign."""

_CACHED_TEXTS: Final = 500
"""Texts looked at together, so that they stay in the processor's cache."""

Numbers = NDArray[np.float64]  # [D texts]
Places = NDArray[np.int64]


def excess_repetition(texts: pl.Series) -> Numbers:
    """Largest ratio of a measure of each text [D] to its limit; above 1 Gopher's filter drops the text."""
    ratios = [np.zeros(0)]
    for start in range(0, len(texts), _CACHED_TEXTS):
        block = texts.slice(start, _CACHED_TEXTS)
        measured = repetition(block, block.str.extract_all(WORD))
        ratios.append(np.max([measured[name] / limit for name, limit in LIMITS.items()], axis=0))
    return np.concatenate(ratios)


def repetition(texts: pl.Series, words: pl.Series) -> dict[str, Numbers]:
    """Each measure of LIMITS: the share of a text's paragraphs, lines or characters that repeats.

    words: the list of each text's words.
    """
    chars = np.maximum(texts.str.len_chars().to_numpy(), 1).astype(np.float64)
    found: dict[str, Numbers] = {}
    for name, parts in (
        ("para", texts.str.strip_chars().str.replace_all(r"\n{2,}", "\0").str.split("\0")),
        ("line", texts.str.replace_all(r"\n+", "\0").str.split("\0")),
    ):
        found[f"dup_{name}_frac"], duplicated = _duplicates(parts)
        found[f"dup_{name}_char_frac"] = duplicated / chars
    spaced, solid = _sequences(words)
    for n, top in _top_chars(spaced, len(texts)):
        found[f"top_{n}_gram"] = top / chars
    for n in range(5, 11):
        found[f"duplicated_{n}_n_grams"] = _repeated_chars(solid, n, len(texts)) / chars
    return found


def _duplicates(parts: pl.Series) -> tuple[Numbers, Numbers]:
    """Share of each text's parts that occurred in it before, and their characters."""
    shares, chars = [], []
    for pieces in parts.to_list():
        distinct = set(pieces)
        shares.append(1 - len(distinct) / len(pieces))
        chars.append(float(sum(map(len, pieces)) - sum(map(len, distinct))))
    return np.array(shares), np.array(chars)


@dataclass(frozen=True)
class _Sequence:
    """All words of all texts in a row: their texts, their first and last + 1 characters, and rolling hashes."""

    owners: Places  # [W words]
    starts: Places
    ends: Places
    sums: Hashes  # [characters + 1] of hashed letters times powers of the base of words.powers
    inverse_powers: Hashes  # of that base, more than characters


def _sequences(words: pl.Series) -> tuple[_Sequence, _Sequence]:
    """The words of all texts with a blank behind each, and without."""
    flat = words.explode(empty_as_null=False)
    owners = np.repeat(np.arange(len(words)), words.list.len().to_numpy().astype(np.int64))
    ends = np.cumsum(flat.str.len_chars().to_numpy().astype(np.int64) + 1) - 1  # and the places of blanks
    letters = np.frombuffer(f"{flat.str.join(' ').item() or ''} ".encode("utf-32-le"), "<u4")
    values = mix(np.arange(1, letters.max(initial=0) + 2, dtype=np.uint64))[letters]
    before = np.arange(ends.size)  # blanks before each word
    spaced = _sequence(owners, np.append(0, ends + 1)[:-1], ends, values)
    return spaced, _sequence(owners, spaced.starts - before, ends - before, np.delete(values, ends))


def _sequence(owners: Places, starts: Places, ends: Places, values: Hashes) -> _Sequence:
    factors, inverse_powers = powers(1 << values.size.bit_length())
    with np.errstate(over="ignore"):
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * factors[: values.size])])
    return _Sequence(owners, starts, ends, sums, inverse_powers)


@dataclass(frozen=True)
class _Repeats:
    """The n-grams that occur in their text again, and a few others, in order; equal `kinds` are equal n-grams."""

    owners: Places  # [G grams]
    places: Places  # [G], word that each begins with
    chars: Places  # [G]
    kinds: Places  # [G]
    firsts: Places  # [K kinds], gram that is the first of its kind
    times: Places  # [K]


def _grams(words: _Sequence, n: int) -> Places:
    """First words of all n-grams that lie within one text."""
    last = max(0, words.owners.size - n + 1)
    within: Places = np.flatnonzero(words.owners[:last] == words.owners[n - 1 :][:last])
    return within


def _repeats(words: _Sequence, n: int, places: Places) -> _Repeats:
    """Repeats among the n-grams that begin at `places`."""
    starts, ends, owners = words.starts[places], words.ends[places + n - 1], words.owners[places]
    salts = mix(np.arange(1, owners.max(initial=0) + 2, dtype=np.uint64))  # equal n-grams of two texts are none
    with np.errstate(over="ignore"):
        hashes = (words.sums[ends] - words.sums[starts]) * words.inverse_powers[starts]
        keys = mix(hashes ^ salts[owners])
    perhaps = _perhaps_again(keys)
    _, firsts, kinds, times = np.unique(keys[perhaps], return_index=True, return_inverse=True, return_counts=True)
    return _Repeats(owners[perhaps], places[perhaps], (ends - starts)[perhaps], kinds, firsts, times)


def _perhaps_again(keys: Hashes) -> Places:
    """Where the keys stand that occur twice or more, and a few others: those that share their first bits with one key
    and their last ones with one of those that are left. Several times faster than sorting.
    """
    bits = np.uint64(keys.size.bit_length() + 3)
    perhaps = _in_shared_bins(keys >> (np.uint64(64) - bits))
    return perhaps[_in_shared_bins(keys[perhaps] & ((np.uint64(1) << bits) - np.uint64(1)))]


def _in_shared_bins(bins: Hashes) -> Places:
    numbers = bins.view(np.int64)
    return np.flatnonzero(np.bincount(numbers).take(numbers) > 1)


def _top_chars(words: _Sequence, num_texts: int) -> Iterator[tuple[int, Numbers]]:
    """For n from 2 to 4: n, and characters of all occurrences of the n-gram that occurs most often; of equals, of the
    first.
    """
    places = _grams(words, 2)
    for n in (2, 3, 4):
        top = np.zeros(num_texts)
        all_places = _grams(words, n)
        first = np.flatnonzero(np.diff(words.owners[all_places], prepend=-1))
        top[words.owners[all_places[first]]] = words.ends[all_places[first] + n - 1] - words.starts[all_places[first]]
        grams = _repeats(words, n, places)
        owners = grams.owners[grams.firsts]
        order = np.lexsort((grams.firsts, -grams.times, owners))
        best = order[np.flatnonzero(np.diff(owners[order], prepend=-1))]
        best = best[grams.times[best] > 1]
        top[owners[best]] = grams.chars[grams.firsts[best]] * grams.times[best]
        yield n, top
        # A longer n-gram that occurs again begins where a shorter one does.
        is_repeated = np.zeros(words.owners.size, np.bool_)
        is_repeated[grams.places[grams.times[grams.kinds] > 1]] = True
        longer = _grams(words, n + 1)
        places = longer[is_repeated[longer]]


def _repeated_chars(words: _Sequence, n: int, num_texts: int) -> Numbers:
    """Characters of n-grams that were read before, reading on behind each one that was."""
    repeated = np.zeros(num_texts)
    grams = _repeats(words, n, _grams(words, n))
    firsts = grams.places[grams.firsts[grams.kinds]]
    again = np.flatnonzero(firsts != grams.places)
    columns = (grams.places[again], firsts[again], grams.kinds[again], grams.owners[again], grams.chars[again])
    read_over: set[int] = set()  # places inside a repeated n-gram: what begins there was not read
    read_later: set[int] = set()  # kinds whose first place was read over, but not a later one
    behind = 0
    for place, first, kind, text, chars in zip(*(column.tolist() for column in columns), strict=True):
        if place < behind:
            continue
        if first in read_over and kind not in read_later:
            read_later.add(kind)
            continue
        repeated[text] += chars
        behind = place + n
        read_over.update(range(place + 1, behind))
    return repeated
