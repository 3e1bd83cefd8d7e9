"""The formats that a corpus can declare, by name, and the files that it reads."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from mmada.errors import InputError
from mmada.sources.conversations import read_llava, read_messages
from mmada.sources.hugging_face import hub_spans, read_hub
from mmada.sources.image_folder import read_table_rows, split_table
from mmada.sources.json_rows import (
    read_array_or_lines,
    read_document,
    read_lines,
    split_array_or_lines,
    split_document,
    split_lines,
)
from mmada.sources.parquet import read_parquet, split_parquet
from mmada.sources.raw_rows import Adapter, Limits, Span
from mmada.sources.trajectories import without_echo
from mmada.sources.webdataset import read_tar, split_tar

_EXCHANGE: Final = (("prompt", "prompt"), ("response", "response"))

ADAPTERS: Final[dict[str, Adapter]] = {
    "jsonl": Adapter(split_lines, read_lines),
    "json_or_lines": Adapter(split_array_or_lines, read_array_or_lines),
    "json": Adapter(split_document, read_document),
    "parquet": Adapter(split_parquet, read_parquet),
    "webdataset": Adapter(split_tar, read_tar),
    "image_folder": Adapter(split_table, read_table_rows),
    "llava": Adapter(split_array_or_lines, read_llava, (*_EXCHANGE, ("image", "image"))),
    "messages": Adapter(split_array_or_lines, read_messages, _EXCHANGE),
    "trajectories": Adapter(split_array_or_lines, read_array_or_lines, response=without_echo),
}


def hub_adapter(path: str, revision: str, split: str) -> Adapter:
    """The adapter of a Hugging Face dataset, pinned."""

    def spans(file: Path, limits: Limits) -> Iterator[Span]:
        return hub_spans(path, revision, split)

    return Adapter(spans, partial(read_hub, revision=revision, split=split))


def corpus_files(path: Path, pattern: str, where: str) -> list[Path]:
    """The files of a corpus, sorted: `path` itself when it is a file, else what `pattern` matches below it.

    Raises InputError when there is nothing; `where` names the entry of params.yaml.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise InputError(f"{where}.path: {path} does not exist; run `dvc pull` to fetch it, or put the raw data there")
    files = sorted(file for file in path.glob(pattern) if file.is_file())
    if not files:
        raise InputError(f"{where}.files: no file below {path} matches {pattern!r}; mend the pattern or the path")
    return files
