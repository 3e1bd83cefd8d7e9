"""Datasets as the `datasets` library finds them, of the Hugging Face hub at a pinned commit or of a folder: streamed,
never cached whole.
"""

import itertools
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

from mmada.errors import InputError, StorageError, one_line
from mmada.sources.forward_reading import read_forward
from mmada.sources.raw_files import LocalFolder, RawFile
from mmada.sources.raw_rows import Limits, RawRow, Span
from mmada.unit_store import unit_key

FORMAT: Final = "huggingface"
"""The format whose data files the library finds."""


@dataclass(frozen=True)
class HubDataset:
    """One split of a dataset: of the hub at the commit `revision`, or (revision "") of the local folder `path`, whose
    files have the digest `content`. `config`: its configuration, "" for the only one.
    """

    path: str
    revision: str
    content: str
    config: str
    split: str


@dataclass(frozen=True)
class HubFile:
    """One data file of a dataset, which the library finds and reads by its number."""

    dataset: HubDataset
    number: int
    of: int

    @property
    def name(self) -> str:
        return f"shard-{self.number:05d}-of-{self.of:05d}"

    @property
    def location(self) -> str:
        return f"{self.dataset.path}/{self.name}"

    @property
    def size(self) -> int:
        return 0

    def sha256(self) -> str:
        """A digest of what pins its bytes."""
        dataset = self.dataset
        pinned_by = dataset.content or f"{dataset.path}@{dataset.revision}"
        return unit_key(pinned_by, dataset.config, dataset.split, self.number, self.of)

    def state(self) -> str:
        """That of all files of the folder: which of them the library reads for a number is its own affair."""
        files = LocalFolder(Path(self.dataset.path)).files("**/*") if self.dataset.content else []
        return unit_key([file.state() for file in files])

    def open(self) -> BufferedReader:
        raise NotImplementedError("the library reads it")


def no_split(file: RawFile, limits: Limits) -> Iterator[Span]:
    """What the format has in place of a way to cut one file; see split_dataset."""
    raise NotImplementedError("the library finds the data files")


def split_dataset(dataset: HubDataset, limits: Limits) -> Iterator[Span]:
    """Spans of the rows of every data file, counted as they are streamed: who needs few rows stops early."""
    opened = _load(dataset)
    for number in range(opened.num_shards):
        data_file = HubFile(dataset, number, opened.num_shards)
        rows = _rows(data_file, opened)
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
        self._rows = _rows(file, _load(file.dataset))
        self.position, self.end = 0, sys.maxsize

    def read(self, stop: int) -> Iterator[Mapping[str, Any]]:
        for row in itertools.islice(self._rows, stop - self.position):
            self.position += 1
            yield row

    def close(self) -> None:
        self._rows.close()


def _load(dataset: HubDataset) -> Any:
    import datasets

    if dataset.revision and Path(dataset.path).is_dir():  # which the library prefers, whatever the commit
        raise InputError(f"the folder {dataset.path} here would be read in place of the hub's dataset; rename it")
    with _errors_named(dataset):
        opened = datasets.load_dataset(
            dataset.path,
            dataset.config or None,
            revision=dataset.revision or None,
            split=dataset.split,
            streaming=True,
        )
        return opened.decode(enable=False) if opened.features else opened  # without features it knows no pictures


def _rows(file: HubFile, opened: Any) -> Generator[Mapping[str, Any], None, None]:
    with _errors_named(file.dataset):
        yield from opened.shard(file.of, file.number)


@contextmanager
def _errors_named(dataset: HubDataset) -> Iterator[None]:
    """What the library raises as StorageError where a later try may succeed, else as InputError."""
    from httpx2 import HTTPError

    at = f" at commit {dataset.revision}" if dataset.revision else ""
    config = f", config {dataset.config!r}" if dataset.config else ""
    where = f"dataset {dataset.path}{at}{config}, split {dataset.split!r}"
    try:
        yield
    except (ConnectionError, HTTPError) as error:
        raise StorageError(
            f"{where}: {one_line(error)}; run again when the hub can be reached", transient=True
        ) from error
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{where}: {one_line(error)}; mend what it says of the files, `config` or `split`") from error
