"""Exact and near duplicates: MinHash proposes, the true Jaccard similarity of word shingles decides.

Only rows of the same group (task and picture, or task alone) are compared: one caption under two pictures is
no duplicate. Results do not depend on the order of the rows.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.contracts.facts import NEAR_DUPLICATES
from mmada.curation.words import Hashes, Words, mix, ngrams, row_text, split_words, text_keys

Signatures = NDArray[np.uint32]  # [D documents, P permutations]
Pairs = NDArray[np.int64]  # [K pairs, 2], first < second

_SEED: Final = 0x6D6D616461
_MISSED_AT_FLOOR: Final = 0.01
"""Largest chance that banding misses a pair exactly at the floor; it falls steeply above it."""
_CACHED_SHINGLES: Final = 1 << 16
"""Shingles hashed at a time, so that they stay in the processor's cache."""


def content_key(task: str, prompt: str, response: str, reference: str, pixels_sha256: str) -> str:
    """Equal for rows that differ in nothing but Unicode form, white space and the picture's file format."""
    texts = [" ".join(unicodedata.normalize("NFC", text).split()) for text in (prompt, response, reference)]
    content = json.dumps([task, *texts, pixels_sha256], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def group_hashes(tasks: pl.Series, pixels_sha256: pl.Series) -> Hashes:
    """One hash [D] per (task, picture or none): only texts of one group are compared."""
    names = pl.DataFrame({"task": tasks, "pixels": pixels_sha256}).select(pl.concat_str("task", pl.lit("/"), "pixels"))
    return text_keys(split_words(names.to_series()))


def text_keys_of_groups(words_keys: Hashes, groups: Hashes) -> list[str]:
    """16 hex digits per row, equal when group and words are equal."""
    return [f"{key:016x}" for key in mix(words_keys ^ mix(groups)).tolist()]


def alike_texts(rows: pl.DataFrame, *, shingle: int, floor: float) -> pl.DataFrame:
    """NEAR_DUPLICATES: all pairs of rows of one group with a Jaccard similarity of at least `floor`.

    rows: text_key (distinct), group, signature (bytes), prompt, response.
    """
    empty = pl.DataFrame(schema=pl.Schema(NEAR_DUPLICATES))
    if rows.is_empty():
        return empty
    sketch = np.frombuffer(b"".join(rows["signature"]), dtype="<u4").reshape(rows.height, -1)
    pairs = near_duplicate_candidates(rows["group"].to_numpy(), sketch, floor=floor)
    if not pairs.size:
        return empty
    involved, positions = np.unique(pairs, return_inverse=True)
    texts = rows[involved].select(row_text()).to_series()
    similarity = jaccard(ngrams(split_words(texts), shingle), positions.reshape(pairs.shape))
    keys = rows["text_key"]
    found = pl.DataFrame({"left": keys[pairs[:, 0]], "right": keys[pairs[:, 1]], "similarity": similarity})
    return (
        found.filter(pl.col("similarity") >= floor)
        .select(
            text_key=pl.min_horizontal("left", "right"),
            twin=pl.max_horizontal("left", "right"),
            similarity="similarity",
        )
        .sort("text_key", "twin")
    )


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


def near_duplicate_candidates(groups: Hashes, sketch: Signatures, *, floor: float) -> Pairs:
    """Pairs of documents of one group [D] that may have a similarity of `floor` or more, from their
    signatures.

    Documents are expected to be distinct: equal ones would all be paired with each other.
    """
    filled = np.flatnonzero(np.any(sketch != np.iinfo(np.uint32).max, axis=1))
    groups, sketch = groups[filled], sketch[filled]
    permutations = sketch.shape[1]
    bands, rows = banding(permutations, floor)
    # Four standard deviations of the estimate below the floor: nothing real is lost, most chance pairs are.
    least = floor - 4 * np.sqrt(floor * (1 - floor) / permutations)
    found = [np.empty(0, np.int64)]
    count = np.int64(max(groups.size, 1))
    for band in range(bands):
        band_keys = mix(groups + np.uint64(band))
        for column in range(band * rows, (band + 1) * rows):
            band_keys = mix(band_keys ^ sketch[:, column].astype(np.uint64))
        for left, right in _equal_pairs(band_keys):
            hopeful = (groups[left] == groups[right]) & (_agreement(sketch, left, right) >= least)
            found.append(left[hopeful] * count + right[hopeful])
    codes = np.unique(np.concatenate(found))
    return filled[np.stack([codes // count, codes % count], axis=1)]


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


def _agreement(sketch: Signatures, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of equal signature entries of each pair."""
    result = np.empty(left.size, np.float64)
    for start in range(0, left.size, _CACHED_SHINGLES):
        part = slice(start, start + _CACHED_SHINGLES)
        result[part] = (sketch[left[part]] == sketch[right[part]]).mean(axis=1)
    return result


def _equal_pairs(keys: Hashes) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of positions of equal keys, smaller position first, by their distance in the sorted order."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.arange(keys.size)
    distance = 1
    while starts.size:
        starts = starts[starts + distance < keys.size]
        starts = starts[ordered[starts] == ordered[starts + distance]]
        yield order[starts], order[starts + distance]  # a stable sort keeps positions ascending
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
