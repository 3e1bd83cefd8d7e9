"""Read the held-out items of a benchmark: what evaluation asks, and what curation keeps out of training."""

import json
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.benchmark_items import BENCHMARK_ITEMS
from mmada.contracts.records import PICTURES, row_id
from mmada.contracts.tables import write_table
from mmada.errors import InputError
from mmada.params_data import Benchmark, Ingest
from mmada.pictures import PictureSpec
from mmada.sources.picture_files import read_known_pictures
from mmada.sources.reading import Reader, cut_corpus, read_named_pictures
from mmada.sources.units import ROWS, Declaration, parse_rows
from mmada.stage_report import StageReport
from mmada.stages.ingest import decoder, limits
from mmada.unit_store import UnitStore

VERSION: Final = 3
OUT: Final = "benchmark_items"
KEYED_BY: Final = "benchmarks"


def benchmark_items(*, out: Path, key: str, benchmarks: Benchmark, ingest: Ingest, store: UnitStore) -> StageReport:
    """Writes `items.parquet` (contracts.benchmark_items) and, for items with pictures, `pictures.parquet`.

    A benchmark is small and must be whole: raises InputError naming the first item that cannot be read.
    """
    reader = Reader(limits(ingest), decoder(ingest.max_image_pixels), store)
    where, last = f"benchmarks.{key}", benchmarks.first_row + benchmarks.max_items
    corpus = cut_corpus(_declaration(benchmarks), "", last, reader, where=where)
    rows = pl.concat([pl.DataFrame(schema=pl.Schema(ROWS)), *map(parse_rows, corpus.tasks)])
    for task in corpus.tasks:
        corpus.confirm(task)
    rows = rows.slice(benchmarks.first_row, benchmarks.max_items)
    if rows.is_empty():
        raise InputError(f"{where}: {benchmarks.path} has no items from row {benchmarks.first_row} on; mend first_row")
    _refuse_defects(rows, where, benchmarks.path)
    pictures = read_named_pictures(
        rows["image"].filter(rows["image"] != "").unique(maintain_order=True).to_list(),
        corpus.folder,
        benchmarks.image_path,
        reader,
        title=f"decode {key}",
    )
    _refuse_defects(pictures.facts.with_row_index("row").with_columns(excerpt="image"), where, benchmarks.path)
    items = _items(rows, pictures.facts, key, benchmarks.kind, where)
    write_table(items, out / "items.parquet", BENCHMARK_ITEMS)
    if pictures.files:
        distinct = pictures.facts.unique("image_sha256", keep="first", maintain_order=True)
        known = [(sha, pictures.files[name]) for name, sha in distinct.select("image", "image_sha256").iter_rows()]
        data = pl.Series(list(read_known_pictures(known, reader.limits)), dtype=pl.Binary)
        write_table(distinct.with_columns(bytes=data).select(list(PICTURES)), out / "pictures.parquet", PICTURES)
    return StageReport(
        raw_files={**corpus.sha256, **pictures.sha256()},
        rows_in=rows.height,
        rows_kept=items.height,
        dropped={"duplicate_exact": rows.height - items.height} if rows.height > items.height else {},
        metrics={"items_by_category": dict(items.group_by("category").len().sort("category").iter_rows())},
    )


def _declaration(benchmark: Benchmark) -> Declaration:
    required = {
        "reasoning": ["prompt", "reference"],
        "vqa": ["prompt", "reference", "image"],
        "pictures": ["prompt", "spec"],
    }[benchmark.kind]
    return Declaration(
        format="json_or_lines",
        path=benchmark.path,
        columns={str(field): column for field, column in benchmark.columns.items()},
        required=required,
        reference_pattern=benchmark.reference_pattern,
    )


def _refuse_defects(rows: pl.DataFrame, where: str, path: str) -> None:
    bad = rows.filter(pl.col("reason") != "")
    if bad.is_empty():
        return
    first = bad.row(0, named=True)
    raise InputError(
        f"{where}: {bad.height} items of {path} cannot be read; row {first['row']}: {first['reason']} "
        f"({first['value']}). Mend the file or the benchmark's columns: scores over part of the items would "
        "not be comparable"
    )


def _items(rows: pl.DataFrame, facts: pl.DataFrame, key: str, kind: str, where: str) -> pl.DataFrame:
    named = rows.drop("image_sha256", "pixels_sha256").join(
        facts.select("image", "image_sha256", "pixels_sha256"), on="image", how="left", maintain_order="left"
    )
    items = named.select(
        "prompt",
        "reference",
        "spec",
        pl.col("image_sha256", "pixels_sha256").fill_null(""),
        benchmark=pl.lit(key),
        kind=pl.lit(kind),
        category=pl.col("kind"),
    )
    content = items.select("prompt", "reference", "spec", "image_sha256").iter_rows()
    ids = [row_id(kind, prompt, spec, reference, image) for prompt, reference, spec, image in content]
    items = items.with_columns(item_id=pl.Series(ids, dtype=pl.String))
    for spec in items["spec"].unique().drop_nulls():
        if spec:
            _check_spec(spec, where)
    return items.unique("item_id", keep="first", maintain_order=True).select(list(BENCHMARK_ITEMS))


def _check_spec(spec: str, where: str) -> None:
    try:
        PictureSpec.from_json(json.loads(spec))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: no specification of a picture ({error}): {spec[:200]}") from error
