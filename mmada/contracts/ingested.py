"""The folder that ingest makes of one corpus.

It is made of numbered parts, one for each span of a raw file, so that new files and rows appended to a file leave the
other parts as they are:

    records-000003.parquet       rows of the span
    pictures-000003-002.parquet  pictures that these rows are the first to show, a bounded number in each part
    dropped-000003.parquet       its rows that were dropped, where there are any
    noted-000003.parquet         remarks on rows that were kept all the same
    files.parquet                the raw files, by which a row's origin is known
"""

from collections.abc import Collection
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.records import DROPS, PICTURES, RECORDS, Schema
from mmada.contracts.tables import only_wanted, read_table, read_tables, scan_columns, write_table

STORED_RECORDS: Final[Schema] = {name: kind for name, kind in RECORDS.items() if name != "file_sha256"}
"""A row as it is stored: a file's sha256 changes when rows are appended to it, its first rows do not."""

FILES_NAME: Final = "files.parquet"
FILES: Final[Schema] = {"source_file": pl.String, "file_sha256": pl.String}


def part_name(kind: str, span: int, number: int | None = None) -> str:
    """File name of a part; in order of names parts are in order of their spans."""
    return f"{kind}-{span:06d}.parquet" if number is None else f"{kind}-{span:06d}-{number:03d}.parquet"


def same_part(file: Path, kind: str) -> str:
    """File name of the part of another kind that belongs to the same span (and number) as `file`, wherever it lies."""
    return f"{kind}-{file.name.partition('-')[2]}"


def write_files(folder: Path, sha256: dict[str, str]) -> None:
    """Write which raw files (name -> sha256) the rows came from."""
    table = pl.DataFrame(sorted(sha256.items()), schema=pl.Schema(FILES), orient="row")
    write_table(table, folder / FILES_NAME, FILES)


def read_records(folder: Path, where: str, *, wanted: Collection[str] | None = None) -> pl.DataFrame:
    """Rows of an ingested corpus (RECORDS), in order of their files and rows: those whose row id is wanted, or all.
    `where` names it in messages.
    """
    rows = scan_columns(parts(folder, "records"), STORED_RECORDS, list(STORED_RECORDS), where)
    return with_files(only_wanted(rows, "row_id", wanted).collect(), folder, where).select(list(RECORDS))


def with_files(rows: pl.DataFrame, folder: Path, where: str) -> pl.DataFrame:
    """`rows` with the `file_sha256` of their `source_file`, by the raw files of `folder`."""
    files = read_table(folder / FILES_NAME, FILES, where)
    return rows.join(files, on="source_file", how="left", maintain_order="left")


def picture_digests(folder: Path, where: str) -> pl.Series:
    """sha256 of every distinct picture of an ingested corpus. No picture is read."""
    return scan_columns(parts(folder, "pictures"), PICTURES, ["image_sha256"], where).collect().to_series()


def read_pictures(folder: Path, where: str, *, wanted: Collection[str] | None = None) -> pl.DataFrame:
    """The distinct pictures of an ingested corpus (PICTURES): those whose sha256 is wanted, or all of them.

    The bytes of others stay on disk.
    """
    pictures = scan_columns(parts(folder, "pictures"), PICTURES, list(PICTURES), where)
    return only_wanted(pictures, "image_sha256", wanted).collect()


def read_dropped(folder: Path, where: str) -> pl.DataFrame:
    """Its ledger (DROPS)."""
    return read_tables(folder, "dropped", DROPS, where)


def read_noted(folder: Path, where: str) -> pl.DataFrame:
    """Remarks on rows that were kept (DROPS)."""
    return read_tables(folder, "noted", DROPS, where)


def parts(folder: Path, kind: str) -> list[Path]:
    """Files of the parts of one kind, in order of their spans."""
    return sorted(folder.glob(f"{kind}-*.parquet"))
