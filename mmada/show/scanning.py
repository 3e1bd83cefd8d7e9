"""Parts of tables, read no further than an answer needs: columns and row groups that cannot matter stay on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl
from polars.exceptions import PolarsError

from mmada.contracts.records import Schema
from mmada.errors import ContractError

FILE: Final = "file"
"""Column with the path of the part that a row was read from."""


def rows_of(files: Sequence[Path], schema: Schema, wanted: pl.Expr, columns: Sequence[str] = ()) -> pl.DataFrame:
    """Rows that are wanted, with `columns` (default: all) and FILE, in order of the files; those that do not exist have
    none. Raises ContractError for files that are no tables of this schema.
    """
    chosen = [*(columns or schema), FILE]
    there = [file for file in files if file.is_file()]
    if not there:
        return pl.DataFrame(schema={**schema, FILE: pl.String}).select(chosen)
    try:
        return pl.scan_parquet(there, glob=False, include_file_paths=FILE).filter(wanted).select(chosen).collect()
    except (PolarsError, OSError) as error:
        raise ContractError(
            f"{there[0].parent}: its tables cannot be read, or another version of the stage made them; run `dvc repro` "
            f"({str(error).splitlines()[0]})"
        ) from None
