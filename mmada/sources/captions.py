"""Captions of WebDataset samples that stand in a file beside the tars, joined by the sample's key."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath

from mmada.sources.json_documents import is_array, read_array_or_lines, split_array_or_lines
from mmada.sources.json_values import read_object
from mmada.sources.parquet import read_parquet, split_parquet
from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import Defect, Limits


@dataclass(frozen=True)
class Captions:
    """Where captions stand: `file` beside the tars (`{stem}` is a tar's name), and its columns."""

    file: str
    key: str
    column: str


@dataclass(frozen=True)
class Beside:
    """A file beside a data file that its rows depend on, and the sha256 of its bytes."""

    file: RawFile
    sha256: str


@lru_cache(maxsize=1)  # one file may serve a thousand tars
def read_captions(beside: Beside, captions: Captions, limits: Limits) -> Mapping[str, object] | Defect:
    """Key of a sample -> its caption; all are held in memory. Rows that cannot be read have none.

    The file is a JSON object (key -> caption, or -> an object with the caption's column), an array of objects, JSON
    lines, or parquet.
    """
    found: dict[str, object] = {}
    defect = None
    for content in _rows(beside.file, captions, limits):
        if isinstance(content, Defect):
            defect = content
        elif isinstance(content, Mapping) and {captions.key, captions.column} <= content.keys():
            found[str(content[captions.key])] = content[captions.column]
    return defect if defect is not None and not found else found


def _rows(file: RawFile, captions: Captions, limits: Limits) -> Iterator[object]:
    suffix = PurePosixPath(file.name).suffix
    if suffix == ".json" and not is_array(file):
        by_key = read_object(file, replace(limits, max_row_bytes=file.size))
        if isinstance(by_key, Defect):
            yield by_key
            return
        for key, value in by_key.items():
            caption = value.get(captions.column) if isinstance(value, Mapping) else value
            yield {captions.key: key, captions.column: caption}
        return
    is_parquet = suffix == ".parquet"
    split, read = (split_parquet, read_parquet) if is_parquet else (split_array_or_lines, read_array_or_lines)
    for span in split(file, limits):
        for raw in read(span, limits):
            yield raw.content
