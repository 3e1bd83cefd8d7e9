"""Overhead of the engine: many units that do nothing, some of which fail, falter or kill their worker.

`python -m perf.units 1000000` for another number of units; MMADA_ENGINE=ray for another engine.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mmada.errors import UnitsError
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import Unit, run_units

UNITS = 50_000
FALTERS, KILLS = 10_000, 20_000
"""One unit in so many fails once by a connection that is reset; one in so many kills its worker once."""
BAD = 3
"""Units, the last ones, that fail until they are mended."""


def work(task: tuple[int, str, bool]) -> bytes:
    """The number; `folder` remembers what misbehaved already."""
    number, folder, is_bad = task
    if is_bad and not (Path(folder) / "mended").exists():
        raise ValueError(f"unit {number} is bad")
    if number % FALTERS == 5 and _is_first_time(folder, number):
        raise ConnectionResetError("as if the network faltered")
    if number % KILLS == KILLS - 1 and _is_first_time(folder, number):
        os.kill(os.getpid(), signal.SIGKILL)
    return b"%d" % number


def bench_units(count: int = UNITS) -> dict[str, float]:
    """Milliseconds and the driver's memory for each unit, when nothing is stored, and again when all but three are."""
    with tempfile.TemporaryDirectory() as name:
        store = UnitStore(Path(name) / "units")
        os.environ["MMADA_WORKERS"] = str(max(2, len(os.sched_getaffinity(0))))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds, in_order = _run(count, name, store, expected=count - BAD)
        (Path(name) / "mended").touch()
        again_seconds, _ = _run(count, name, store, expected=count)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "units": count,
        "ms_per_unit": 1000 * seconds / count,
        "ms_per_stored_unit": 1000 * again_seconds / count,
        "driver_memory_growth_mb": (after - before) / 1024,
        "results_in_order": in_order,
    }


def _run(count: int, folder: str, store: UnitStore, *, expected: int) -> tuple[float, int]:
    """Seconds of a run, and how many results it gave before a unit was set aside, all in order."""
    began = time.perf_counter()
    given = 0
    try:
        for number, result in enumerate(run_units(_units(count, folder), work, store, title="units", total=count)):
            assert result == b"%d" % number, f"result {number} is {result!r}"
            given += 1
    except UnitsError as error:
        if f"{count - expected} units failed" not in str(error):
            raise
    assert given == count or expected < count
    return time.perf_counter() - began, given


def _units(count: int, folder: str) -> Iterator[Unit[tuple[int, str, bool]]]:
    for number in range(count):
        yield Unit(unit_key("perf", number), (number, folder, number >= count - BAD))


def _is_first_time(folder: str, number: int) -> bool:
    marker = Path(folder) / f"misbehaved-{number}"
    if marker.exists():
        return False
    marker.touch()
    return True


if __name__ == "__main__":
    sys.stdout.write(json.dumps(bench_units(int(sys.argv[1]) if len(sys.argv) > 1 else UNITS), indent=1) + "\n")
