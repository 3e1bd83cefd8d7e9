"""How far a run of units is: how fast, how long still, and whether the disk is large enough for all results."""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tqdm import tqdm

from mmada.progress import progress_bar

_ENOUGH_RESULTS: Final = 5
"""New results from which the size of the others is forecast."""


class UnitProgress:
    """Counts units, the rows in their results, and bytes; `folder` is where results are written (None: not on a disk).

    Where `rows_of` counts the rows of a result, `rows` is what they are called.
    """

    def __init__(
        self, title: str, total: int | None, folder: Path | None, rows_of: Callable[[bytes], int] | None, rows: str
    ) -> None:
        self._title = title
        self._folder = folder
        self._rows_of = rows_of
        self._rows = rows
        self._bar = progress_bar(title, total, "unit")
        self._began = time.monotonic()  # of the first result that was not in the store already
        self._done = self._new_results = self._new_bytes = self._new_rows = 0
        self._looked_at_disk = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bar.close()

    def note_result(self, result: bytes, *, is_new: bool) -> None:
        """Count a unit that is finished; warns once when the results still to come do not fit the disk."""
        now = time.monotonic()
        self._done += 1
        if is_new:
            self._new_results += 1
            self._new_bytes += len(result)
            self._new_rows += self._rows_of(result) if self._rows_of else 0
            self._bar.set_postfix_str(self._postfix(now), refresh=False)
        elif not self._new_results:
            self._began = now
        self._bar.update()
        if self._new_results >= _ENOUGH_RESULTS and now - self._looked_at_disk > 1.0:
            self._looked_at_disk = now
            self._look_at_disk()

    def note_failure(self) -> None:
        """Count a unit that will have no result in this run."""
        self._done += 1
        self._bar.update()

    def _to_come(self) -> float:
        """Bytes of the results that are still missing, as far as those so far tell."""
        left = (self._bar.total or 0) - self._done
        return max(0, left) * self._new_bytes / self._new_results

    def _postfix(self, now: float) -> str:
        shown = []
        if self._rows_of:
            shown.append(f"{self._new_rows / max(1e-3, now - self._began):.1f} {self._rows}/s")
        whole = f" of about {_size(self._new_bytes + self._to_come())}" if self._bar.total else ""
        return ", ".join([*shown, f"{_size(self._new_bytes)}{whole} written"])

    def _look_at_disk(self) -> None:
        if self._folder is None:
            return
        free = shutil.disk_usage(self._folder).free
        if self._to_come() > free:
            tqdm.write(
                f"{self._title}: the results still to come need about {_size(self._to_come())}, and {self._folder} has "
                f"{_size(free)} free: make room now, or stop and move that folder; what is finished is kept",
                sys.stderr,
            )
            self._folder = None  # said once


def _size(num_bytes: float) -> str:
    return tqdm.format_sizeof(num_bytes, "B")
