"""Worker processes of this machine that may die: each has a pipe of its own, so a dead one costs its unit and no other.

(An executor of the standard library breaks as a whole when one process dies, and cannot say which unit killed it.)
`python -m mmada.processes PARENT COMMAND...` becomes a command that ends with its parent (see `bound`).
"""

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import LifoQueue
from threading import Lock
from typing import Final, Generic, Protocol, TypeVar

_ONE_THREAD: Final = {"POLARS_MAX_THREADS": "1"}
"""There is a worker for every core: threads of polars beyond one would wait for work, and waste its time doing so."""

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class WorkerLostError(Exception):
    """A worker ended while it ran a unit: out of memory, or a crash inside a decoder."""


class Engine(Protocol[T_contra]):
    """Where units run. Called from many threads at once."""

    slots: int
    """How many units run side by side."""

    def __call__(self, payload: T_contra) -> bytes:
        """Result of one unit, when a place is free. Raises WorkerLostError, or what the unit raised."""
        ...

    def close(self) -> None:
        """End what still runs; those calls raise WorkerLostError, and so do later ones."""
        ...


def bound(command: Sequence[str]) -> list[str]:
    """`command` as a child of this process that ends with the thread that starts it, also when it is no program of ours
    and this process is killed.
    """
    return [sys.executable, "-m", "mmada.processes", str(os.getpid()), *command]


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to end this process when its parent ends, so that a kill leaves nothing running (Linux only).

    `parent`: its id, where it is known; the process ends at once when that is gone already.
    """
    if sys.platform != "linux":
        return
    pr_set_pdeathsig = 1  # linux/prctl.h
    parent = os.getppid() if parent is None else parent
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it ended between the two calls
        sys.exit(1)


class Processes(Generic[T]):
    """Up to `slots` processes that run `run`; each starts when it is first needed and keeps what it has loaded.

    `run` must be importable (a module's function): each is an interpreter of its own, so that no thread or lock is
    inherited.
    """

    def __init__(self, run: Callable[[T], bytes], slots: int) -> None:
        self.slots = slots
        self._run = run
        self._lock = Lock()
        self._closed = False
        self._alive: set[_Worker[T]] = set()
        # The last worker that was put back comes first: a process is started only when all others are busy.
        self._free: LifoQueue[_Worker[T] | None] = LifoQueue()
        for _ in range(slots):
            self._free.put(None)

    def __call__(self, payload: T) -> bytes:
        worker = self._free.get()
        try:
            worker = worker or self._start()
            return worker(payload)
        except WorkerLostError:
            if worker:
                self._alive.discard(worker)
            worker = None
            raise
        finally:
            self._free.put(worker)

    def _start(self) -> "_Worker[T]":
        with self._lock:
            if self._closed:
                raise WorkerLostError("the run has ended")
            worker = _Worker(self._run)
            self._alive.add(worker)
            return worker

    def close(self) -> None:
        with self._lock:
            self._closed = True
        for worker in list(self._alive):  # they hold nothing that is not in this process already
            worker.process.kill()
        for worker in list(self._alive):
            worker.process.wait()


class _Worker(Generic[T]):
    """One process and the pipe to it. One thread at a time may call it."""

    def __init__(self, run: Callable[[T], bytes]) -> None:
        self.pipe, theirs = Pipe()
        fd = theirs.fileno()
        # Not multiprocessing's: its processes import this one's main module again, a quarter of a second of each start.
        serve = f"import sys; sys.path[:] = {sys.path}; from mmada.processes import _serve; _serve({fd}, {os.getpid()})"
        command = [sys.executable, "-c", serve]
        self.process = subprocess.Popen(command, env=_ONE_THREAD | os.environ, pass_fds=[fd], stdin=subprocess.DEVNULL)
        theirs.close()  # so that the pipe ends when the process does
        self._run = run

    def __call__(self, payload: T) -> bytes:
        # A failure here is the unit's, not the pipe's.
        data = pickle.dumps((self._run, payload), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            self.pipe.send_bytes(data)
            kind = self.pipe.recv_bytes()
            answer = self.pipe.recv_bytes()
        except (EOFError, OSError):
            self.process.kill()
            self.pipe.close()
            raise WorkerLostError(f"its process died ({_exit_reason(self.process.wait())})") from None
        if kind == _RESULT:
            return answer
        error = pickle.loads(answer)  # made by this program's own process
        assert isinstance(error, Exception)
        raise error


_RESULT = b"result"
_ERROR = b"error"


def _serve(fd: int, parent: int) -> None:
    """A worker's life: functions with their payloads in, results or exceptions out, until the pipe ends."""
    die_with_parent(parent)
    # What ends or stops a whole group (Ctrl-C, `timeout`, Slurm) reaches the parent too. It ends this process, or first
    # finishes what it is at: a unit that was lost meanwhile would pass for one that kills its worker.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    pipe = Connection(fd)
    while True:
        try:
            data = pipe.recv_bytes()
        except EOFError:
            return
        try:
            run, payload = pickle.loads(data)
            kind, answer = _RESULT, run(payload)
        except Exception as error:
            kind, answer = _ERROR, _portable(error)
        pipe.send_bytes(kind)
        pipe.send_bytes(answer)


def _portable(error: Exception) -> bytes:
    """An exception with its traceback as a note, or, where it cannot be pickled and read back, its text."""
    where = f"in a worker process:\n{traceback.format_exc()}"
    error.add_note(where)
    try:
        data = pickle.dumps(error)
        pickle.loads(data)
    except Exception:
        stand_in = RuntimeError(f"{type(error).__name__}: {error}")
        stand_in.add_note(where)
        return pickle.dumps(stand_in)
    return data


def _exit_reason(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed: the machine may be out of memory; fewer MMADA_WORKERS need less"
    return signal.strsignal(-code) or str(code) if code < 0 else f"exit code {code}"


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
