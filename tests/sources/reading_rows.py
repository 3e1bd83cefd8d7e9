"""Helpers of the tests of sources: limits, and all rows of a file by an adapter."""

from pathlib import Path

from mmada.sources.adapters import ADAPTERS
from mmada.sources.raw_files import LocalFile
from mmada.sources.raw_rows import Defect, Limits

LIMITS = Limits(max_row_bytes=2000, max_image_bytes=100_000, max_image_pixels=10**6, max_json_depth=20, rows_per_unit=3)


def rows_of(path: Path, adapter: str, limits: Limits = LIMITS) -> list[tuple[int, object]]:
    """(row in the file, content) of every row, spans in order."""
    reader = ADAPTERS[adapter]
    file = LocalFile(path.parent, path.name)
    return [
        (span.first_row + raw.row, raw.content)
        for span in reader.split(file, limits)
        for raw in reader.read(span, limits)
    ]


def reasons(rows: list[tuple[int, object]]) -> list[str]:
    """Reason of each row, "" where it is good."""
    return [content.reason if isinstance(content, Defect) else "" for _, content in rows]
