"""Units: done once, verified, the same for any number of workers, and kept when a later one fails."""

from pathlib import Path

import pytest

from mmada.unit_store import UnitStore, unit_key
from mmada.workers import Unit, run_units


def _double(payload: tuple[str, int]) -> bytes:
    """Work that leaves a trace of having run."""
    log, number = payload
    if number < 0:
        raise ValueError(f"unit {number} is bad")
    with Path(log).open("a") as stream:
        stream.write(f"{number}\n")
    return str(2 * number).encode()


def _units(log: Path, numbers: list[int]) -> list[Unit[tuple[str, int]]]:
    return [Unit(unit_key("double", number), (str(log), number)) for number in numbers]


def _runs(log: Path) -> list[int]:
    return sorted(int(line) for line in log.read_text().split()) if log.exists() else []


@pytest.mark.parametrize("workers", [1, 2])
def test_each_unit_runs_once_and_results_keep_their_order(tmp_path: Path, workers: int) -> None:
    store, log = UnitStore(tmp_path / "units"), tmp_path / "log"
    units = _units(log, [5, 3, 9, 3])
    expected = [b"10", b"6", b"18", b"6"]
    assert list(run_units(units, _double, store, title="t", workers=workers)) == expected
    assert list(run_units(units, _double, store, title="t", workers=workers)) == expected
    assert _runs(log) == [3, 5, 9]


def test_only_new_units_run(tmp_path: Path) -> None:
    store, log = UnitStore(tmp_path / "units"), tmp_path / "log"
    list(run_units(_units(log, [1, 2]), _double, store, title="t", workers=1))
    list(run_units(_units(log, [1, 2, 3]), _double, store, title="t", workers=1))
    assert _runs(log) == [1, 2, 3]


def test_a_failing_unit_keeps_what_was_done(tmp_path: Path) -> None:
    store, log = UnitStore(tmp_path / "units"), tmp_path / "log"
    with pytest.raises(ValueError, match="unit -1 is bad"):
        list(run_units(_units(log, [1, -1]), _double, store, title="t", workers=1))
    assert store.get(unit_key("double", 1)) == b"2"


def test_a_damaged_result_counts_as_absent(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    key = unit_key("x")
    store.put(key, b"result")
    damaged = bytearray(store.path(key).read_bytes())
    damaged[-1] ^= 1
    store.path(key).write_bytes(damaged)
    assert store.get(key) is None


@pytest.mark.parametrize("other", [("a", 2), ("a", "1"), ("b", 1), ("a",), ("a", 1, None)])
def test_any_difference_gives_another_key(other: tuple[object, ...]) -> None:
    assert unit_key(*other) != unit_key("a", 1)
