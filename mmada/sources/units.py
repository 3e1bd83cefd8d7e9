"""Units of ingest: the rows of a span by declared columns, and the facts of a few pictures. Run in worker
processes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import polars as pl

from mmada.contracts.records import Schema
from mmada.contracts.tables import to_parquet
from mmada.sources.adapters import ADAPTERS
from mmada.sources.captions import Beside, Captions, read_captions
from mmada.sources.columns import find_reference, read_columns
from mmada.sources.json_values import read_object
from mmada.sources.picture_files import Decode, picture_facts, read_known_pictures
from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import Adapter, Defect, Limits, RawRow, Span
from mmada.sources.trajectories import with_thought

# What a unit makes of a span. A row with a reason is dropped; its other columns are empty.
ROWS: Final[Schema] = {
    "row": pl.Int64,  # within the span
    "reason": pl.String,
    "value": pl.String,
    "excerpt": pl.String,
    "prompt": pl.String,
    "response": pl.String,
    "reference": pl.String,
    "kind": pl.String,
    "spec": pl.String,
    "image": pl.String,  # name of a picture that lies outside the table, else ""
    "image_sha256": pl.String,  # this and the rest: of a picture inside the table, else empty
    "pixels_sha256": pl.String,
    "width": pl.Int64,
    "height": pl.Int64,
    "format": pl.String,
    "bytes": pl.Binary,
}

# What is known of pictures that lie in files of their own.
PICTURE_FACTS: Final[Schema] = {
    "image_sha256": pl.String,
    "reason": pl.String,
    "value": pl.String,
    "pixels_sha256": pl.String,
    "width": pl.Int64,
    "height": pl.Int64,
    "format": pl.String,
}


@dataclass(frozen=True)
class Declaration:
    """What a corpus declares about its rows (params.corpora, params.benchmarks)."""

    format: str
    path: str
    columns: Mapping[str, str]
    required: Sequence[str]
    prompt: str = ""
    reference_pattern: str = ""
    sidecar: str = ""
    captions: Captions | None = None
    config: str = ""
    split: str = ""

    def adapter(self) -> Adapter:
        """The reader of the declared format."""
        return ADAPTERS[self.format]

    def dependencies(self) -> list[object]:
        """What a row depends on besides its bytes, for a unit's key."""
        rules = [self.format, sorted(self.columns.items()), sorted(self.required)]
        captions = [] if self.captions is None else [vars(self.captions)]
        return [*rules, self.prompt, self.reference_pattern, self.sidecar, *captions]

    def beside(self, file: RawFile) -> str:
        """Name of the file beside a data file that its rows depend on, "" where there is none."""
        name = self.captions.file if self.captions else self.sidecar
        stem = PurePosixPath(file.name.removesuffix(".gz")).stem
        return PurePosixPath(file.name).with_name(name.replace("{stem}", stem)).as_posix() if name else ""


@dataclass(frozen=True)
class RowTask:
    """A span to be read."""

    span: Span
    declared: Declaration
    limits: Limits
    decode: Decode
    beside: Beside | None = None
    """The file that `declared.beside` names; None where it is absent."""


@dataclass(frozen=True)
class PictureTask:
    """Picture files to be decoded: sha256 of the content, file."""

    files: tuple[tuple[str, RawFile], ...]
    limits: Limits
    decode: Decode


def parse_rows(task: RowTask) -> pl.DataFrame:
    """The span as a table of schema ROWS."""
    adapter = task.declared.adapter()
    columns = {**dict(adapter.columns), **task.declared.columns}
    beside = _read_beside(task)
    asks_for_text = _asks_for_text(columns, adapter, task.declared)
    if asks_for_text and not beside:
        texts = adapter.texts(task.span, task.limits, set(columns.values()))
        if texts and (table := _text_rows(range(task.span.rows), texts, columns, task)) is not None:
            return table
    raw_rows = adapter.read(task.span, task.limits)
    if beside:
        raw_rows = (RawRow(raw.row, _joined(raw, beside, task)) for raw in raw_rows)
    read = list(raw_rows)
    texts = _texts(read, columns.values()) if asks_for_text else None
    if texts and (table := _text_rows([row for row, _ in read], texts, columns, task)) is not None:
        return table
    rows = [_row(row, content, columns, adapter, task) for row, content in read]
    values = zip(*rows, strict=True) if rows else ([] for _ in ROWS)
    return pl.DataFrame(dict(zip(ROWS, values, strict=True)), schema=pl.Schema(ROWS))


def read_pictures(task: PictureTask) -> bytes:
    """Facts of the pictures as a table of schema PICTURE_FACTS (parquet), in order."""
    rows: list[tuple[object, ...]] = []
    read = read_known_pictures(task.files, task.limits)
    for (sha256, _), data in zip(task.files, read, strict=True):
        facts = picture_facts(data, task.decode)
        if isinstance(facts, Defect):
            rows.append((sha256, facts.reason, facts.value, "", 0, 0, ""))
        else:
            rows.append((sha256, "", "", facts.pixels_sha256, facts.width, facts.height, facts.format))
    return to_parquet(pl.DataFrame(rows, schema=pl.Schema(PICTURE_FACTS), orient="row"), PICTURE_FACTS)


def _read_beside(task: RowTask) -> Mapping[str, object] | Defect:
    """The sidecar's fields, or the captions by key."""
    if not task.declared.beside(task.span.file):
        return {}
    if task.beside is None:
        return Defect("missing_field", f"no file {task.declared.beside(task.span.file)}")
    if task.declared.captions is None:
        return read_object(task.beside.file, task.limits)
    return read_captions(task.beside, task.declared.captions, task.limits)


def _joined(raw: RawRow, beside: Mapping[str, object] | Defect, task: RowTask) -> object:
    """What a row holds together with what the file beside its own says of it."""
    if isinstance(beside, Defect):
        return beside
    if not isinstance(raw.content, Mapping):
        return raw.content
    if task.declared.captions is None:
        return {**beside, **raw.content}
    key = str(raw.content["__key__"]).removeprefix("./")
    return {**raw.content, task.declared.captions.column: beside.get(key)}


def _asks_for_text(columns: Mapping[str, str], adapter: Adapter, declared: Declaration) -> bool:
    """Whether a row's fields are the texts of its columns as they stand there, as in most corpora."""
    return not (declared.reference_pattern or {"image", "thought"} & columns.keys()) and adapter.response is str


def _texts(rows: Sequence[RawRow], columns: Iterable[str]) -> dict[str, list[str]] | None:
    """Texts of all rows by column; None unless each row is an object with a text in each column."""
    contents = [content for _, content in rows]
    if set(map(type, contents)) != {dict}:
        return None
    texts = {column: [content.get(column) for content in contents] for column in columns}  # type: ignore[attr-defined]
    return texts if all(set(map(type, values)) == {str} for values in texts.values()) else None


def _text_rows(
    numbers: Sequence[int], texts: Mapping[str, Sequence[str]], columns: Mapping[str, str], task: RowTask
) -> pl.DataFrame | None:
    """All rows at once, in half the time of `_row`, by their numbers and the texts of their columns; None where one of
    them has a defect.
    """
    declared = task.declared
    if not all(all(texts[columns[field]]) for field in declared.required if field in columns):
        return None
    if sum(max(map(len, texts[column])) for column in columns.values()) > task.limits.max_row_bytes:
        return None
    fields = {field: texts[column] for field, column in columns.items()}
    try:
        table = pl.DataFrame({"row": numbers, **fields}, schema_overrides={"row": pl.Int64})
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    empty = {pl.String: "", pl.Int64: 0, pl.Binary: b""}
    constant = {name: empty[kind] for name, kind in ROWS.items()} | {"prompt": declared.prompt}  # type: ignore[index]
    return table.select(
        pl.col(name) if name in table.columns else pl.lit(constant[name], kind).alias(name)
        for name, kind in ROWS.items()
    )


def _row(row: int, content: object, columns: Mapping[str, str], adapter: Adapter, task: RowTask) -> tuple[object, ...]:
    declared = task.declared
    if isinstance(content, Defect):
        return _dropped(row, content)
    fields = read_columns(content, columns, declared.required, task.limits)
    if isinstance(fields, Defect):
        return _dropped(row, fields)
    get = fields.get
    reference = find_reference(str(get("reference", "")), declared.reference_pattern)
    if isinstance(reference, Defect):
        return _dropped(row, reference)
    prompt = get("prompt", declared.prompt)
    response = adapter.response(str(get("response", "")))
    if "thought" in fields:
        response = with_thought(str(fields["thought"]), response)
    text = (prompt, response, reference, get("kind", ""), get("spec", ""))
    picture = get("image", "")
    if isinstance(picture, str):
        return (row, "", "", "", *text, picture, "", "", 0, 0, "", b"")
    if len(picture) > task.limits.max_image_bytes:
        return _dropped(row, Defect("image_too_large", f"{len(picture)} bytes", str(prompt)))
    facts = picture_facts(picture, task.decode)
    if isinstance(facts, Defect):
        return _dropped(row, Defect(facts.reason, facts.value, str(prompt)))
    return (
        *(row, "", "", "", *text, "", facts.image_sha256, facts.pixels_sha256),
        *(facts.width, facts.height, facts.format, picture),
    )


def _dropped(row: int, defect: Defect) -> tuple[object, ...]:
    shown = defect.excerpt[:200].encode("utf-8", "replace").decode()
    value = defect.value[:300].encode("utf-8", "replace").decode()
    return (row, defect.reason, value, shown, "", "", "", "", "", "", "", "", 0, 0, "", b"")
