"""Run units of work on this machine's processes: same results in the same order for any number of workers.

A unit's result is stored as soon as it is there, so a kill costs at most the units in progress.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final, Generic, Never, TypeVar

from tqdm import tqdm

from mmada.unit_store import UnitStore

T = TypeVar("T")

_ALONE_SECONDS: Final = 1.0
"""How long units are run in this process first: workers take one to three seconds of imports each to start."""


@dataclass(frozen=True)
class Unit(Generic[T]):
    """A bounded piece of work: `run(payload)` in a worker process gives the bytes kept under `key`."""

    key: str
    payload: T


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent ends, so that a kill leaves nothing running (Linux only)."""
    if sys.platform != "linux":
        return
    pr_set_pdeathsig = 1  # linux/prctl.h
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it ended between the two calls
        sys.exit(1)


def num_workers() -> int:
    """Worker processes: MMADA_WORKERS, or the number of cores. It never changes any output byte."""
    return int(os.environ.get("MMADA_WORKERS", "0")) or len(os.sched_getaffinity(0))


def run_units(
    units: Sequence[Unit[T]],
    run: Callable[[T], bytes],
    store: UnitStore,
    *,
    title: str,
    workers: int | None = None,
) -> Iterator[bytes]:
    """Results of `units` in their order; units whose result is in the store are not run.

    `run` must be importable (a module's function): workers are spawned, so that no thread or lock is inherited.
    An exception in a unit ends the run; results that were finished before it are kept.
    """
    missing = list({unit.key: unit for unit in units if store.get(unit.key) is None}.values())
    bar = tqdm(total=len(units), initial=len(units) - len(missing), desc=title, unit="unit", mininterval=1.0)
    count = workers or num_workers()
    began = time.monotonic()
    with bar:
        while missing and (min(count, len(missing)) == 1 or time.monotonic() - began < _ALONE_SECONDS):
            unit = missing.pop(0)
            store.put(unit.key, run(unit.payload))
            bar.update()
        if missing:
            _run_in_processes(missing, run, store, min(count, len(missing)), bar)
    for unit in units:
        result = store.get(unit.key)
        yield result if result is not None else run(unit.payload)


def _run_in_processes(
    units: Sequence[Unit[T]], run: Callable[[T], bytes], store: UnitStore, count: int, bar: "tqdm[Never]"
) -> None:
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=die_with_parent) as pool:
        waiting: dict[Future[bytes], str] = {}
        pending = iter(units)
        try:
            while True:
                # Twice as many units as workers in flight: enough to keep them busy, few enough to bound memory.
                while len(waiting) < 2 * count and (unit := next(pending, None)) is not None:
                    waiting[pool.submit(run, unit.payload)] = unit.key
                if not waiting:
                    return
                finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    store.put(waiting.pop(future), future.result())
                    bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
