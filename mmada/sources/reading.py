"""Read a raw corpus through the unit store: what is done once is never done twice.

Rows are units of their span; pictures in files of their own are units of their bytes, so that a picture that a thousand
rows show is decoded once, and never again when it comes with other rows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from posixpath import splitext
from typing import Final, TypeVar

import polars as pl

from mmada.contracts.tables import from_parquet
from mmada.errors import InputError
from mmada.progress import progress_bar
from mmada.sources import hub_pins
from mmada.sources.captions import Beside
from mmada.sources.hub_pins import read_hub_pin
from mmada.sources.hugging_face import FORMAT as HUGGING_FACE
from mmada.sources.hugging_face import HubDataset, HubFile, split_dataset
from mmada.sources.known_facts import KnownFacts, find_sha256, known_facts, known_sha256
from mmada.sources.picture_files import Decode, picture_file, picture_sha256
from mmada.sources.raw_files import LocalFile, LocalFolder, RawFile, RawFolder, changed_meanwhile, open_corpus
from mmada.sources.raw_rows import SPAN_BYTES, Defect, Limits, Span
from mmada.sources.units import PICTURE_FACTS, Declaration, PictureTask, RowTask, read_pictures
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import Unit, run_units

VERSION: Final = 6
"""Raised when a unit makes other bytes of equal input (decoding of pictures included)."""

_PICTURES_PER_UNIT: Final = 128
_MANY_FILES: Final = 1000

T = TypeVar("T")
_Cut = tuple[int, int, int, int, str]
"""A span without its file: start, stop, first row, rows, digest."""


@dataclass(frozen=True)
class Reader:
    """How corpora are read: limits, the decoder of pictures, and where results are kept."""

    limits: Limits
    decode: Decode
    store: UnitStore


@dataclass(frozen=True)
class CorpusSpans:
    """What a corpus holds, cut into spans, before any row of it is parsed."""

    folder: RawFolder
    tasks: Sequence[RowTask]
    digests: Sequence[str]
    """Of each task: all that its rows depend on, their place in the corpus excepted."""
    sha256: Mapping[str, str]
    """Location -> sha256 of all files of rows, and of what lies beside them."""
    states: Mapping[str, str]
    """Location -> RawFile.state when it was hashed, of the same files."""

    def file_sha256(self, task: RowTask) -> str:
        """sha256 of the file that a span is of."""
        return self.sha256.get(task.span.file.location) or task.span.file.sha256()

    def confirm(self, task: RowTask) -> None:
        """Raises InputError when what a task has read may be other bytes than those that were hashed."""
        for file in (task.span.file, *([task.beside.file] if task.beside else [])):
            _refuse_changed(file, self.states[file.location])


def cut_corpus(declared: Declaration, pattern: str, max_rows: int | None, reader: Reader, *, where: str) -> CorpusSpans:
    """The spans of a corpus that hold its first `max_rows` rows (all if None). `where` names it in params.yaml.

    Raises InputError when there is nothing to read.
    """
    beside: dict[str, Beside] = {}
    states: dict[str, str] = {}
    rules = unit_key("spans", VERSION, declared.format, vars(reader.limits))
    # When a file was last changed says nothing on other machines.
    here = replace(reader.store, shared=None)
    with (
        known_facts(reader.store.group(f"spans-{rules[:16]}")) as cuts,
        known_facts(here.group(f"digests-{unit_key(declared.path)[:16]}")) as digests,
    ):
        if declared.format == HUGGING_FACE:
            folder: RawFolder = LocalFolder(Path(declared.path))
            dataset, sha256 = _open_dataset(declared, digests, where)
            spans = _dataset_spans(dataset, reader.limits, cuts, max_rows)
            states = {span.file.location: span.file.state() for span in spans}
        else:
            folder, files = open_corpus(Path(declared.path), pattern, where)
            spans, sha256, rows = [], {}, 0
            states = {file.location: file.state() for file in files}
            for file, hashing in _watched(_hashed(files, digests), len(files), f"find the rows of {where}"):
                spans += (cut := _spans(file, states[file.location], hashing, declared, reader.limits, cuts))
                rows += sum(span.rows for span in cut)
                sha256[file.location] = _result(hashing)
                if (name := declared.beside(file)) and (found := folder.find(name)):
                    states.setdefault(found.location, found.state())
                    sha256[found.location] = sha256.get(found.location) or find_sha256(found, digests)
                    beside[file.location] = Beside(found, sha256[found.location])
                if max_rows is not None and rows >= max_rows:
                    break
    spans = list(_first_rows(spans, max_rows))
    tasks = [RowTask(span, declared, reader.limits, reader.decode, beside.get(span.file.location)) for span in spans]
    read_by = [VERSION, declared.dependencies(), vars(reader.limits)]
    contents = [
        unit_key("rows", read_by, task.span.digest, task.beside.sha256 if task.beside else None) for task in tasks
    ]
    return CorpusSpans(folder, tasks, contents, sha256, states)


def _hashed(files: Sequence[RawFile], known: KnownFacts) -> Iterator[tuple[RawFile, str | Future[str]]]:
    """Files with their sha256, which threads find ahead where it is not known."""
    with ThreadPoolExecutor() as pool:
        hashing = [known_sha256(file, known) or pool.submit(find_sha256, file, known) for file in files]
        try:
            yield from zip(files, hashing, strict=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _result(hashing: str | Future[str]) -> str:
    return hashing if isinstance(hashing, str) else hashing.result()


def _watched(files: Iterable[T], total: int, title: str) -> Iterator[T]:
    """`files`, with a bar where there are many of them."""
    with progress_bar(title, total, "file", disable=total < _MANY_FILES) as bar:
        for file in files:
            yield file
            bar.update()


def _spans(
    file: RawFile, state: str, hashing: str | Future[str], declared: Declaration, limits: Limits, known: KnownFacts
) -> list[Span]:
    """How a file is cut: by its content and its suffix. A large one is cut while its hash is being computed.

    state: before it was hashed.
    """
    cutting = declared.adapter().split(file, limits)
    cuts: list[_Cut] = []
    while isinstance(hashing, Future) and not hashing.done() and file.size > SPAN_BYTES:
        if (span := next(cutting, None)) is None:
            break
        cuts.append(_cut(span))
    name = f"{_result(hashing)}{splitext(file.name)[1]}"
    stored = known.get(name)
    if stored is None:
        stored = [*cuts, *map(_cut, cutting)]
        _refuse_changed(file, state)
        known.add(name, stored, size=file.size)
    return [Span(file, *cut) for cut in stored]


def _refuse_changed(file: RawFile, state: str) -> None:
    if file.state() != state:
        raise changed_meanwhile(file)


def _open_dataset(declared: Declaration, known: KnownFacts, where: str) -> tuple[HubDataset, dict[str, str]]:
    """The dataset that a corpus is, and sha256 by location: of its files, or of the file that pins it."""
    path = Path(declared.path)
    of_hub = path.name.endswith(hub_pins.SUFFIX)
    name, revision = read_hub_pin(path) if of_hub else (declared.path, "")
    files = [LocalFile(path.parent, path.name)] if of_hub else LocalFolder(path).files("**/*")
    if not files:
        wanted = f"a dataset is a folder of files, or what `mmada pin {hub_pins.SCHEME}...` wrote (*{hub_pins.SUFFIX})"
        raise InputError(f"{where}.path: {path} holds no file; {wanted}")
    states = [file.state() for file in files]
    sha256 = {file.location: _result(hashing) for file, hashing in _hashed(files, known)}
    for file, state in zip(files, states, strict=True):
        _refuse_changed(file, state)
    content = "" if of_hub else unit_key([(file.name, sha256[file.location]) for file in files])
    return HubDataset(name, revision, content, declared.config, declared.split), sha256


def _dataset_spans(dataset: HubDataset, limits: Limits, known: KnownFacts, max_rows: int | None) -> list[Span]:
    """How a dataset is cut. Its rows are counted by streaming them, once for a version of it."""
    name = unit_key("dataset", vars(dataset))
    if (stored := known.get(name)) is not None:
        return [Span(HubFile(dataset, number, of), *cut) for number, of, *cut in stored]
    spans = list(_first_rows(split_dataset(dataset, limits), max_rows))
    if max_rows is None:
        files = [(span.file.number, span.file.of, *_cut(span)) for span in spans if isinstance(span.file, HubFile)]
        known.add(name, files, size=0)
    return spans


def _cut(span: Span) -> _Cut:
    return span.start, span.stop, span.first_row, span.rows, span.digest


def _first_rows(spans: Iterable[Span], max_rows: int | None) -> Iterator[Span]:
    known = 0
    for span in spans:
        if max_rows is not None and known >= max_rows:
            return
        yield span
        known += span.rows


@dataclass(frozen=True)
class NamedPictures:
    """Pictures in files of their own. `facts`: `image` (the name) and units.PICTURE_FACTS; `files`: by name."""

    facts: pl.DataFrame
    files: Mapping[str, RawFile]

    def sha256(self) -> dict[str, str]:
        """Location -> sha256 of every picture that could be read."""
        known = self.facts.filter(pl.col("image_sha256") != "").select("image", "image_sha256")
        return {self.files[name].location: sha for name, sha in known.iter_rows()}


def read_named_pictures(
    names: Sequence[str], folder: RawFolder, template: str, reader: Reader, *, title: str
) -> NamedPictures:
    """Facts of the pictures `names` (see picture_files.picture_file), each content decoded once for ever."""
    files: dict[str, RawFile] = {}
    sha256: dict[str, str] = {}
    refused: list[tuple[object, ...]] = []

    def find(name: str) -> tuple[RawFile | None, str | Defect]:
        file = picture_file(folder, template, name)
        return (None, file) if isinstance(file, Defect) else (file, picture_sha256(file, reader.limits))

    with ThreadPoolExecutor() as pool:
        found = zip(names, pool.map(find, names), strict=True)
        for name, (file, digest) in _watched(found, len(names), f"{title}: find the files"):
            if file is None or isinstance(digest, Defect):
                assert isinstance(digest, Defect)
                refused.append((name, "", digest.reason, digest.value, "", 0, 0, ""))
            else:
                files[name], sha256[name] = file, digest
    known = _picture_facts({sha: files[name] for name, sha in sha256.items()}, reader, title)
    schema = pl.Schema({"image": pl.String, **PICTURE_FACTS})
    named = pl.DataFrame(list(sha256.items()), schema={"image": pl.String, "image_sha256": pl.String}, orient="row")
    facts = named.join(known, on="image_sha256", how="left", maintain_order="left").select(schema.names())
    return NamedPictures(pl.concat([pl.DataFrame(refused, schema=schema, orient="row"), facts]), files)


def _picture_facts(wanted: Mapping[str, RawFile], reader: Reader, title: str) -> pl.DataFrame:
    """Facts of pictures by their sha256 (PICTURE_FACTS, and image_sha256 also where there is a defect)."""
    memo = reader.store.group(f"pictures-{unit_key('pictures', VERSION, vars(reader.limits))[:16]}")
    results = (from_parquet(result) for _, result in memo.results())
    known = pl.concat([pl.DataFrame(schema=pl.Schema(PICTURE_FACTS)), *results])
    there = set(known["image_sha256"])
    missing = [(sha, file) for sha, file in wanted.items() if sha not in there]
    units = []
    for start in range(0, len(missing), _PICTURES_PER_UNIT):
        some = missing[start : start + _PICTURES_PER_UNIT]
        task = PictureTask(tuple(some), reader.limits, reader.decode)
        units.append(Unit(unit_key([sha for sha, _ in some]), task))
    new = run_units(units, read_pictures, memo, title=title) if units else iter(())
    return pl.concat([known, *map(from_parquet, new)]).unique("image_sha256", keep="first", maintain_order=True)
