"""Read a raw corpus into records, pictures, and a ledger of the rows that could not be read."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from jaxtyping import UInt8

from mmada.contracts.records import DROPS, PICTURES, RECORDS, row_id
from mmada.contracts.tables import write_table
from mmada.errors import InputError
from mmada.params_data import REQUIRED_FIELDS, Corpus, Ingest
from mmada.sources.captions import Captions
from mmada.sources.picture_files import Decode
from mmada.sources.raw_files import read_whole
from mmada.sources.raw_rows import Defect, Limits
from mmada.sources.reading import NamedPictures, Reader, Rows, read_corpus, read_named_pictures
from mmada.sources.units import Declaration
from mmada.stage_report import StageReport
from mmada.unit_store import UnitStore
from mmada.vq.preprocess import ImageDecodeError, decode_picture

VERSION: Final = 1
OUT: Final = "ingested"
KEYED_BY: Final = "corpora"

_PICTURES_PER_PART: Final = 1000


@dataclass
class _Tally:
    """What was written so far."""

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    ledger: list[pl.DataFrame] = field(default_factory=list)
    pictures: set[str] = field(default_factory=set)


def ingest(*, out: Path, key: str, corpora: Corpus, ingest: Ingest, store: UnitStore) -> StageReport:
    """Writes `records-*.parquet`, `pictures-*.parquet` and `dropped.parquet` (schemas: contracts.records).

    Raises InputError when the corpus is missing or empty, or when every row of it is dropped.
    """
    reader = Reader(Limits(**ingest.model_dump()), decoder(ingest.max_image_pixels), store)
    corpus = read_corpus(
        _declaration(corpora),
        corpora.files,
        corpora.max_rows,
        reader,
        where=f"corpora.{key}",
        title=f"read {key}",
    )
    names = {name for rows in corpus for name in rows.table["image"].unique() if name}
    pictures = read_named_pictures(names, corpus.folder, corpora.image_path, reader, title=f"decode {key}")
    tally = _Tally()
    for number, rows in enumerate(corpus):
        _write_rows(out, number, _with_pictures(rows.table, pictures), rows, key, corpora, tally)
    _write_pictures(out, pictures, tally)
    ledger = pl.concat([pl.DataFrame(schema=pl.Schema(DROPS)), *tally.ledger])
    write_table(ledger, out / "dropped.parquet", DROPS)
    _refuse_if_useless(key, corpora, tally, ledger)
    return StageReport(
        raw_files=corpus.sha256 | pictures.sha256(),
        rows_in=tally.kept + tally.dropped.total(),
        rows_kept=tally.kept,
        dropped=dict(tally.dropped),
        metrics={"pictures": len(tally.pictures)},
    )


def decoder(max_pixels: int) -> Decode:
    """Decoding by the rules of the picture tokenizer, with its errors as defects of the row."""
    return partial(_decode, max_pixels=max_pixels)


def _decode(data: bytes, suffix: str, *, max_pixels: int) -> "UInt8[np.ndarray, 'H W 3'] | Defect":
    try:
        return decode_picture(data, max_pixels=max_pixels, suffix=suffix)
    except ImageDecodeError as error:
        return Defect(error.reason, str(error))


def _declaration(corpus: Corpus) -> Declaration:
    required = {*REQUIRED_FIELDS[corpus.task], *({"response"} & corpus.columns.keys())}
    return Declaration(
        format=corpus.format,
        path=corpus.path,
        columns={str(field): column for field, column in corpus.columns.items()},
        required=sorted(required - ({"prompt"} if corpus.prompt else set())),
        prompt=corpus.prompt,
        reference_pattern=corpus.reference_pattern,
        sidecar=corpus.sidecar,
        captions=Captions(**corpus.captions.model_dump()) if corpus.captions else None,
        revision=corpus.revision,
        split=corpus.split,
    )


def _with_pictures(table: pl.DataFrame, pictures: NamedPictures) -> pl.DataFrame:
    """Rows with the facts of the pictures that they name; a row whose picture has a defect takes its
    reason.
    """
    joined = table.join(pictures.facts, on="image", how="left", suffix="_named", maintain_order="left")
    is_named = (pl.col("image") != "") & (pl.col("reason") == "")
    from_file = [
        pl.when(is_named).then(f"{name}_named").otherwise(name).alias(name)
        for name in ("image_sha256", "pixels_sha256", "width", "height", "reason", "value")
    ]
    shown = pl.when(is_named & (pl.col("reason_named") != "")).then("image").otherwise("excerpt").alias("excerpt")
    return joined.with_columns(*from_file, shown).select(table.columns)


def _write_rows(
    out: Path, number: int, table: pl.DataFrame, rows: Rows, key: str, corpus: Corpus, tally: _Tally
) -> None:
    where = [pl.lit(key).alias("corpus"), pl.lit(rows.source_file).alias("source_file")]
    dropped = table.filter(pl.col("reason") != "")
    tally.dropped.update(dropped["reason"].to_list())
    tally.ledger.append(dropped.with_columns(*where, row_id=pl.lit("")).select(list(DROPS)))
    kept = table.filter(pl.col("reason") == "")
    if kept.is_empty():
        return
    tally.kept += kept.height
    content = kept.select("prompt", "response", "reference", "image_sha256").iter_rows()
    records = kept.with_columns(
        *where,
        row_id=pl.Series([row_id(corpus.task, *fields) for fields in content], dtype=pl.String),
        file_sha256=pl.lit(rows.file_sha256),
        task=pl.lit(corpus.task),
        source=pl.lit(corpus.source),
        licence=pl.lit(corpus.licence),
    )
    write_table(records.select(list(RECORDS)), out / f"records-{number:05d}.parquet", RECORDS)
    inside = kept.filter(pl.col("bytes").bin.size() > 0).unique("image_sha256", keep="first", maintain_order=True)
    new = inside.filter(~pl.col("image_sha256").is_in(list(tally.pictures)))
    if not new.is_empty():
        tally.pictures.update(new["image_sha256"])
        write_table(new.select(list(PICTURES)), out / f"pictures-{number:05d}.parquet", PICTURES)


def _write_pictures(out: Path, pictures: NamedPictures, tally: _Tally) -> None:
    """The pictures that lie in files of their own, after those that came inside tables."""
    good = pictures.facts.filter((pl.col("reason") == "") & ~pl.col("image_sha256").is_in(list(tally.pictures)))
    distinct = good.unique("image_sha256", keep="first", maintain_order=True)
    tally.pictures.update(distinct["image_sha256"])
    for number, part in enumerate(distinct.iter_slices(_PICTURES_PER_PART)):
        data = [read_whole(pictures.files[name]) for name in part["image"]]
        table = part.with_columns(bytes=pl.Series(data, dtype=pl.Binary)).select(list(PICTURES))
        write_table(table, out / f"pictures-files-{number:05d}.parquet", PICTURES)


def _refuse_if_useless(key: str, corpus: Corpus, tally: _Tally, ledger: pl.DataFrame) -> None:
    if tally.kept:
        return
    if not tally.dropped:
        raise InputError(f"corpora.{key}: {corpus.path} holds no rows; put data there, or take the corpus out")
    first = ledger.row(0, named=True)
    reasons = ", ".join(f"{reason} {count}" for reason, count in tally.dropped.most_common())
    raise InputError(
        f"corpora.{key}: all {tally.dropped.total()} rows of {corpus.path} were dropped: {reasons}. The "
        f"first, {first['source_file']} row {first['row']}: {first['value']}. Do `format` and `columns` fit?"
    )
