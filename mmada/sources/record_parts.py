"""The unit of ingest: a span of a raw file becomes finished parts of the ingested folder.

Pictures that lie in files of their own must be known before a row can be finished (its id covers the picture's bytes).
A span that names some is therefore read twice: the first time it only says which, because their facts are shared by all
spans that show them.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from mmada.contracts.ingested import STORED_RECORDS
from mmada.contracts.records import DROPS, PICTURES, row_ids
from mmada.contracts.tables import to_parquet
from mmada.sources.picture_files import promised_format, read_known_pictures
from mmada.sources.raw_files import RawFile
from mmada.sources.units import PICTURE_FACTS, RowTask, parse_rows
from mmada.unit_files import pack_files, packed_file

NAMES: Final = "names.json"
"""The one file in the result of a span whose pictures are not known yet: their names, in order of the rows."""

COUNTS: Final = "counts.json"
"""In the result of a finished span: rows kept, dropped and noted (by reason), sha256 of the pictures in its parts."""


@dataclass(frozen=True)
class Labels:
    """What all rows of a corpus have in common."""

    corpus: str
    task: str
    source: str
    licence: str


@dataclass(frozen=True)
class SpanPictures:
    """Pictures that the rows of a span name. `facts`: `image` (the name) and units.PICTURE_FACTS.

    `new`: those that no earlier span shows, one name for each content, with their files.
    """

    facts: pl.DataFrame
    new: Mapping[str, RawFile]


@dataclass(frozen=True)
class RecordTask:
    """A span to be made into records. `most`: raw rows to take, all if None; `pictures`: None if not known yet."""

    rows: RowTask
    labels: Labels
    most: int | None
    pictures_per_part: int
    pictures: SpanPictures | None = None


def read_record_parts(task: RecordTask) -> bytes:
    """The span's files (unit_files): NAMES alone, or COUNTS and the parts `records`, `dropped` and `pictures-<n>`."""
    table = parse_rows(task.rows)
    table = table if task.most is None else table.filter(pl.col("row") < task.most)
    names = table["image"].unique(maintain_order=True).drop_nulls().to_list()
    named = [name for name in names if name]
    if named and task.pictures is None:
        return pack_files({NAMES: json.dumps(named, ensure_ascii=False).encode()})
    if task.pictures is not None:
        table = _with_named_pictures(table, task.pictures.facts)
    place = {
        "row": pl.col("row") + task.rows.span.first_row,
        "corpus": pl.lit(task.labels.corpus),
        "source_file": pl.lit(task.rows.span.file.name),
    }
    table = table.with_columns(**place)
    kept, dropped = table.filter(pl.col("reason") == ""), table.filter(pl.col("reason") != "")
    files = {}
    if not kept.is_empty():
        files["records"] = to_parquet(_records(kept, task.labels), STORED_RECORDS)
    if not dropped.is_empty():
        ledger = dropped.with_columns(row_id=pl.lit("")).select(list(DROPS))
        files["dropped"] = to_parquet(ledger, DROPS)
    noted = _misnamed(kept, task.rows.declared.columns.get("image", ""))
    if not noted.is_empty():
        files["noted"] = to_parquet(noted, DROPS)
    return pack_parts(
        files,
        _picture_parts(kept, task),
        kept=kept.height,
        dropped=dict(dropped.group_by("reason").len().iter_rows()),
        noted=dict(noted.group_by("reason").len().iter_rows()),
    )


def pack_parts(
    files: Mapping[str, bytes],
    pictures: Iterable[pl.DataFrame],
    *,
    kept: int,
    dropped: Mapping[str, int],
    noted: Mapping[str, int],
) -> bytes:
    """The result of a finished span: `files` (tables by name), parts of pictures (PICTURES), and COUNTS."""
    packed, shown = dict(files), list[str]()
    for number, part in enumerate(pictures):
        packed[f"pictures-{number:03d}"] = to_parquet(part, PICTURES)
        shown += part["image_sha256"].to_list()
    counts = {"kept": kept, "dropped": dict(dropped), "noted": dict(noted), "pictures": shown}
    return pack_files({**packed, COUNTS: json.dumps(counts, sort_keys=True).encode()})


def num_rows(result: bytes) -> int:
    """Rows of a span, kept and dropped, by the result of its unit; 0 where its pictures are not known yet."""
    counts = read_counts(result)
    return 0 if counts is None else counts["kept"] + sum(counts["dropped"].values())


def read_counts(result: bytes) -> Any:
    """COUNTS of a span; None where its pictures are not known yet."""
    data = packed_file(result, COUNTS)
    return None if data is None else json.loads(data)


def _with_named_pictures(table: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """Rows with the facts of the pictures that they name; a row whose picture has a defect takes its reason."""
    joined = table.join(facts, on="image", how="left", suffix="_named", maintain_order="left")
    is_named = (pl.col("image") != "") & (pl.col("reason") == "")
    from_file = [pl.when(is_named).then(f"{name}_named").otherwise(name).alias(name) for name in PICTURE_FACTS]
    shown = pl.when(is_named & (pl.col("reason_named") != "")).then("image").otherwise("excerpt").alias("excerpt")
    return joined.with_columns(*from_file, shown).select(table.columns)


def _records(kept: pl.DataFrame, labels: Labels) -> pl.DataFrame:
    return kept.with_columns(
        row_id=row_ids(labels.task, kept),
        task=pl.lit(labels.task),
        source=pl.lit(labels.source),
        licence=pl.lit(labels.licence),
    ).select(list(STORED_RECORDS))


def _misnamed(kept: pl.DataFrame, column: str) -> pl.DataFrame:
    """Remarks (DROPS) on rows whose picture is of another format than its name says, or the tar member's (`column`)."""
    names = kept.filter(pl.col("format") != "").select("image", "format").unique()
    if names.is_empty():
        return pl.DataFrame(schema=pl.Schema(DROPS))
    rows = [
        (image, is_, f"called {promised}, but its bytes are {is_}")
        for image, is_ in names.iter_rows()
        if (promised := promised_format(image or f"member.{column}")) not in ("", is_)
    ]
    remarks = pl.DataFrame(rows, schema={"image": pl.String, "format": pl.String, "remark": pl.String}, orient="row")
    found = kept.join(remarks, on=["image", "format"], how="inner", maintain_order="left")
    return found.with_columns(
        reason=pl.lit("image_mislabelled"), value="remark", excerpt="image", row_id=pl.lit("")
    ).select(list(DROPS))


def _picture_parts(kept: pl.DataFrame, task: RecordTask) -> Iterator[pl.DataFrame]:
    """Distinct pictures of the span: those inside its rows, then those in files of their own."""
    inside = kept.filter(pl.col("bytes").bin.size() > 0).select(list(PICTURES))
    distinct = inside.unique("image_sha256", keep="first", maintain_order=True)
    yield from distinct.iter_slices(task.pictures_per_part)
    if task.pictures is None:
        return
    new = list(task.pictures.new.items())
    for start in range(0, len(new), task.pictures_per_part):
        yield _read_files(new[start : start + task.pictures_per_part], task)


def _read_files(some: Sequence[tuple[str, RawFile]], task: RecordTask) -> pl.DataFrame:
    assert task.pictures is not None
    names = pl.DataFrame({"image": [name for name, _ in some]})
    table = names.join(task.pictures.facts, on="image", how="left", maintain_order="left")
    known = list(zip(table["image_sha256"], (file for _, file in some), strict=True))
    data = list(read_known_pictures(known, task.rows.limits))
    return table.with_columns(bytes=pl.Series(data, dtype=pl.Binary)).select(list(PICTURES))
