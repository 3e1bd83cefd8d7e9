"""Datasets of the Hugging Face hub at a pinned commit, or the same files in a local folder; streamed, never
cached whole.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmada.errors import InputError
from mmada.sources.raw_files import LocalFile, LocalFolder
from mmada.sources.raw_rows import Limits, RawRow, Span
from mmada.unit_store import unit_key


def hub_spans(path: str, revision: str, split: str) -> Iterator[Span]:
    """One span per data file of the dataset. The digest is the commit's, or for a local folder that of its
    files.
    """
    content = [(file.name, file.sha256()) for file in LocalFolder(Path(path)).files("**/*")]
    dataset = _load(path, revision, split)
    for shard in range(dataset.num_shards):
        digest = unit_key(content or path, revision, split, shard, dataset.num_shards)
        name = f"shard-{shard:05d}-of-{dataset.num_shards:05d}"
        yield Span(LocalFile(Path(path), name), shard, dataset.num_shards, 0, 0, digest)


def read_hub(span: Span, limits: Limits, *, path: str, revision: str, split: str) -> Iterator[RawRow]:
    """Rows of one data file; pictures come as {bytes, path}, undecoded."""
    dataset = _load(path, revision, split).shard(span.stop, span.start)
    for row, fields in enumerate(_undecoded(dataset)):
        yield RawRow(row, dict(fields))


def _load(path: str, revision: str, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(path, revision=revision, split=split, streaming=True)
    except (FileNotFoundError, ConnectionError, ValueError) as error:
        raise InputError(
            f"Hugging Face dataset {path} (revision {revision}, split {split}) cannot be opened: {error}; "
            "check the name and the commit, or download the dataset into a folder and name that folder"
        ) from error


def _undecoded(dataset: Any) -> Iterator[Mapping[str, Any]]:
    import datasets

    for name, feature in (dataset.features or {}).items():
        if isinstance(feature, datasets.Image):
            dataset = dataset.cast_column(name, datasets.Image(decode=False))
    yield from dataset
