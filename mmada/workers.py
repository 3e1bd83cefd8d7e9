"""Run units of work side by side: same results in the same order for any number of workers.

A unit's result is stored as soon as it is there, so a kill costs at most the units in progress.
"""

import itertools
import math
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from mmada.environment import whole_number
from mmada.errors import ParamsError
from mmada.processes import Engine, Processes, WorkerLostError
from mmada.unit_failures import SetAside, patiently
from mmada.unit_progress import UnitProgress
from mmada.unit_store import UnitStore, unit_key

T = TypeVar("T")

_ALONE_SECONDS: Final = 1.0
"""How long units are run in this process first, until it is known how long they take."""

_WORTH_SECONDS: Final = 4.0
"""What is left is worth the start of workers, who import for one to three seconds, if it would take this process
longer.
"""

_AHEAD_BYTES: Final = 256 * 2**20
"""Memory that results may fill while they wait for one that comes before them."""


@dataclass(frozen=True)
class Unit(Generic[T]):
    """A bounded piece of work: `run(payload)` in a worker gives the bytes kept under `key`."""

    key: str
    payload: T


@dataclass(frozen=True)
class LateUnit(Generic[T]):
    """A unit whose payload is made by `load` when it is about to run, and never if its result is stored.

    `load` is called in threads of this process, several at once.
    """

    key: str
    load: Callable[[], T]

    @property
    def payload(self) -> T:
        return self.load()


def num_workers() -> int:
    """Worker processes: MMADA_WORKERS, or the number of cores. It never changes any output byte.

    Raises ParamsError when MMADA_WORKERS is no number.
    """
    return _asked_workers() or len(os.sched_getaffinity(0))


def _asked_workers() -> int:
    return whole_number("MMADA_WORKERS", default=0)


def run_units(
    units: Iterable[Unit[T] | LateUnit[T]],
    run: Callable[[T], bytes],
    store: UnitStore,
    *,
    title: str,
    total: int | None = None,
    workers: int | None = None,
    gpus: float = 0,
    reads: Sequence[Path] = (),
    rows_of: Callable[[bytes], int] | None = None,
    rows: str = "rows",
    confirm: Callable[[T], None] | None = None,
) -> Iterator[bytes]:
    """Results of `units` in their order, each as soon as it and those before it are there.

    Units whose result is in the store are not run. `units` is read as it is needed: about two units for each worker are
    alive at once, and results that wait for an earlier one fill a bounded memory. `run` must be importable (a module's
    function).

    Shown meanwhile: time left and the disk that all results will need (`total` is the number of units that have no
    length), and `rows` per second where `rows_of` counts those of a result.

    They run on MMADA_ENGINE: processes of this machine (`local`), or a Ray cluster (`ray`), where a unit holds `gpus`
    GPUs if there are any. `workers=1` keeps them in this process. `reads`: folders below the current one that all units
    read; a machine of the cluster that has no such folder gets it.

    `confirm`: called in this process with the payload of a unit that has run, before its result is kept; it raises
    where what was read is no longer what the key stands for.

    A unit that fails by a transient error is tried again; one that kills its worker twice, or raises, is set aside:
    all others run and are stored, then UnitsError names those. Errors that every unit would meet (ParamsError,
    InputError, CheckpointError, StorageError) end the run at once.
    """
    if total is None and isinstance(units, Sized):
        total = len(units)
    progress = UnitProgress(title, total, store.root, rows_of, rows)
    books = _Books(SetAside(title), progress)
    pending = iter(units)
    with progress, _noted_while_it_runs(title, store, books) as has_died:
        seconds = _seconds_alone(workers, has_died)
        left = yield from _in_this_process(pending, _confirmed(run, confirm), store, books, seconds, total)
        if left is not None:
            engine = _open_engine(run, workers, gpus, reads)
            units = itertools.chain([left], pending)
            yield from _side_by_side(units, engine, _confirmed(engine, confirm), store, books)
        books.set_aside.raise_if_any()


@dataclass(frozen=True)
class _Result:
    """Bytes of a unit, and whether they were made just now."""

    data: bytes
    is_new: bool


@dataclass
class _Books:
    """What became of the units so far. Kept by the thread that asks for results."""

    set_aside: SetAside
    progress: UnitProgress
    worked: int = 0
    largest: int = 1024
    """Bytes of the largest result so far."""

    def note_result(self, result: _Result) -> None:
        self.worked += 1
        self.largest = max(self.largest, len(result.data))
        self.progress.note_result(result.data, is_new=result.is_new)

    def note_failure(self, key: str, error: Exception) -> None:
        """Raises what ends the run."""
        self.set_aside.add(key, error, worked=self.worked)
        self.progress.note_failure()


@contextmanager
def _noted_while_it_runs(title: str, store: UnitStore, books: _Books) -> Iterator[bool]:
    """Gives whether the last such run died or set units aside: a unit may have killed it, as long as they ran in its
    own process.
    """
    note = store.root / store.folder / f".{unit_key(title)[:16]}.unfinished"
    note.parent.mkdir(parents=True, exist_ok=True)
    has_died = note.exists()
    note.touch()
    try:
        yield has_died
    finally:  # not reached when this process is killed
        if not books.set_aside:
            note.unlink(missing_ok=True)


def _seconds_alone(workers: int | None, has_died: bool) -> float:
    """How long units run in this process before others are started for them."""
    if workers == 1:
        return math.inf
    if has_died or _engine_name() == "ray":
        return 0.0
    return math.inf if (workers or num_workers()) == 1 else _ALONE_SECONDS


def _open_engine(run: Callable[[T], bytes], workers: int | None, gpus: float, reads: Sequence[Path]) -> Engine[T]:
    if _engine_name() == "local":
        return Processes(run, workers or num_workers())
    from mmada.ray_engine import RayCluster

    slots = workers or _asked_workers() or None
    return RayCluster(run, slots=slots, gpus=gpus, reads=reads)


def _engine_name() -> str:
    name = os.environ.get("MMADA_ENGINE", "local")
    if name not in {"local", "ray"}:
        raise ParamsError(f"MMADA_ENGINE is {name!r}; it may be `local` (processes of this machine) or `ray`")
    return name


def _in_this_process(
    pending: Iterator[Unit[T] | LateUnit[T]],
    run: Callable[[T], bytes],
    store: UnitStore,
    books: _Books,
    seconds: float,
    total: int | None,
) -> Generator[bytes, None, Unit[T] | LateUnit[T] | None]:
    """Units one by one, until they have run for `seconds` or would run for long; returns the first that is left then,
    or None.

    Stored results are given at once: threads for them would take longer than reading them does.
    """
    pace = _Pace()
    for seen, unit in enumerate(pending):
        stored = store.get_here(unit.key)
        if stored is None and pace.is_worth_workers(seconds, seen, total):
            return unit
        begun = time.monotonic()
        try:
            result = _result(unit, run, store) if stored is None else _Result(stored, is_new=False)
        except Exception as error:
            books.note_failure(unit.key, error)
        else:
            books.note_result(result)
            if not books.set_aside:
                yield result.data
        if stored is None:
            pace.note(time.monotonic() - begun)
    return None


@dataclass
class _Pace:
    """How fast this process runs units that are not stored, in seconds."""

    worked: float = 0.0
    ran: int = 0
    quickest: float = math.inf

    def note(self, took: float) -> None:
        self.worked += took
        self.ran += 1
        self.quickest = min(self.quickest, took)

    def is_worth_workers(self, seconds: float, seen: int, total: int | None) -> bool:
        """Whether others should run what is left of `total` units after those `seen`, once units have run for
        `seconds`.
        """
        if seconds == math.inf:
            return False
        # As many of those to come are stored as of those before. (The first one also loads what it needs.)
        to_come = self.quickest * self.ran / max(seen, 1) * (total - seen) if self.ran and total else math.inf
        is_known = self.worked >= seconds or (self.ran > 1 and to_come < math.inf)
        # Or so much has run that it was no good guess: those before were stored, those to come are new.
        return is_known and max(self.worked, to_come) > _WORTH_SECONDS


def _side_by_side(
    pending: Iterator[Unit[T] | LateUnit[T]],
    engine: Engine[T],
    run: Callable[[T], bytes],
    store: UnitStore,
    books: _Books,
) -> Iterator[bytes]:
    """Twice as many units as workers in flight: enough to keep them busy, few enough to bound memory.

    run: by means of `engine`, which is closed in the end.
    """
    in_flight = 2 * engine.slots
    running: dict[str, Future[_Result]] = {}
    waiting: deque[tuple[str, Future[_Result]]] = deque()  # results to give, in the order of units
    threads = ThreadPoolExecutor(in_flight, thread_name_prefix="unit")
    try:
        while True:
            while len(running) < in_flight and len(waiting) < max(in_flight, _AHEAD_BYTES // books.largest):
                unit = next(pending, None)
                if unit is None:
                    break
                if unit.key in running:
                    waiting.append((unit.key, running[unit.key]))
                elif (stored := store.get_here(unit.key)) is not None:
                    result = _Result(stored, is_new=False)
                    books.note_result(result)
                    waiting.append((unit.key, _finished(result)))
                else:
                    running[unit.key] = threads.submit(_result, unit, run, store)
                    waiting.append((unit.key, running[unit.key]))
            if not running and not waiting:
                return
            wait(running.values(), return_when=FIRST_COMPLETED)
            for key in [key for key, future in running.items() if future.done()]:
                try:
                    books.note_result(running.pop(key).result())
                except Exception as error:
                    books.note_failure(key, error)
            if books.set_aside:
                waiting.clear()  # who asks for results gets an error at the end; they are in the store
            while waiting and waiting[0][0] not in running:
                yield waiting.popleft()[1].result().data
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        engine.close()
        threads.shutdown()


def _confirmed(run: Callable[[T], bytes], confirm: Callable[[T], None] | None) -> Callable[[T], bytes]:
    """`run`, whose result counts if `confirm` does not raise after it."""

    def run_and_confirm(payload: T) -> bytes:
        result = run(payload)
        if confirm is not None:
            confirm(payload)
        return result

    return run_and_confirm


def _finished(result: _Result) -> Future[_Result]:
    future: Future[_Result] = Future()
    future.set_result(result)
    return future


def _result(unit: Unit[T] | LateUnit[T], run: Callable[[T], bytes], store: UnitStore) -> _Result:
    """Result of a unit, from the store or new."""
    stored = patiently(lambda: store.get(unit.key))
    if stored is not None:
        return _Result(stored, is_new=False)
    try:
        result = patiently(lambda: run(unit.payload))
    except WorkerLostError:  # perhaps by no fault of the unit's
        result = patiently(lambda: run(unit.payload))
    patiently(lambda: store.put(unit.key, result))
    return _Result(result, is_new=True)
