"""Ingested folders of rows that tests make up."""

from pathlib import Path

import polars as pl

from mmada.contracts.ingested import STORED_RECORDS, part_name, write_files
from mmada.contracts.tables import write_table


def write_ingested(folder: Path, records: pl.DataFrame) -> None:
    """What ingest would have left of the rows `records` (RECORDS), all in one part."""
    write_table(records.select(list(STORED_RECORDS)), folder / part_name("records", 0), STORED_RECORDS)
    write_files(folder, dict(records.select("source_file", "file_sha256").iter_rows()))
