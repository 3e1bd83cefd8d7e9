"""Results of units: found again by key, verified, never taken for another's."""

from pathlib import Path

import pytest

from mmada.unit_store import UnitStore, open_unit_store, unit_key
from tests.services import S3Server


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


def test_a_group_lists_its_own_keys(tmp_path: Path) -> None:
    store = UnitStore(tmp_path)
    group = store.group("codes-1")
    group.put(unit_key("a"), b"in the group")
    store.put(unit_key("a"), b"outside")
    store.group("codes-2").put(unit_key("b"), b"elsewhere")
    (group.path(unit_key("a")).parent / f".{unit_key('c')}.1.partial").touch()  # of a write that was killed
    assert list(group.keys()) == [unit_key("a")]
    assert group.get(unit_key("a")) == b"in the group"
    assert store.get(unit_key("a")) == b"outside"


def test_machines_share_results_through_an_object_store(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MMADA_UNIT_STORE", f"{s3_server.make_bucket('units')}/team")
    one, other = (open_unit_store(tmp_path / machine).group("codes-1") for machine in ("one", "other"))
    one.put(unit_key("a"), b"result")
    one.put(unit_key("b"), b"another")
    assert sorted(other.keys()) == sorted([unit_key("a"), unit_key("b")])
    assert other.get(unit_key("a")) == b"result"
    assert other.get(unit_key("c")) is None
    other.path(unit_key("a")).write_bytes(b"damaged on this machine")
    assert other.get(unit_key("a")) == b"result"
