"""Results of units: found again by key, verified, never taken for another's."""

from pathlib import Path

import pytest

from mmada.unit_store import UnitStore, unit_key


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
