"""Folders of rows and of their facts that tests make up, as ingest and annotate would have left them."""

from pathlib import Path

import polars as pl

from mmada.contracts.facts import QUESTION_FACTS, STORED_FACTS, facts_part
from mmada.contracts.ingested import STORED_RECORDS, part_name, write_files
from mmada.contracts.tables import write_table


def write_ingested(folder: Path, records: pl.DataFrame) -> None:
    """What ingest would have left of the rows `records` (RECORDS), all in one part."""
    write_table(records.select(list(STORED_RECORDS)), folder / part_name("records", 0), STORED_RECORDS)
    write_files(folder, dict(records.select("source_file", "file_sha256").iter_rows()))


def write_facts(folder: Path, facts: pl.DataFrame) -> None:
    """What annotate would have left of the facts `facts` (FACTS), a part for each corpus and no known question."""
    write_table(pl.DataFrame(schema=pl.Schema(QUESTION_FACTS)), folder / "questions.parquet", QUESTION_FACTS)
    for (corpus,), rows in facts.group_by("corpus"):
        write_table(
            rows.select(list(STORED_FACTS)),
            folder / facts_part(str(corpus), Path(part_name("records", 0))),
            STORED_FACTS,
        )
        write_files(folder / str(corpus), dict(rows.select("source_file", "file_sha256").iter_rows()))
