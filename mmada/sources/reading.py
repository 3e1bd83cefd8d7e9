"""Read the rows of a corpus and its pictures through the unit store: what is done once is never done twice.

Rows are units of their bytes; pictures are units of theirs, so that a picture that a thousand rows show is
decoded once.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import polars as pl

from mmada.sources.captions import Beside
from mmada.sources.picture_files import Decode, picture_file, picture_sha256
from mmada.sources.raw_files import LocalFile, LocalFolder, RawFile, RawFolder, open_corpus
from mmada.sources.raw_rows import Defect, Limits, Span
from mmada.sources.units import (
    PICTURE_FACTS,
    Declaration,
    PictureTask,
    RowTask,
    from_parquet,
    read_pictures,
    read_rows,
)
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import Unit, run_units

VERSION: Final = 1
"""Raised when a unit makes other bytes of equal input (decoding of pictures included)."""

_PICTURES_PER_UNIT: Final = 128


@dataclass(frozen=True)
class Reader:
    """How corpora are read: limits, the decoder of pictures, and where results are kept."""

    limits: Limits
    decode: Decode
    store: UnitStore


@dataclass(frozen=True)
class Rows:
    """Rows of one span, in order, with the file that they stand in."""

    source_file: str
    file_sha256: str
    table: pl.DataFrame
    """Schema units.ROWS, with `row` counted from the beginning of the file."""


@dataclass(frozen=True)
class CorpusRows:
    """The spans of a corpus and their units; iterating gives `Rows` span by span, so that memory stays
    bounded.
    """

    folder: RawFolder
    spans: Sequence[Span]
    units: Sequence[Unit[RowTask]]
    sha256: dict[str, str]
    """Location -> sha256 of all files of rows (and what stands beside them)."""
    max_rows: int | None
    store: UnitStore

    def __iter__(self) -> Iterator[Rows]:
        left = self.max_rows
        for span, unit in zip(self.spans, self.units, strict=True):
            table = from_parquet(self.store.get(unit.key) or read_rows(unit.payload))
            if left is not None:
                table = table.head(left)
                left -= table.height
            table = table.with_columns(pl.col("row") + span.first_row)
            yield Rows(span.file.name, self.sha256.get(span.file.location, span.digest), table)


def read_corpus(
    declared: Declaration, pattern: str, max_rows: int | None, reader: Reader, *, where: str, title: str
) -> CorpusRows:
    """Read every span of a corpus that is not in the store yet. `where` names the corpus in params.yaml.

    Raises InputError when there is nothing to read.
    """
    adapter = declared.adapter()
    folder, files = _files(declared, pattern, where)
    spans = _first_rows((span for file in files for span in adapter.split(file, reader.limits)), max_rows)
    read = {span.file for span in spans if declared.format != "huggingface"}
    named = {file: folder.find(name) for file in read if (name := declared.beside(file))}
    found = {beside for beside in named.values() if beside is not None}
    sha256 = {file.location: file.sha256() for file in read | found}
    rules = [VERSION, declared.dependencies(), vars(reader.limits)]
    units = []
    for span in spans:
        file = named.get(span.file)
        beside = None if file is None else Beside(file, sha256[file.location])
        key = unit_key("ingest rows", rules, span.digest, beside and beside.sha256)
        units.append(Unit(key, RowTask(span, declared, reader.limits, reader.decode, beside)))
    for _ in run_units(units, read_rows, reader.store, title=title):
        pass
    return CorpusRows(folder, spans, units, sha256, max_rows, reader.store)


def _files(declared: Declaration, pattern: str, where: str) -> tuple[RawFolder, list[RawFile]]:
    path = Path(declared.path)
    if declared.format == "huggingface":  # its adapter finds the files itself
        return LocalFolder(path), [LocalFile(path, "")]
    return open_corpus(path, pattern, where)


def _first_rows(spans: Iterable[Span], max_rows: int | None) -> list[Span]:
    taken: list[Span] = []
    known = 0
    for span in spans:
        if max_rows is not None and known >= max_rows:
            break
        taken.append(span)
        known += span.rows
    return taken


@dataclass(frozen=True)
class NamedPictures:
    """Pictures in files of their own: facts by name (schema units.PICTURE_FACTS and `image`), and the
    files.
    """

    facts: pl.DataFrame
    files: dict[str, RawFile]

    def sha256(self) -> dict[str, str]:
        """Location -> sha256 of every picture that could be read."""
        known = self.facts.filter(pl.col("image_sha256") != "").select("image", "image_sha256")
        return {self.files[name].location: sha for name, sha in known.iter_rows()}


def read_named_pictures(
    names: Iterable[str], folder: RawFolder, template: str, reader: Reader, *, title: str
) -> NamedPictures:
    """Facts of the pictures `names` (see picture_files.picture_file), each decoded once for ever."""
    found: list[_Found] = []
    refused: list[tuple[object, ...]] = []
    for name in sorted(set(names)):
        file = picture_file(folder, template, name)
        sha256 = file if isinstance(file, Defect) else picture_sha256(file, reader.limits)
        if not isinstance(file, Defect) and isinstance(sha256, str):
            found.append(_Found(name, file, sha256))
        elif isinstance(sha256, Defect):
            refused.append((name, "", sha256.reason, sha256.value, "", 0, 0))
    bunches = list(_bunches(found))
    units = [
        Unit(
            unit_key(
                "pictures",
                VERSION,
                vars(reader.limits),
                [(picture.sha256, PurePosixPath(picture.file.name).suffix) for picture in bunch],
            ),
            PictureTask(tuple(picture.file for picture in bunch), reader.limits, reader.decode),
        )
        for bunch in bunches
    ]
    tables = [pl.DataFrame(refused, schema=pl.Schema({"image": pl.String, **PICTURE_FACTS}), orient="row")]
    results = run_units(units, read_pictures, reader.store, title=title) if units else iter(())
    for result, bunch in zip(results, bunches, strict=True):
        own = pl.Series("image", [picture.name for picture in bunch], dtype=pl.String)
        tables.append(from_parquet(result).insert_column(0, own))
    return NamedPictures(pl.concat(tables), {picture.name: picture.file for picture in found})


@dataclass(frozen=True)
class _Found:
    name: str
    file: RawFile
    sha256: str


def _bunches(pictures: Iterable[_Found]) -> Iterator[list[_Found]]:
    """Runs of pictures. A name ends a run by its own hash, so that a new picture changes one run and no
    other.
    """
    bunch: list[_Found] = []
    for picture in pictures:
        bunch.append(picture)
        if int(hashlib.sha256(picture.name.encode()).hexdigest()[:8], 16) % _PICTURES_PER_UNIT == 0:
            yield bunch
            bunch = []
    if bunch:
        yield bunch
