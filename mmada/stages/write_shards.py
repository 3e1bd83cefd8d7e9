"""Write the WebDataset shards of one training stage from the rows that selection kept and the gate let pass."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.code_packing import unpack_codes
from mmada.contracts.image_codes import read_codes
from mmada.contracts.ingested import read_records
from mmada.contracts.records import SELECTED
from mmada.contracts.sample import Sample, sample_key
from mmada.contracts.tables import read_table, write_table
from mmada.curation.cot_dialects import unified_response
from mmada.errors import GateError
from mmada.lineage.manifest import Artifact, open_artifact
from mmada.params_data import Shards
from mmada.params_schema import Paths
from mmada.params_section import PICTURE_TASKS
from mmada.params_training import TrainingData
from mmada.shards.reader import INDEX, INDEX_NAME
from mmada.shards.writer import write_shard
from mmada.stage_report import StageReport

VERSION: Final = 1
OUT: Final = "shards"
KEYED_BY: Final = "training"
READS: Final = {"data": "training.{key}.data"}


def write_shards(*, out: Path, paths: Paths, data: TrainingData, shards: Shards) -> StageReport:
    """Shards per corpus, samples in order of their key; `rows.parquet` says where each lies and where it came from."""
    inputs = {"selected": open_artifact(Path(paths.selected)), "codes": open_artifact(Path(paths.codes))}
    inputs["gate"] = _passed_gate(Path(paths.gate), inputs["selected"])
    selected = read_table(inputs["selected"].path / "selected.parquet", SELECTED, "selected rows")
    codes = read_codes(inputs["codes"].path)
    index = []
    for corpus in sorted(data.corpora):
        inputs[f"ingested {corpus}"] = ingested = open_artifact(Path(paths.ingested) / corpus)
        records = read_records(ingested.path, f"ingested {corpus}")
        rows = _rows(selected.filter(pl.col("corpus") == corpus), records, codes)
        for number, part in enumerate(rows.iter_slices(shards.samples_per_shard)):
            shard = f"{corpus}-{number:06d}.tar"
            entries = write_shard(out / shard, _samples(part, corpus in data.direct_answers))
            places = pl.DataFrame(
                {
                    "shard": [shard] * len(entries),
                    "offset": [entry.offset for entry in entries],
                    "length": [entry.length for entry in entries],
                }
            )
            index.append(part.select("key", "corpus", "task", "row_id", "origins").hstack(places))
    table = pl.concat(index).select(list(INDEX))
    write_table(table, out / INDEX_NAME, INDEX)
    return StageReport(
        inputs=inputs,
        rows_in=table.height,
        rows_kept=table.height,
        metrics={"samples_by_corpus": dict(table.group_by("corpus").len().sort("corpus").iter_rows())},
    )


def _passed_gate(folder: Path, selected: Artifact) -> Artifact:
    gate = open_artifact(folder)
    if gate.metadata.get("selected") != selected.id:
        raise GateError(
            f"{folder} certifies another version than {selected.path} ({selected.id[:12]}); run `dvc repro validate`"
        )
    return gate


def _rows(selected: pl.DataFrame, records: pl.DataFrame, codes: pl.DataFrame) -> pl.DataFrame:
    """Kept rows of one corpus with their text and codes, sorted by sample key."""
    texts = records.unique("row_id").drop("corpus", "task", "kind", "source_file", "file_sha256", "row")
    rows = selected.join(texts, on="row_id", how="inner", validate="m:1")
    assert rows.height == selected.height, "a selected row is not among the ingested ones"
    rows = rows.join(codes.select("image_sha256", "codes", "grid_rows", "grid_columns"), on="image_sha256", how="left")
    keys = [sample_key(*row) for row in rows.select("row_id", "task", "ordinal").iter_rows()]
    return rows.with_columns(key=pl.Series(keys, dtype=pl.String)).sort("key")


def _samples(rows: pl.DataFrame, direct_answers: bool) -> Iterator[Sample]:
    for row in rows.iter_rows(named=True):
        picture = None
        if row["task"] in PICTURE_TASKS:
            grid = (row["grid_rows"], row["grid_columns"])
            picture = unpack_codes(row["codes"], grid[0] * grid[1]).reshape(grid)
        yield Sample(
            key=row["key"],
            task=row["task"],
            prompt=row["prompt"],
            response=unified_response(row["response"], with_thought=not direct_answers),
            reference=row["reference"],
            corpus=row["corpus"],
            source=row["source"],
            licence=row["licence"],
            row_id=row["row_id"],
            codes=picture,
        )
