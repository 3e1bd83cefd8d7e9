"""Read and write the tables of mmada.contracts as parquet: checked on both sides, equal rows give equal bytes."""

import io
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from mmada.contracts.records import Schema, check
from mmada.errors import ContractError, InputError


def write_table(table: pl.DataFrame, path: Path, schema: Schema) -> None:
    """Write `table` after checking it against `schema`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    check(table, schema, str(path)).write_parquet(path, compression="zstd", statistics=True, row_group_size=100_000)


def to_parquet(table: pl.DataFrame, schema: Schema) -> bytes:
    """`table` as the result of a unit of work, after checking it against `schema`."""
    stream = io.BytesIO()
    # The lowest level: text is written twice as fast as at the usual one and takes a fifth more room.
    check(table, schema, "table").write_parquet(stream, compression="zstd", compression_level=1, statistics=True)
    return stream.getvalue()


def from_parquet(data: bytes) -> pl.DataFrame:
    """The table that `to_parquet` wrote."""
    return pl.read_parquet(io.BytesIO(data))


def all_from_parquet(results: Iterable[bytes], schema: Schema) -> pl.DataFrame:
    """The tables of `schema` that `to_parquet` wrote, one below the other: three times faster than one by one."""
    tables = list(results)
    return pl.read_parquet(tables) if tables else pl.DataFrame(schema=pl.Schema(schema))


def read_table(path: Path, schema: Schema, where: str) -> pl.DataFrame:
    """The table at `path`; `where` names it in messages.

    Raises InputError when it is not there, ContractError when it is not parquet or not of this schema.
    """
    try:
        table = pl.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"{where}: {path} does not exist; run `dvc repro`") from None
    except PolarsError as error:
        raise ContractError(f"{where}: {path} is not a readable parquet file ({error})") from None
    return check(table, schema, f"{where} ({path})")


def scan_columns(paths: Sequence[Path], schema: Schema, columns: Sequence[str], where: str) -> pl.LazyFrame:
    """Some columns of the parts of one table, in order, read when they are collected; the others stay on disk.

    Raises InputError for a part that is not there, ContractError for one that is not parquet or not of this schema.
    """
    for path in paths:
        try:
            check(pl.DataFrame(schema=pl.read_parquet_schema(path)), schema, f"{where} ({path})")
        except FileNotFoundError:
            raise InputError(f"{where}: {path} does not exist; run `dvc repro`") from None
        except PolarsError as error:
            raise ContractError(f"{where}: {path} is not a readable parquet file ({error})") from None
    table = pl.scan_parquet(list(paths), glob=False) if paths else pl.LazyFrame(schema=pl.Schema(schema))
    return table.select(columns)


def only_wanted(rows: pl.LazyFrame, column: str, wanted: Collection[str] | None) -> pl.LazyFrame:
    """Rows whose `column` is among the wanted; None: all of them."""
    if wanted is None:
        return rows
    return rows.filter(pl.col(column).is_in(pl.Series(list(wanted), dtype=pl.String).implode()))


def read_tables(folder: Path, name: str, schema: Schema, where: str) -> pl.DataFrame:
    """All parts `<name>-*.parquet` of a folder, in order of their names; no part gives an empty table."""
    paths = sorted(folder.glob(f"{name}-*.parquet"))
    try:
        table = pl.read_parquet(paths) if paths else pl.DataFrame(schema=pl.Schema(schema))
    except PolarsError as error:
        raise ContractError(
            f"{where}: {folder}/{name}-*.parquet are no readable parts of one table ({error})"
        ) from None
    return check(table, schema, f"{where} ({folder})")
