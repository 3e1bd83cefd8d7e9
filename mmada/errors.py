"""Errors that a user can cause and can mend.

Every message says what happened, where, and what to do next. The command line prints the message alone
and exits with code 2; anything that is not an `MmadaError` is a defect of ours and keeps its traceback.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class MmadaError(Exception):
    """Base of everything that the user's input, files or machine can cause. `exit_code`: the command's."""

    exit_code: ClassVar[int] = 2


class ParamsError(MmadaError):
    """params.yaml (or an override) says something that the schema does not allow."""


class InputError(MmadaError):
    """An input file, folder or corpus is missing, empty, or of no use."""


class ContractError(MmadaError):
    """A table, row or sample does not have the shape that its contract promises."""


class CheckpointError(MmadaError):
    """A model or tokenizer folder does not hold what its layout or its use demands."""


class IntegrityError(MmadaError):
    """Bytes are not the bytes that a manifest or a provenance record names."""


class GateError(MmadaError):
    """A validation gate refuses the data."""


class StorageError(MmadaError):
    """Writing or reading failed: no space, no permission, no such object. `transient`: a later try may succeed."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class UnreadableError(MmadaError):
    """A file is there, and this machine cannot read it: its disk or network falters, or a permission is missing.

    `errno`: the system's number of what failed.
    """

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class UnitsError(MmadaError):
    """Units of work failed again and again and were set aside; what the others made is kept."""


class TrainingError(MmadaError):
    """A training run cannot go on by itself."""


class PreemptedError(MmadaError):
    """A run was asked to end (SIGTERM, SIGUSR1) and can be continued: run the same command again."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: not an error, try again


class CapacityError(MmadaError):
    """A job needs more memory or disk than there is."""


def one_line(error: Exception) -> str:
    """The beginning of what another library says, in one line."""
    return " ".join(str(error).split())[:500] or type(error).__name__


@contextmanager
def exit_explained() -> Iterator[None]:
    """End the process with the message and the code of an MmadaError; for the outermost level of a program."""
    try:
        yield
    except MmadaError as error:
        sys.stderr.write(f"mmada: {error}\n")
        sys.exit(error.exit_code)
