"""Read and write the tables of mmada.contracts as parquet: checked on both sides, equal rows give equal bytes."""

from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from mmada.contracts.records import Schema, check
from mmada.errors import ContractError, InputError


def write_table(table: pl.DataFrame, path: Path, schema: Schema) -> None:
    """Write `table` after checking it against `schema`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    check(table, schema, str(path)).write_parquet(path, compression="zstd", statistics=True, row_group_size=100_000)


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


def read_tables(folder: Path, name: str, schema: Schema, where: str) -> pl.DataFrame:
    """All parts `<name>-*.parquet` of a folder, in order of their names; no part gives an empty table."""
    parts = [read_table(path, schema, where) for path in sorted(folder.glob(f"{name}-*.parquet"))]
    return pl.concat(parts) if parts else pl.DataFrame(schema=pl.Schema(schema))
