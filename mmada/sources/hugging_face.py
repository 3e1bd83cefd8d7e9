"""Datasets of the Hugging Face hub at a pinned commit, or the same files in a local folder; streamed, never
cached whole.
"""

import itertools
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from mmada.errors import InputError
from mmada.sources.forward_reading import read_forward
from mmada.sources.raw_files import LocalFolder, RawFile
from mmada.sources.raw_rows import Limits, RawRow, Span
from mmada.unit_store import unit_key


@dataclass(frozen=True)
class HubFile:
    """One data file of a dataset, which the library finds and reads by its number."""

    path: str
    revision: str
    split: str
    number: int
    of: int
    content: str
    """Digest of all files of a local folder; "" where the commit pins them."""

    @property
    def name(self) -> str:
        return f"shard-{self.number:05d}-of-{self.of:05d}"

    @property
    def location(self) -> str:
        return f"{self.path}/{self.name}"

    @property
    def size(self) -> int:
        return 0

    def sha256(self) -> str:
        """A digest of what pins its bytes."""
        return unit_key(self.content or self.path, self.revision, self.split, self.number, self.of)

    def open(self) -> BufferedReader:
        raise NotImplementedError("the library reads it")


def hub_content(path: str) -> str:
    """Digest of the files of a local folder, "" for a dataset of the hub."""
    content = [(file.name, file.sha256()) for file in LocalFolder(Path(path)).files("**/*")]
    return unit_key(content) if content else ""


def split_hub(file: RawFile, limits: Limits, *, path: str, revision: str, split: str) -> Iterator[Span]:
    """Spans of the rows of every data file, counted as they are streamed: who needs few rows stops early."""
    content = hub_content(path)
    dataset = _load(path, revision, split)
    for number in range(dataset.num_shards):
        data_file = HubFile(path, revision, split, number, dataset.num_shards, content)
        rows = _undecoded(dataset.shard(dataset.num_shards, number))
        start = 0
        while count := sum(1 for _ in itertools.islice(rows, limits.rows_per_unit)):
            digest = unit_key(data_file.sha256(), start, start + count)
            yield Span(data_file, start, start + count, start, count, digest)
            start += count


def read_hub(span: Span, limits: Limits) -> Iterator[RawRow]:
    """Rows of a span; pictures come as {bytes, path}, undecoded."""
    for row, fields in enumerate(read_forward(span, "hub", lambda file, _: _HubRows(file))):
        yield RawRow(row, dict(fields))


class _HubRows:
    """The rows of one data file."""

    def __init__(self, file: RawFile) -> None:
        assert isinstance(file, HubFile)
        dataset = _load(file.path, file.revision, file.split).shard(file.of, file.number)
        self._rows = _undecoded(dataset)
        self.position, self.end = 0, sys.maxsize

    def read(self, stop: int) -> Iterator[Mapping[str, Any]]:
        for row in itertools.islice(self._rows, stop - self.position):
            self.position += 1
            yield row

    def close(self) -> None:
        self._rows.close()


def _load(path: str, revision: str, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(path, revision=revision, split=split, streaming=True)
    except (FileNotFoundError, ConnectionError, ValueError) as error:
        raise InputError(
            f"Hugging Face dataset {path} (revision {revision}, split {split}) cannot be opened: {error}; "
            "check the name and the commit, or download the dataset into a folder and name that folder"
        ) from error


def _undecoded(dataset: Any) -> Generator[Mapping[str, Any], None, None]:
    import datasets

    for name, feature in (dataset.features or {}).items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
    yield from dataset
