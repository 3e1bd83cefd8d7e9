"""Files that can only be read from a start on, such as compressed archives: a span goes on where the last one ended.

Read anew, what lies before a span would be decoded once more for every span.
"""

import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final, Protocol, TypeVar

from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import Span

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Forward(Protocol[T_co]):
    """A file, or a part of it, that is being read."""

    position: int
    """What comes next, in the units of Span.start."""
    end: int
    """Where it ends at the latest."""

    def read(self, stop: int) -> Iterator[T_co]:
        """What lies between `position` and `stop`."""
        ...

    def close(self) -> None:
        """Let the file go."""
        ...


class _Kept(threading.local):
    """What this thread read last, by what it is, where something of it is left."""

    key: Hashable = None
    forward: Forward[Any] | None = None


_KEPT: Final = _Kept()


def read_forward(
    span: Span, kind: Hashable, begin: Callable[[RawFile, int], Forward[T]], *, stop: int | None = None
) -> Iterator[T]:
    """What lies between span.start and `stop` (by default span.stop) of a file. `begin` opens it so that it holds the
    former; `kind` names `begin` and all it depends on besides the file.
    """
    stop = span.stop if stop is None else stop
    key = (kind, span.file, span.file.size)
    forward, _KEPT.forward = _KEPT.forward, None
    if forward is not None and not (key == _KEPT.key and forward.position <= span.start < forward.end):
        forward.close()
        forward = None
    forward = forward or begin(span.file, span.start)
    try:
        for _ in forward.read(span.start):
            pass
        yield from forward.read(stop)
        if forward.position == stop < forward.end:
            _KEPT.key, _KEPT.forward = key, forward
    finally:
        if _KEPT.forward is not forward:
            forward.close()
