"""Read a raw corpus into records, pictures, and a ledger of the rows that could not be read."""

import json
from collections import Counter, deque
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Self

import polars as pl

from mmada.contracts.ingested import part_name, read_dropped, write_files
from mmada.contracts.records import PICTURES
from mmada.contracts.tables import from_parquet, to_parquet
from mmada.errors import InputError
from mmada.lineage.manifest import MANIFEST_NAME, Artifact, open_artifact
from mmada.params_data import REQUIRED_FIELDS, Corpus, Ingest
from mmada.sources.bundles import Bundle, PartTask, bundle_spans, confirm_part, read_parts
from mmada.sources.captions import Captions
from mmada.sources.picture_files import Decode, DecodedPicture
from mmada.sources.raw_rows import Defect, Limits
from mmada.sources.reading import CorpusSpans, NamedPictures, Reader, cut_corpus, read_named_pictures
from mmada.sources.record_parts import (
    COUNTS,
    NAMES,
    Labels,
    RecordTask,
    SpanPictures,
    num_rows,
    read_counts,
)
from mmada.sources.units import Declaration
from mmada.stage_report import StageReport
from mmada.unit_files import packed_file, unpack_files
from mmada.unit_store import UnitStore, unit_key
from mmada.vq.preprocess import ImageDecodeError, decode_picture, picture_format
from mmada.workers import LateUnit, Unit, run_units

VERSION: Final = 6
OUT: Final = "ingested"
KEYED_BY: Final = "corpora"


def ingest(*, out: Path, key: str, corpora: Corpus, ingest: Ingest, store: UnitStore) -> StageReport:
    """Writes the folder that contracts.ingested describes.

    Raises InputError when the corpus is missing or empty, or when every row of it is dropped.
    """
    reader = Reader(limits(ingest), decoder(ingest.max_image_pixels), store)
    spans = cut_corpus(_declaration(corpora), corpora.files, corpora.max_rows, reader, where=f"corpora.{key}")
    labels = Labels(key, corpora.task, corpora.source, corpora.licence)
    units = list(_units(spans, labels, corpora.max_rows, ingest.pictures_per_part))
    bundles = list(bundle_spans(units, ingest.rows_per_unit))
    read = partial(
        run_units, run=read_parts, store=store, rows_of=num_rows, confirm=partial(confirm_part, confirm=spans.confirm)
    )
    if small := [unit for bundle in bundles for unit in bundle.unread(store)]:
        deque(read(small, title=f"read small files of {key}"), maxlen=0)
    waiting: list[tuple[int, list[str]]] = []  # parts from the first one on that names pictures, with the names
    raw_files = dict(spans.sha256)
    with _Writer(out) as writer:
        for number, result in enumerate(read([bundle.unit(store) for bundle in bundles], title=f"read {key}")):
            names = packed_file(result, NAMES)
            if waiting or names:
                waiting.append((number, json.loads(names or b"[]")))
            else:
                writer.write(number, result)
        if waiting:
            wanted = list(dict.fromkeys(name for _, named in waiting for name in named))
            pictures = read_named_pictures(wanted, spans.folder, corpora.image_path, reader, title=f"decode {key}")
            raw_files |= pictures.sha256()
            late = _with_pictures(bundles, waiting, pictures, store)
            for (number, _), result in zip(waiting, read(late, title=f"finish {key}", total=len(waiting)), strict=True):
                writer.write(number, result)
    write_files(out, {task.span.file.name: spans.file_sha256(task) for task in spans.tasks})
    _refuse_if_useless(key, corpora, writer)
    return StageReport(
        inputs=_published(Path(corpora.path)),
        raw_files=raw_files,
        rows_in=writer.kept + writer.dropped.total(),
        rows_kept=writer.kept,
        dropped=dict(writer.dropped),
        metrics={"pictures": len(writer.pictures), "noted": dict(writer.noted)},
    )


def _published(folder: Path) -> dict[str, Artifact]:
    """The corpus itself where it is an output of ours, such as published rollouts: lineage goes on behind it."""
    return {"corpus": open_artifact(folder)} if (folder / MANIFEST_NAME).is_file() else {}


def decoder(max_pixels: int) -> Decode:
    """Decoding by the rules of the picture tokenizer, with its errors as defects of the row."""
    return partial(_decode, max_pixels=max_pixels)


def _decode(data: bytes, *, max_pixels: int) -> DecodedPicture | Defect:
    try:
        return DecodedPicture(decode_picture(data, max_pixels=max_pixels), picture_format(data))
    except ImageDecodeError as error:
        return Defect(error.reason, error.detail)


def limits(ingest: Ingest) -> Limits:
    """What of the section bounds the reading of rows."""
    return Limits(**ingest.model_dump(exclude={"pictures_per_part"}))


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
        config=corpus.config,
        split=corpus.split,
    )


def _units(
    spans: CorpusSpans, labels: Labels, max_rows: int | None, pictures_per_part: int
) -> Iterator[Unit[RecordTask]]:
    left = max_rows
    for task, digest in zip(spans.tasks, spans.digests, strict=True):
        most = None if left is None or left >= task.span.rows > 0 else left
        place = [task.span.file.name, task.span.first_row, most, pictures_per_part]
        yield Unit(
            unit_key("ingest", VERSION, digest, vars(labels), place), RecordTask(task, labels, most, pictures_per_part)
        )
        left = None if left is None else left - task.span.rows


def _with_pictures(
    bundles: Sequence[Bundle],
    waiting: Sequence[tuple[int, list[str]]],
    pictures: NamedPictures,
    store: UnitStore,
) -> Iterator[Unit[PartTask] | LateUnit[PartTask]]:
    """The parts that wait, each with what its pictures are and which of them it is the first to show."""
    shown: set[str] = set()
    for number, names in waiting:
        if not names:
            yield bundles[number].unit(store)
            continue
        wanted = pl.DataFrame({"image": names})
        facts = wanted.join(pictures.facts, on="image", how="left", maintain_order="left")
        good = facts.filter((pl.col("reason") == "") & ~pl.col("image_sha256").is_in(list(shown)))
        new = good.unique("image_sha256", keep="first", maintain_order=True)
        shown.update(new["image_sha256"])
        known = SpanPictures(facts, {name: pictures.files[name] for name in new["image"]})
        yield bundles[number].unit_with_pictures(known)


class _Writer:
    """Puts the parts of spans in place and counts. A picture stands with the first span that shows it only.

    Files are written while the next span is read; leaving the context waits for the last ones.
    """

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out = out
        self.kept = 0
        self.dropped: Counter[str] = Counter()
        self.noted: Counter[str] = Counter()
        self.pictures: set[str] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._wait()

    def write(self, span: int, result: bytes) -> None:
        """The files of a finished span (see `read_parts`). Raises OSError for those before it."""
        counts = read_counts(result)
        self.kept += counts["kept"]
        self.dropped.update(counts["dropped"])
        self.noted.update(counts["noted"])
        again = self.pictures & set(counts["pictures"])
        self.pictures.update(counts["pictures"])
        self._wait()  # one span in memory besides that which is read
        self._last = self._thread.submit(self._write, span, result, again)

    def _wait(self) -> None:
        if self._last:
            self._last.result()

    def _write(self, span: int, result: bytes, again: Set[str]) -> None:
        for name, data in unpack_files(result).items():
            kind, _, number = name.partition("-")
            if name == COUNTS:
                continue
            path = self.out / part_name(kind, span, int(number) if number else None)
            if kind == "pictures" and again:
                table = from_parquet(data).filter(~pl.col("image_sha256").is_in(list(again)))
                if not table.is_empty():
                    path.write_bytes(to_parquet(table, PICTURES))
            else:
                path.write_bytes(data)


def _refuse_if_useless(key: str, corpus: Corpus, writer: _Writer) -> None:
    if writer.kept:
        return
    if not writer.dropped:
        raise InputError(f"corpora.{key}: {corpus.path} holds no rows; put data there, or take the corpus out")
    first = read_dropped(writer.out, f"ledger of {key}").row(0, named=True)
    reasons = ", ".join(f"{reason} {count}" for reason, count in writer.dropped.most_common())
    raise InputError(
        f"corpora.{key}: all {writer.dropped.total()} rows of {corpus.path} were dropped: {reasons}. The "
        f"first, {first['source_file']} row {first['row']}: {first['value']}. Do `format` and `columns` fit?"
    )
