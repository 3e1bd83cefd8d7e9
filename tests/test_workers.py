"""Units: done once, in order, lazily, the same for any number of workers; a failure costs what failed, nothing else."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import psutil
import pytest

from mmada import unit_failures, workers
from mmada.errors import InputError, ParamsError, StorageError, UnitsError
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import LateUnit, Unit, run_units
from tests.worker_processes import is_worker


@dataclass(frozen=True)
class Task:
    """What a unit of these tests does: it leaves a trace in `log`, misbehaves, and doubles `number`."""

    log: Path
    number: int
    misbehaves: str = ""
    weight: bytes = field(default=b"", repr=False)

    @property
    def key(self) -> str:
        return unit_key("double", self.number)


def polars_threads(_: int) -> bytes:
    return str(pl.thread_pool_size()).encode()


class _UnportableError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def double(task: Task) -> bytes:
    with task.log.open("a") as stream:
        stream.write(f"{task.number}\n")
    tries = runs(task.log).count(task.number)
    match task.misbehaves:
        case "raises":
            raise ValueError(f"unit {task.number} is bad")
        case "unportable":
            raise _UnportableError("one", "two")
        case "no input":
            raise InputError("there is nothing to read; give a folder")
        case "falters" if tries < 3:
            raise ConnectionResetError("the other side has gone")
        case "store falters" if tries < 3:
            raise StorageError("the store is overloaded", transient=True)
        case "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        case "kills once" if tries == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case "sleeps":
            time.sleep(1)
    return str(2 * task.number).encode()


def runs(log: Path) -> list[int]:
    return sorted(int(line) for line in log.read_text().split()) if log.exists() else []


def units_of(*tasks: Task) -> list[Unit[Task]]:
    return [Unit(task.key, task) for task in tasks]


@pytest.fixture
def store(tmp_path: Path) -> UnitStore:
    return UnitStore(tmp_path / "units")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No unit runs in this process, and no pause is made between tries."""
    monkeypatch.setattr(workers, "_ALONE_SECONDS", 0.0)
    monkeypatch.setattr(unit_failures, "_PAUSES", (0.0, 0.0))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.usefixtures("at_once")
def test_each_unit_runs_once_and_results_keep_their_order(store: UnitStore, log: Path, count: int) -> None:
    units = units_of(*(Task(log, number) for number in (5, 3, 9, 3)))
    expected = [b"10", b"6", b"18", b"6"]
    assert list(run_units(units, double, store, title="t", workers=count)) == expected
    assert list(run_units(units, double, store, title="t", workers=count)) == expected
    assert runs(log) == [3, 5, 9]


@pytest.mark.parametrize(("wished", "found"), [(None, b"1"), ("2", b"2")])
@pytest.mark.usefixtures("at_once")
def test_a_worker_has_one_thread_of_polars_unless_more_are_asked_for(
    store: UnitStore, monkeypatch: pytest.MonkeyPatch, wished: str | None, found: bytes
) -> None:
    monkeypatch.delenv("POLARS_MAX_THREADS", raising=False)
    if wished:
        monkeypatch.setenv("POLARS_MAX_THREADS", wished)
    assert list(run_units([Unit(unit_key("threads"), 0)], polars_threads, store, title="t", workers=2)) == [found]


@pytest.mark.parametrize(
    ("stored", "new", "alone"), [(0, 100, 2), (0, 30, 30), (0, 2, 2), (97, 30, 30), (1000, 200, 33)]
)
def test_workers_start_when_they_save_more_than_their_start_costs(
    store: UnitStore, monkeypatch: pytest.MonkeyPatch, stored: int, new: int, alone: int
) -> None:
    """A unit takes an eighth of a second, which is less than any start; `alone`: how many this process runs itself."""
    now = 0.0
    ran_here: list[int] = []

    def run(number: int) -> bytes:
        nonlocal now
        now += 0.125
        ran_here.append(number)
        return b""

    class _Started(Exception):  # noqa: N818  # no error
        pass

    def open_engine(*_: object) -> None:
        raise _Started

    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(workers, "_open_engine", open_engine)
    for number in range(stored):
        store.put(unit_key(number), b"")
    units = [Unit(unit_key(number), number) for number in range(stored + new)]
    with contextlib.suppress(_Started):
        list(run_units(units, run, store, title="t", workers=2))
    assert len(ran_here) == alone


def test_only_new_units_run(store: UnitStore, log: Path) -> None:
    list(run_units(units_of(Task(log, 1), Task(log, 2)), double, store, title="t", workers=1))
    list(run_units(units_of(Task(log, 1), Task(log, 2), Task(log, 3)), double, store, title="t", workers=1))
    assert runs(log) == [1, 2, 3]


@pytest.mark.usefixtures("at_once")
def test_payloads_are_made_late_few_are_alive_and_none_for_a_stored_result(store: UnitStore, log: Path) -> None:
    alive: weakref.WeakSet[Task] = weakref.WeakSet()
    loaded: list[int] = []
    most = 0

    def load(number: int) -> Task:
        nonlocal most
        task = Task(log, number, weight=bytes(1000))
        alive.add(task)
        most = max(most, len(alive))
        loaded.append(number)
        return task

    def late() -> Iterator[LateUnit[Task]]:
        for number in range(100):
            yield LateUnit(Task(log, number).key, lambda number=number: load(number))  # type: ignore[misc]

    store.put(Task(log, 7).key, b"14")
    results = list(run_units(late(), double, store, title="t", workers=2))
    assert results == [str(2 * number).encode() for number in range(100)]
    assert sorted(loaded) == [number for number in range(100) if number != 7]
    assert most <= 4


@pytest.mark.usefixtures("at_once")
def test_results_come_while_later_units_are_not_yet_made(store: UnitStore, log: Path) -> None:
    made = 0

    def units() -> Iterator[Unit[Task]]:
        nonlocal made
        for number in range(1_000_000):
            made += 1
            yield from units_of(Task(log, number))

    results = run_units(units(), double, store, title="t", workers=2)
    for _ in range(3):
        next(results)
    assert made < 10_000
    assert any(map(is_worker, psutil.Process().children()))
    results.close()  # type: ignore[attr-defined]
    assert not any(map(is_worker, psutil.Process().children()))


def test_a_script_needs_no_guard_of_its_main_module(tmp_path: Path) -> None:
    """What a notebook or a short script does: workers import what they run, and nothing of who asks."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from mmada import workers\n"
        "from mmada.unit_store import UnitStore, unit_key\n"
        "workers._ALONE_SECONDS = 0.0\n"
        "units = [workers.Unit(unit_key(n), Path(str(n))) for n in range(4)]\n"
        "results = workers.run_units(units, bytes, UnitStore(Path('units')), title='t', workers=2)\n"
        "print([result.decode() for result in results])\n"
    )
    said = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout == "['0', '1', '2', '3']\n"


@pytest.mark.usefixtures("at_once")
def test_a_slow_unit_does_not_stop_those_after_it(store: UnitStore, log: Path) -> None:
    units = units_of(Task(log, 0, "sleeps"), *(Task(log, number) for number in range(1, 50)))
    results = run_units(units, double, store, title="t", workers=2)
    assert next(results) == b"0"
    assert len(runs(log)) > 20
    assert list(results) == [str(2 * number).encode() for number in range(1, 50)]


@pytest.mark.parametrize("fault", ["falters", "store falters", "kills once"])
@pytest.mark.usefixtures("at_once")
def test_what_heals_is_tried_again(store: UnitStore, log: Path, fault: str) -> None:
    units = units_of(*(Task(log, number, fault if number == 2 else "") for number in range(8)))
    results = list(run_units(units, double, store, title="t", workers=2))
    assert results == [str(2 * number).encode() for number in range(8)]


@pytest.mark.parametrize(
    ("fault", "cause"), [("raises", "ValueError: unit 2 is bad"), ("kills", "Lost"), ("unportable", "one and two")]
)
@pytest.mark.usefixtures("at_once")
def test_a_bad_unit_is_set_aside_and_a_rerun_touches_it_alone(
    store: UnitStore, log: Path, fault: str, cause: str
) -> None:
    units = units_of(*(Task(log, number, fault if number == 2 else "") for number in range(8)))
    with pytest.raises(UnitsError, match=f"t: 1 unit failed \\({units[2].key[:12]}\\).*{cause}"):
        list(run_units(units, double, store, title="t", workers=2))
    assert [store.get(unit.key) is not None for unit in units] == [number != 2 for number in range(8)]
    log.unlink()
    mended = units_of(*(Task(log, number) for number in range(8)))
    assert list(run_units(mended, double, store, title="t", workers=2)) == [b"%d" % (2 * n) for n in range(8)]
    assert runs(log) == [2]


def test_a_unit_that_kills_the_run_is_set_aside_by_the_next_one(store: UnitStore, log: Path) -> None:
    units = units_of(*(Task(log, number, "kills" if number == 2 else "") for number in range(8)))

    def results() -> list[bytes]:
        return list(run_units(units, double, store, title="t", workers=2))

    first = get_context("fork").Process(target=results)  # whose units run in its own process at first
    first.start()
    first.join()
    assert first.exitcode == -signal.SIGKILL
    with pytest.raises(UnitsError, match=units[2].key[:12]):
        results()
    assert [store.get(unit.key) is not None for unit in units] == [number != 2 for number in range(8)]


def test_a_bad_unit_is_set_aside_without_workers_too(store: UnitStore, log: Path) -> None:
    with pytest.raises(UnitsError, match="ValueError: unit 1 is bad"):
        list(run_units(units_of(Task(log, 1, "raises"), Task(log, 2)), double, store, title="t", workers=1))
    assert store.get(Task(log, 2).key) == b"4"


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.usefixtures("at_once")
def test_an_error_that_every_unit_would_meet_ends_the_run(store: UnitStore, log: Path, count: int) -> None:
    units = units_of(*(Task(log, number, "no input") for number in range(100)))
    with pytest.raises(InputError, match="nothing to read"):
        list(run_units(units, double, store, title="t", workers=count))
    assert len(runs(log)) < 10


def test_a_run_in_which_no_unit_works_ends_early(store: UnitStore, log: Path) -> None:
    units = units_of(*(Task(log, number, "raises") for number in range(100)))
    with pytest.raises(UnitsError, match="the first 20 units all failed"):
        list(run_units(units, double, store, title="t", workers=1))
    assert len(runs(log)) == 20


def test_a_log_gets_lines_with_rates_and_a_forecast(
    store: UnitStore, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(Task(log, 0).key, b"0")
    units = (unit for unit in units_of(*(Task(log, number) for number in range(10))))
    list(run_units(units, double, store, title="t", total=10, workers=1, rows_of=lambda _: 3, rows="pictures"))
    said = capsys.readouterr().err
    assert "\r" not in said
    rates = r"[\d.]+ pictures/s, 14.0B of about 14.0B written"
    assert re.fullmatch(f"t: 10 of 10 units in .* left, {rates}", said.split("\n")[-2])


def test_a_disk_that_is_too_small_is_told_of_once_and_early(
    store: UnitStore, log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=50))
    units = units_of(*(Task(log, number) for number in range(1000, 1100)))
    results = run_units(units, double, store, title="t", workers=1)
    for _ in range(10):
        next(results)
    assert "need about 380B" in capsys.readouterr().err
    assert len(list(results)) == 90
    assert "need about" not in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_not_confirmed_is_not_kept(store: UnitStore, log: Path, count: int) -> None:
    def refuse(task: Task) -> None:
        if task.number == 1:
            raise InputError("it changed meanwhile")

    tasks = [Task(log, number) for number in range(3)]
    with pytest.raises(InputError, match="it changed meanwhile"):
        list(run_units([Unit(t.key, t) for t in tasks], double, store, title="t", workers=count, confirm=refuse))
    assert store.get(tasks[1].key) is None
    assert store.get(tasks[0].key) is not None


@pytest.mark.parametrize("asked", ["abc", "-1", "1.5"])
def test_a_number_of_workers_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("MMADA_WORKERS", asked)
    with pytest.raises(ParamsError, match="MMADA_WORKERS"):
        workers.num_workers()
