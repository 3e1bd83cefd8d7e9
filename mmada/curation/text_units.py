"""Facts of texts, kept by blocks of rows and apart by what they depend on: rows that are appended to a part cost little
more than themselves, and another setting makes again what it changes.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.records import Schema
from mmada.contracts.tables import all_from_parquet, to_parquet
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import LateUnit, run_units

_ROWS_PER_BLOCK: Final = 250
_TEXT: Final = ("row_id", "task", "prompt", "response", "reference")


@dataclass(frozen=True)
class TextPart:
    """The distinct rows of a part of records."""

    file: Path
    sha256: str
    pixels: pl.DataFrame
    """`image_sha256` and `pixels_sha256` of all pictures."""

    def rows(self) -> pl.DataFrame:
        """Their text (row_id, task, prompt, response, reference) and `pixels_sha256`, "" without a picture."""
        return self._distinct(_TEXT)

    def blocks(self) -> Iterator[tuple[str, Callable[[], pl.DataFrame]]]:
        """(sha256 of what the rows say and which pixels they have, how to read them) of 250 rows each."""
        ids = self._distinct(("row_id",))
        lines = ids.select(pl.concat_str("row_id", "pixels_sha256", separator=" ")).to_series()
        for start in range(0, ids.height, _ROWS_PER_BLOCK):
            block = "\n".join(lines[start : start + _ROWS_PER_BLOCK])
            yield hashlib.sha256(block.encode()).hexdigest(), partial(self._block, start)

    def _block(self, start: int) -> pl.DataFrame:
        rows = _distinct_text(self.file, self.sha256)[start : start + _ROWS_PER_BLOCK]
        return self._with_pixels(rows, _TEXT)

    def _distinct(self, columns: Sequence[str]) -> pl.DataFrame:
        return self._with_pixels(_distinct(self.file, columns), columns)

    def _with_pixels(self, distinct: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        joined = distinct.join(self.pixels, on="image_sha256", how="left", maintain_order="left")
        return joined.select(*columns, pl.col("pixels_sha256").fill_null(""))


@lru_cache(maxsize=2)
def _distinct_text(file: Path, sha256: str) -> pl.DataFrame:
    """Read once for all blocks of a part, which are asked for one after the other. `sha256`: of the file."""
    return _distinct(file, _TEXT)


def _distinct(file: Path, columns: Sequence[str]) -> pl.DataFrame:
    rows = pl.read_parquet(file, columns=[*columns, "image_sha256"])
    return rows.unique("row_id", keep="first", maintain_order=True)


@dataclass(frozen=True)
class Facts:
    """Columns of `schema` that `of` computes for rows of TextPart, in their order; `settings`: all else that they
    depend on, versions included.
    """

    title: str
    schema: Schema
    settings: Sequence[object]
    of: Callable[[pl.DataFrame], pl.DataFrame]
    reads: Sequence[Path] = ()
    """Folders that `of` reads (workers.run_units)."""


def text_facts_of(parts: Sequence[TextPart], kinds: Sequence[Facts], store: UnitStore) -> Iterator[pl.DataFrame]:
    """The columns of all kinds of facts, for the rows of each part."""
    blocks = [list(part.blocks()) for part in parts]
    for kind in kinds:
        units = [LateUnit(_key(kind, digest), load) for part in blocks for digest, load in part]
        for _ in run_units(units, partial(_unit, kind), store, title=kind.title, reads=kind.reads):
            pass  # read again part by part: those of all rows would fill the memory
    for part in blocks:
        tables = [_read(kind, [digest for digest, _ in part], store) for kind in kinds]
        yield pl.concat(tables, how="horizontal")


def _key(kind: Facts, digest: str) -> str:
    return unit_key(kind.title, *kind.settings, digest)


def _unit(kind: Facts, rows: pl.DataFrame) -> bytes:
    return to_parquet(kind.of(rows), kind.schema)


def _read(kind: Facts, digests: Sequence[str], store: UnitStore) -> pl.DataFrame:
    results = [store.get(_key(kind, digest)) for digest in digests]
    assert None not in results, "they were made just now, and nothing deletes results"
    return all_from_parquet(filter(None, results), kind.schema)
