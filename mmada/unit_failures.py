"""What becomes of a unit that fails: it is tried again, it is set aside, or it ends the run."""

import errno
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final, TypeVar

from tqdm import tqdm

from mmada.errors import CheckpointError, InputError, MmadaError, ParamsError, StorageError, UnitsError
from mmada.processes import WorkerLostError

T = TypeVar("T")

_TRANSIENT: Final = frozenset(
    {errno.EIO, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN}
)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_PAUSES: Final = (0.5, 3.0)
"""Seconds between tries of what may heal by itself."""

_FOR_ALL_UNITS: Final = (ParamsError, InputError, CheckpointError, StorageError)
"""Errors that every other unit would meet as well: wrong parameters, no input, no weights, a store that is away."""

_HOPELESS: Final = 20
"""So many units set aside, and none that worked, say that the code is at fault and not the units."""

_SHOWN: Final = 10


def is_transient(error: Exception) -> bool:
    """Whether the same work may succeed a little later: a network or a disk that falters."""
    if isinstance(error, StorageError):
        return error.transient
    return isinstance(error, ConnectionError | TimeoutError) or getattr(error, "errno", None) in _TRANSIENT


def patiently(work: Callable[[], T]) -> T:
    """`work()`, tried three times where its errors are transient."""
    for pause in _PAUSES:
        try:
            return work()
        except Exception as error:
            if not is_transient(error):
                raise
            time.sleep(pause)
    return work()


class SetAside:
    """Units of a run that do not work. All others run; then `raise_if_any` says which these are."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._keys: list[str] = []
        self._first: Exception | None = None

    def __bool__(self) -> bool:
        return bool(self._keys)

    def add(self, key: str, error: Exception, *, worked: int) -> None:
        """Note a unit that failed; `worked` others did not. Raises `error` itself if every unit would meet it, and
        UnitsError if none works.
        """
        if isinstance(error, _FOR_ALL_UNITS) or getattr(error, "errno", None) in _FULL:
            raise error
        tqdm.write(f"{self._title}: unit {key[:12]} is set aside, the others go on: {_said(error)}", sys.stderr)
        if self._first is None:
            self._first = error
            if not isinstance(error, WorkerLostError | MmadaError):  # which say all that there is to know
                tqdm.write("".join(traceback.format_exception(error)), sys.stderr)
        self._keys.append(key)
        if not worked and len(self._keys) == _HOPELESS:
            self.raise_if_any(f"the run has ended early, because the first {_HOPELESS} units all failed")

    def raise_if_any(self, rest: str = "all others are finished and kept") -> None:
        """Raises UnitsError that names the units that were set aside, if there are any."""
        if self._first is None:
            return
        names = ", ".join(key[:12] for key in self._keys[:_SHOWN]) + (", ..." if len(self._keys) > _SHOWN else "")
        count = f"{len(self._keys):,} unit{'s' if len(self._keys) > 1 else ''}"
        raise UnitsError(
            f"{self._title}: {count} failed ({names}); {rest}. First cause: {_said(self._first)}. "
            "Mend it and run the same command again: only units without a result run"
        ) from self._first


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500].rstrip(".")
