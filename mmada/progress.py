"""Progress on stderr: a bar in a terminal, a plain line every quarter of a minute in a log."""

import sys
from typing import Final, Never

from tqdm import tqdm

_LOG_SECONDS: Final = 15.0
_LOG_LINE: Final = "{desc}: {n_fmt} of {total_fmt} {unit}s in {elapsed}, {rate_fmt}, {remaining} left{postfix}"


def progress_bar(title: str, total: int | None, unit: str, *, initial: int = 0, disable: bool = False) -> "tqdm[Never]":
    """A bar for `total` things called `unit` (None: nobody knows how many)."""
    if sys.stderr.isatty():
        return tqdm(total=total, desc=title, unit=unit, initial=initial, disable=disable, mininterval=1.0)
    return tqdm(
        total=total,
        desc=title,
        unit=unit,
        initial=initial,
        disable=disable,
        mininterval=_LOG_SECONDS,
        miniters=1,
        file=_Lines(),
        bar_format=_LOG_LINE,
    )


class _Lines:
    """A stream that ends each state of a bar with a newline, where tqdm means to write over the last one."""

    def write(self, text: str) -> None:
        if line := text.strip():
            sys.stderr.write(line + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
