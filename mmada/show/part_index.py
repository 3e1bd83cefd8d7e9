"""Which parts of an ingested corpus may hold a row, by its id or its place: read once for each version of the corpus.

Kept in the unit store, so that no question reads a million ids again. The index only narrows a search down; whether a
part holds a row, the part itself says.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.ingested import parts
from mmada.contracts.records import Schema
from mmada.contracts.tables import from_parquet, to_parquet
from mmada.errors import IntegrityError
from mmada.lineage.manifest import MANIFEST_NAME, read_artifact
from mmada.unit_store import WORK_DIR, UnitStore, unit_key

VERSION: Final = 1

_DIGITS: Final = 16
"""First hex digits of an id that the index knows: 64 bits."""
_IDS: Final[Schema] = {"id": pl.UInt64, "part": pl.UInt32}
_SPANS: Final[Schema] = {"source_file": pl.String, "first": pl.Int64, "last": pl.Int64, "part": pl.UInt32}
_PLACES: Final = "places"


def parts_with_ids(folder: Path, starts: Sequence[str]) -> list[Path]:
    """Parts of records in `folder` with a row whose id may begin with any of `starts`, in order. Raises IntegrityError
    when the folder lacks a file.
    """
    names = sorted({start[0] for start in starts})
    bounds = [[int(start.ljust(_DIGITS, fill)[:_DIGITS], 16) for fill in "0f"] for start in starts]
    wanted = [pl.col("id").is_between(pl.lit(low, pl.UInt64), pl.lit(high, pl.UInt64)) for low, high in bounds]
    return _narrowed(folder, names, pl.any_horizontal(False, *wanted))


def parts_with_place(folder: Path, source_file: str, row: int) -> list[Path]:
    """Parts of records in `folder` that may hold this row of a raw file, in order. Raises IntegrityError when the
    folder lacks a file.
    """
    is_here = pl.lit(row).is_between("first", "last")
    return _narrowed(folder, [_PLACES], (pl.col("source_file") == source_file) & is_here)


def _narrowed(folder: Path, names: Iterable[str], wanted: pl.Expr) -> list[Path]:
    files = parts(folder, "records")
    if not (folder / MANIFEST_NAME).is_file():  # not finished: its parts may still change
        return files
    artifact = read_artifact(folder)
    if lacking := [name for name in artifact.files if not (folder / name).is_file()]:
        raise IntegrityError(
            f"{folder} lacks {len(lacking)} of its files, such as {lacking[0]}; delete it and run `dvc checkout`, or "
            "`dvc repro`"
        )
    version, store = artifact.id, UnitStore(WORK_DIR / "units").group("part_index")
    numbers: set[int] = set()
    for name in names:
        key = unit_key(VERSION, version, name)
        table = store.get_here(key)
        if table is None:
            for made, unit in _index(files).items():
                store.put(unit_key(VERSION, version, made), unit)
            table = store.get_here(key)
            assert table is not None
        numbers |= set(from_parquet(table).filter(wanted)["part"])
    return [files[number] for number in sorted(numbers)]


def _index(files: Sequence[Path]) -> dict[str, bytes]:
    """The units of the index: places, and ids by their first digit."""
    ids, spans = [pl.DataFrame(schema=pl.Schema(_IDS))], [pl.DataFrame(schema=pl.Schema(_SPANS))]
    row, first_digits = pl.col("row"), pl.col("row_id").str.head(_DIGITS)
    for number, file in enumerate(files):
        rows = pl.read_parquet(file, columns=["row_id", "source_file", "row"])
        part = pl.lit(number, pl.UInt32).alias("part")
        ids.append(rows.select(first_digits.str.to_integer(base=16, dtype=pl.UInt64).alias("id"), part))
        spans.append(rows.group_by("source_file").agg(first=row.min(), last=row.max()).with_columns(part))
    table = pl.concat(ids).sort("id")
    by_digit = {digit: table.filter(pl.col("id") // (1 << 60) == int(digit, 16)) for digit in "0123456789abcdef"}
    units = {digit: to_parquet(some, _IDS) for digit, some in by_digit.items()}
    return {**units, _PLACES: to_parquet(pl.concat(spans), _SPANS)}
