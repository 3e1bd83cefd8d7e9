"""Semantic duplicates: rows of one task whose embeddings, made by an encoder of the user's, point the same way.

Every pair is compared: in float32 first, and in float64 where that comes near the floor, so that neither the order of
the rows nor the way a processor sums products decides. Cosine similarity as in SemDeDup (arXiv:2303.09540), without its
clusters.

Legend of shapes: N distinct vectors, D dimensions, K pairs.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from mmada.contracts.facts import SEMANTIC_KEYS, SEMANTIC_PAIRS
from mmada.contracts.records import Schema
from mmada.contracts.tables import from_parquet, to_parquet
from mmada.errors import InputError, ParamsError
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import LateUnit, run_units

Vectors = NDArray[np.float32]  # [N, D]

VERSION: Final = 1
_STRIP: Final = 512
"""Vectors that a unit compares with all that come after them."""
_BLOCK: Final = 8192
_SLACK: Final = 1e-4
"""More than float32 errs in a product of unit vectors of a few thousand dimensions."""
_DIGITS: Final = 9
_MOST_PAIRS: Final = 50_000_000
_FOUND: Final[Schema] = {"left": pl.Int64, "right": pl.Int64, "similarity": pl.Float64}


@dataclass(frozen=True)
class SemanticDuplicates:
    """`keys`: SEMANTIC_KEYS of the rows that have an embedding; `pairs`: SEMANTIC_PAIRS; `num_unknown`: embeddings of
    rows that are not there.
    """

    keys: pl.DataFrame
    pairs: pl.DataFrame
    num_unknown: int


def no_semantic_duplicates() -> SemanticDuplicates:
    """What is known without embeddings."""
    return SemanticDuplicates(pl.DataFrame(schema=pl.Schema(SEMANTIC_KEYS)), _no_pairs(), 0)


def semantic_duplicates(file: Path, rows: pl.DataFrame, *, floor: float, store: UnitStore) -> SemanticDuplicates:
    """All pairs of rows of one task with a cosine similarity of `floor` or more.

    file: parquet with `row_id` and `embedding`, a list of numbers, of any length that is the same for all; rows:
    `row_id` and `task` of all rows, each once. Raises InputError for a file that does not hold that, ParamsError for a
    floor so low that the pairs cannot be kept.
    """
    embeddings = _read_embeddings(file)
    known = embeddings.join(rows, on="row_id", how="inner", maintain_order="left")
    keyed = known.with_columns(
        semantic_key=pl.Series(
            [
                hashlib.sha256(f"{task}\0".encode() + np.asarray(vector, "<f4").tobytes()).hexdigest()[:32]
                for task, vector in zip(known["task"], known["embedding"], strict=True)
            ],
            dtype=pl.String,
        )
    )
    distinct = keyed.unique("semantic_key").sort("semantic_key")
    found = [
        _pairs_of_task(part["semantic_key"], part["embedding"], floor, store)
        for part in distinct.partition_by("task", maintain_order=True)
    ]
    return SemanticDuplicates(
        keyed.select(list(SEMANTIC_KEYS)).sort("row_id"),
        pl.concat([_no_pairs(), *found]).sort("semantic_key", "twin"),
        embeddings.height - known.height,
    )


def _no_pairs() -> pl.DataFrame:
    return pl.DataFrame(schema=pl.Schema(SEMANTIC_PAIRS))


def _read_embeddings(file: Path) -> pl.DataFrame:
    """`row_id` and `embedding`, a list of float32."""
    wanted = "a parquet file with the columns row_id (text) and embedding (lists of numbers, all of one length)"
    try:
        table = pl.read_parquet(file, columns=["row_id", "embedding"])
        table = table.select(pl.col("row_id").cast(pl.String), pl.col("embedding").cast(pl.List(pl.Float32)))
    except FileNotFoundError:
        raise InputError(f"annotation.embeddings: {file} does not exist; it should be {wanted}") from None
    except PolarsError as error:
        raise InputError(f"annotation.embeddings: {file} is not {wanted}: {error}") from None
    lengths = table["embedding"].list.len()
    if lengths.n_unique() > 1 or table["embedding"].null_count() or 0 in lengths:
        raise InputError(
            f"annotation.embeddings: {file} holds embeddings of {sorted(set(lengths.unique()), key=str)} numbers"
        )
    if table["row_id"].is_duplicated().any():
        twice = table.filter(pl.col("row_id").is_duplicated())["row_id"][0]
        raise InputError(f"annotation.embeddings: {file} has two embeddings of row {twice}")
    norms = table["embedding"].list.eval(pl.element().cast(pl.Float64) ** 2).list.sum().sqrt()
    bad = table.filter(~(norms.is_finite() & (norms > 0)).fill_null(value=False))
    if not bad.is_empty():
        raise InputError(f"annotation.embeddings: {file}: the embedding of row {bad['row_id'][0]} has no direction")
    return table


def _pairs_of_task(keys: pl.Series, embeddings: pl.Series, floor: float, store: UnitStore) -> pl.DataFrame:
    """SEMANTIC_PAIRS of distinct vectors in order of their keys."""
    vectors = _matrix(embeddings)
    directions = _unit_length(vectors)
    units = [
        LateUnit(
            unit_key("semantic_pairs", VERSION, floor, keys[start:].to_list()),
            partial(_Strip, vectors, directions, start, floor),
        )
        for start in range(0, len(keys), _STRIP)
    ]
    results, found, count = run_units(units, _compare_strip, store, title="embeddings", workers=1), [], 0
    for result in results:
        found.append(from_parquet(result))
        count += found[-1].height
        if count > _MOST_PAIRS:
            raise ParamsError(
                f"annotation.semantic_floor {floor}: more than {_MOST_PAIRS:,} pairs are as alike as that; raise it"
            )
    pairs = pl.concat([pl.DataFrame(schema=pl.Schema(_FOUND)), *found])
    return pairs.select(
        semantic_key=keys.gather(pairs["left"]), twin=keys.gather(pairs["right"]), similarity="similarity"
    )


def _matrix(embeddings: pl.Series) -> Vectors:
    if embeddings.is_empty():
        return np.empty((0, 1), np.float32)
    matrix: Vectors = embeddings.explode().to_numpy().reshape(len(embeddings), -1)
    return matrix


@dataclass(frozen=True)
class _Strip:
    """Some vectors, from `start` on, to be compared with each other and with all after them. `directions`: all of them
    in unit length.
    """

    vectors: Vectors
    directions: Vectors
    start: int
    floor: float


def _compare_strip(strip: _Strip) -> bytes:
    rows = [np.stack([left, right], 1) for left, right in _candidates(strip)]
    pairs = np.concatenate([np.empty((0, 2), np.int64), *rows])
    similarity = cosine(strip.vectors, pairs)
    alike = similarity >= strip.floor
    table = {"left": pairs[alike, 0], "right": pairs[alike, 1], "similarity": similarity[alike]}
    return to_parquet(pl.DataFrame(table, schema=pl.Schema(_FOUND)).sort("left", "right"), _FOUND)


def _candidates(strip: _Strip) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    own = strip.directions[strip.start : strip.start + _STRIP]
    for first in range(strip.start, len(strip.vectors), _BLOCK):
        others = strip.directions[first : first + _BLOCK]
        left, right = np.nonzero(own @ others.T >= strip.floor - _SLACK)
        left, right = left + strip.start, right + first
        yield left[left < right], right[left < right]


def _unit_length(vectors: Vectors) -> Vectors:
    """Computed in float64, which is cast in small buffers: a copy of all vectors would take twice their memory."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    unit: Vectors = np.empty_like(vectors)
    np.divide(vectors, norms[:, None], out=unit, dtype=np.float64, casting="same_kind")
    return unit


def cosine(vectors: Vectors, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Cosine similarity [K] of pairs [K, 2] of vectors, to nine digits, which do not depend on the processor."""
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), _BLOCK):
        left, right = (vectors[pairs[start : start + _BLOCK, side]].astype(np.float64) for side in (0, 1))
        norms = np.sqrt((left * left).sum(1) * (right * right).sum(1))
        result[start : start + _BLOCK] = ((left * right).sum(1) / norms).round(_DIGITS)
    return result
