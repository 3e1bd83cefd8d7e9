"""Write the WebDataset shards of one training stage from the rows that selection kept and the gate let pass."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.benchmark_items import read_items
from mmada.contracts.code_packing import unpack_codes
from mmada.contracts.facts import BENCHMARK_MATCHES
from mmada.contracts.image_codes import read_codes
from mmada.contracts.ingested import read_records
from mmada.contracts.records import SELECTED
from mmada.contracts.sample import Sample, sample_key
from mmada.contracts.tables import read_table, write_table
from mmada.cot_dialects import unified_response
from mmada.curation.decontaminate import build_index, find_matches
from mmada.errors import GateError
from mmada.lineage.manifest import Artifact, open_artifact
from mmada.params_data import Benchmark, Decontamination, Shards
from mmada.params_schema import Paths
from mmada.params_section import PICTURE_TASKS
from mmada.params_training import TrainingData
from mmada.progress import progress_bar
from mmada.shards.boundaries import cut
from mmada.shards.index import INDEX, index_name
from mmada.shards.overlap import refuse_overlap
from mmada.shards.writer import write_shard
from mmada.stage_report import StageReport

VERSION: Final = 3
OUT: Final = "shards"
KEYED_BY: Final = "training"
READS: Final = {"data": "training.{key}.data", "decontamination": "annotation.decontamination"}

_SEARCHED_ROWS: Final = 10_000
"""Rows whose words are in memory at a time."""


def write_shards(
    *,
    out: Path,
    paths: Paths,
    data: TrainingData,
    shards: Shards,
    benchmarks: dict[str, Benchmark],
    decontamination: Decontamination,
) -> StageReport:
    """Shards per corpus with their index (shards.index), samples in the order in which the raw files hold them.

    So rows that are added to a file, or files to a corpus, make new shards and leave all but a few as they are, and a
    benchmark that finds nothing in them leaves them all: what was searched for stands in provenance, by the ids of the
    items among the inputs. Raises GateError when the gate certifies another version of the rows, or a row holds a
    benchmark item: this is looked for again, in the very rows that are written.
    """
    inputs = {"selected": open_artifact(Path(paths.selected)), "codes": open_artifact(Path(paths.codes))}
    inputs["gate"] = _passed_gate(Path(paths.gate), inputs["selected"])
    inputs |= {f"benchmark {key}": open_artifact(Path(paths.benchmark_items) / key) for key in benchmarks}
    items = {key: inputs[f"benchmark {key}"].path for key in benchmarks}
    sought = build_index(read_items(items), ngram=decontamination.ngram)
    selected = read_table(inputs["selected"].path / "selected.parquet", SELECTED, "selected rows")
    selected = selected.filter(pl.col("corpus").is_in(list(data.corpora)))
    by_corpus = {}
    with progress_bar("write shards", selected.height, "sample") as bar:
        for corpus in sorted(data.corpora):
            inputs[f"ingested {corpus}"] = ingested = open_artifact(Path(paths.ingested) / corpus)
            records = read_records(ingested.path, f"ingested {corpus}")
            rows = _rows(selected.filter(corpus=corpus), records, inputs["codes"].path)
            rows = _with_shards(rows, corpus, shards.samples_per_shard)
            found = [
                find_matches(some, sought, containment=decontamination.containment)
                for some in rows.iter_slices(_SEARCHED_ROWS)
            ]
            refuse_overlap(pl.concat([pl.DataFrame(schema=pl.Schema(BENCHMARK_MATCHES)), *found]), rows)
            for part in rows.partition_by("shard", maintain_order=True):
                _write_part(part, out, corpus in data.direct_answers)
                bar.update(part.height)
            by_corpus[corpus] = rows.height
    total = sum(by_corpus.values())
    return StageReport(inputs=inputs, rows_in=total, rows_kept=total, metrics={"samples_by_corpus": by_corpus})


def _passed_gate(folder: Path, selected: Artifact) -> Artifact:
    gate = open_artifact(folder)
    if gate.metadata.get("selected") != selected.id:
        raise GateError(
            f"{folder} certifies another version than {selected.path} ({selected.id[:12]}); run `dvc repro validate`"
        )
    return gate


def _rows(selected: pl.DataFrame, records: pl.DataFrame, codes: Path) -> pl.DataFrame:
    """Kept rows of one corpus with their text and codes (of the token table), each where its raw file first has it."""
    first = records.sort("source_file", "row").unique("row_id", keep="first", maintain_order=True)
    texts = first.drop("corpus", "task", "kind", "file_sha256")
    rows = selected.join(texts, on="row_id", how="inner", validate="m:1")
    assert rows.height == selected.height, "a selected row is not among the ingested ones"
    table = read_codes(codes, wanted=rows["image_sha256"].unique().to_list())
    pictures = table.select("image_sha256", "pixels_sha256", "codes", "grid_rows", "grid_columns")
    rows = rows.join(pictures, on="image_sha256", how="left").with_columns(pl.col("pixels_sha256").fill_null(""))
    return rows.sort("source_file", "row", "ordinal")


def _with_shards(rows: pl.DataFrame, corpus: str, samples_per_shard: int) -> pl.DataFrame:
    """`rows` with `key` and `shard`, in the order of their shards; a shard is named by its first sample.

    A raw file that can fill a shard has shards of its own, so that nothing else changes when it goes; smaller ones
    share theirs with their neighbours.
    """
    keys = [sample_key(*row) for row in rows.select("row_id", "task", "ordinal").iter_rows()]
    fills = pl.len().over("source_file") >= samples_per_shard
    rows = rows.with_columns(
        key=pl.Series(keys, dtype=pl.String), shared_by=pl.when(fills).then("source_file").otherwise(pl.lit(""))
    )
    parts = [
        part[run].with_columns(shard=pl.lit(f"{corpus}-{part['key'][run.start]}.tar"))
        for part in rows.partition_by("shared_by", maintain_order=True)
        for run in cut(part["key"].to_list(), samples_per_shard)
    ]
    return pl.concat([rows.clear().with_columns(shard=pl.lit("")), *parts])


def _write_part(part: pl.DataFrame, out: Path, direct_answers: bool) -> None:
    """One shard and its part of the index."""
    shard = part["shard"][0]
    entries = write_shard(out / shard, _samples(part, direct_answers))
    index = part.with_columns(
        offset=pl.Series([entry.offset for entry in entries], dtype=pl.Int64),
        length=pl.Series([entry.length for entry in entries], dtype=pl.Int64),
        crc32=pl.Series([entry.crc32 for entry in entries], dtype=pl.UInt32),
    )
    write_table(index.select(list(INDEX)), out / index_name(shard), INDEX)


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
