"""Exact and near duplicates: MinHash proposes, the true Jaccard similarity of word shingles decides.

Only rows of the same group (task and picture, or task alone) are compared: one caption under two pictures is
no duplicate. Results do not depend on the order of the rows.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.curation.words import Hashes, Words, mix, split_words, text_keys

Signatures = NDArray[np.uint32]  # [D documents, P permutations]
Positions = NDArray[np.int64]
Pairs = NDArray[np.int64]  # [K pairs, 2], first < second

_SEED: Final = 0x6D6D616461
_MISSED_AT_FLOOR: Final = 0.01
"""Largest chance that banding misses a pair exactly at the floor; it falls steeply above it."""
_CACHED_SHINGLES: Final = 1 << 16
"""Shingles hashed at a time, so that they stay in the processor's cache."""
_CACHED_PAIRS: Final = 1 << 12
"""Pairs compared at a time, for the same reason."""


def content_key(task: str, prompt: str, response: str, reference: str, pixels_sha256: str) -> str:
    """Equal for rows that differ in nothing but Unicode form, white space and the picture's file format."""
    texts = [" ".join(unicodedata.normalize("NFC", text).split()) for text in (prompt, response, reference)]
    content = json.dumps([task, *texts, pixels_sha256], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def group_hashes(tasks: pl.Series, pixels_sha256: pl.Series) -> Hashes:
    """One hash [D] per (task, picture or none): only texts of one group are compared."""
    names = pl.DataFrame({"task": tasks, "pixels": pixels_sha256}).select(pl.concat_str("task", pl.lit("/"), "pixels"))
    known = names.unique(maintain_order=True)
    hashes = known.with_columns(group=pl.Series(text_keys(split_words(known.to_series())), dtype=pl.UInt64))
    return names.join(hashes, on=names.columns, how="left", maintain_order="left")["group"].to_numpy()


def text_keys_of_groups(words_keys: Hashes, groups: Hashes) -> Hashes:
    """One hash [D] per row, equal when group and words are equal."""
    return mix(words_keys ^ mix(groups))


def shown_keys(keys: pl.Series) -> pl.Series:
    """Text keys as tables show them: 16 hex digits."""
    digits = keys.to_numpy().astype(">u8").tobytes().hex()
    return pl.Series(keys.name, [digits[start : start + 16] for start in range(0, len(digits), 16)], dtype=pl.String)


@dataclass(frozen=True)
class Sketches:
    """What is kept of the signatures of D documents to find pairs: a quarter of a kilobyte for each."""

    groups: Hashes
    bands: NDArray[np.uint32]
    """[D, bands] keys: documents of one group that share one are worth comparing."""
    entries: NDArray[np.uint8]
    """[D, permutations] lowest bytes of the signatures, which tell chance from likeness."""

    def __getitem__(self, rows: Positions) -> "Sketches":
        return Sketches(self.groups[rows], self.bands[rows], self.entries[rows])


def sketch_of(groups: Hashes, signed: Signatures, *, floor: float) -> Sketches:
    """Sketches for pairs of a similarity of `floor` or more, from groups [D] and signatures."""
    bands, rows = banding(signed.shape[1], floor)
    keys = np.empty((groups.size, bands), np.uint32)
    for band in range(bands):
        mixed = mix(groups + np.uint64(band))
        for column in range(band * rows, (band + 1) * rows):
            mixed = mix(mixed ^ signed[:, column].astype(np.uint64))
        keys[:, band] = mixed >> np.uint64(32)
    return Sketches(groups, keys, signed.astype(np.uint8))


def join_sketches(parts: Sequence[Sketches]) -> Sketches:
    """Sketches of all parts, in order."""
    return Sketches(*(np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])))


def signatures(shingles: Words, permutations: int) -> Signatures:
    """MinHash signatures of documents [D, permutations]; the share of equal entries estimates Jaccard
    similarity.

    A document without shingles gets the largest value everywhere.
    """
    rng = np.random.default_rng(_SEED)
    factors = rng.integers(1 << 62, size=permutations, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = rng.integers(1 << 63, size=permutations, dtype=np.uint64)
    result = np.full((shingles.counts.size, permutations), np.iinfo(np.uint32).max, np.uint32)
    filled = np.flatnonzero(shingles.counts > 0)
    for part in _parts(filled, shingles):
        starts = shingles.offsets[part]
        first, last = starts[0], shingles.offsets[part[-1] + 1]
        hashes = shingles.hashes[first:last]
        product = np.empty_like(hashes)
        for column, (factor, shift) in enumerate(zip(factors, shifts, strict=True)):
            np.multiply(hashes, factor, out=product)
            product += shift
            result[part, column] = np.minimum.reduceat(product, starts - first) >> np.uint64(32)
    return result


def near_duplicate_candidates(sketches: Sketches, *, floor: float) -> Pairs:
    """Pairs of documents of one group that may have a similarity of `floor` or more, in order.

    Documents are expected to be distinct and to have words: equal ones would all be paired with each other.
    """
    groups, entries = sketches.groups, sketches.entries
    # Four standard deviations of the estimate below the floor: nothing real is lost, most chance pairs are.
    least = floor - 4 * np.sqrt(floor * (1 - floor) / entries.shape[1])
    found = [np.empty(0, np.int64)]
    count = np.int64(max(groups.size, 1))
    for band in range(sketches.bands.shape[1]):
        for left, right in _equal_pairs(sketches.bands[:, band]):
            same = groups[left] == groups[right]
            left, right = left[same], right[same]
            hopeful = _agreement(entries, left, right) >= least
            found.append(left[hopeful] * count + right[hopeful])
    codes = np.unique(np.concatenate(found))
    return np.stack([codes // count, codes % count], axis=1)


def jaccard(shingles: Words, pairs: Pairs) -> NDArray[np.float64]:
    """True Jaccard similarity [K] of the shingle sets of each pair; two empty documents are equal."""
    if not pairs.size:
        return np.empty(0)
    sets = _distinct(shingles)
    sizes = sets.counts[pairs]
    owners = np.repeat(np.arange(len(pairs)), sizes.sum(axis=1))
    # Both documents of a pair side by side: a shingle that occurs twice in a pair is common to both.
    lengths = sizes.reshape(-1)
    starts = sets.offsets[:-1][pairs.reshape(-1)]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    members = sets.hashes[np.repeat(starts, lengths) + within]
    order = np.lexsort((members, owners))
    repeated = (members[order][1:] == members[order][:-1]) & (owners[order][1:] == owners[order][:-1])
    common = np.bincount(owners[order][1:][repeated], minlength=len(pairs))
    union = sizes.sum(axis=1) - common
    return np.where(union == 0, 1.0, common / np.maximum(union, 1))


def banding(permutations: int, floor: float) -> tuple[int, int]:
    """(bands, rows): the most selective banding that misses a pair at `floor` once in a hundred at most."""
    fitting = [
        rows for rows in range(1, permutations + 1) if (1 - floor**rows) ** (permutations // rows) <= _MISSED_AT_FLOOR
    ]
    rows = max(fitting, default=1)
    return permutations // rows, rows


def _agreement(entries: NDArray[np.uint8], left: Positions, right: Positions) -> NDArray[np.float64]:
    """Share of equal signature entries of each pair."""
    result = np.empty(left.size, np.float64)
    for start in range(0, left.size, _CACHED_PAIRS):
        part = slice(start, start + _CACHED_PAIRS)
        result[part] = (entries[left[part]] == entries[right[part]]).mean(axis=1)
    return result


def _equal_pairs(keys: NDArray[np.uint32]) -> Iterator[tuple[Positions, Positions]]:
    """All pairs of positions of equal keys, smaller position first, by their distance in the sorted order."""
    # Key and position in one number: sorting numbers is ten times faster than sorting positions by their keys.
    ordered = np.sort((keys.astype(np.uint64) << np.uint64(32)) | np.arange(keys.size, dtype=np.uint64))
    ordered_keys, order = ordered >> np.uint64(32), (ordered & np.uint64(0xFFFFFFFF)).astype(np.int64)
    starts = np.arange(keys.size)
    distance = 1
    while starts.size:
        starts = starts[starts + distance < keys.size]
        starts = starts[ordered_keys[starts] == ordered_keys[starts + distance]]
        yield order[starts], order[starts + distance]
        distance += 1


def _distinct(shingles: Words) -> Words:
    """Each document's shingles as a sorted set."""
    owners = shingles.owners
    order = np.lexsort((shingles.hashes, owners))
    hashes = shingles.hashes[order]
    fresh = np.ones(hashes.size, bool)
    fresh[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    counts = np.bincount(owners[fresh], minlength=shingles.counts.size)
    return Words(hashes[fresh], np.concatenate([[0], np.cumsum(counts)]))


def _parts(documents: NDArray[np.int64], shingles: Words) -> list[NDArray[np.int64]]:
    if not documents.size:
        return []
    chunk = shingles.offsets[documents] // _CACHED_SHINGLES
    return np.split(documents, np.flatnonzero(np.diff(chunk)) + 1)
