"""The order of training samples is a pure function, fair to its weights, and complete within an epoch."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmada.errors import ContractError
from mmada.shards.mixture import drawn_counts
from mmada.shards.order import Order

KEYS = {"a": [f"a{i}" for i in range(50)], "b": [f"b{i}" for i in range(7)], "c": ["c0"]}
WEIGHTS = {"a": 4.0, "b": 2.5, "c": 0.1}


def _order(seed: int = 1, batch_size: int = 16) -> Order:
    return Order(KEYS, WEIGHTS, batch_size, seed)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.01, 100), min_size=1), st.integers(0, 1000))
def test_counts_follow_the_weights_and_never_shrink(weights: dict[str, float], total: int) -> None:
    counts = drawn_counts(weights, total)
    later = drawn_counts(weights, total + 1)
    assert sum(counts.values()) == total
    assert all(later[corpus] >= counts[corpus] for corpus in weights)
    scale = sum(weights.values())
    assert all(abs(counts[corpus] - total * weights[corpus] / scale) <= 2 for corpus in weights)


def test_any_step_can_be_asked_alone() -> None:
    order = _order()
    in_sequence = [order.batch(step) for step in range(30)]
    assert [_order().batch(step) for step in reversed(range(30))] == in_sequence[::-1]


def test_an_epoch_holds_every_sample_once() -> None:
    order = _order()
    seen = Counter((pick.corpus, pick.epoch, pick.key) for step in range(200) for pick in order.batch(step))
    assert set(seen.values()) == {1}
    complete = [epoch for epoch in range(3) if (("a", epoch + 1) in {(c, e) for c, e, _ in seen})]
    assert complete, "the run must be long enough to pass an epoch"
    for epoch in complete:
        assert {key for corpus, e, key in seen if corpus == "a" and e == epoch} == set(KEYS["a"])


def test_seed_and_epoch_change_the_order() -> None:
    first = [pick.key for step in range(6) for pick in _order(1).batch(step) if pick.corpus == "a"]
    other = [pick.key for step in range(6) for pick in _order(2).batch(step) if pick.corpus == "a"]
    assert first != other


def test_a_new_sample_does_not_reorder_the_others() -> None:
    more = Order({**KEYS, "a": [*KEYS["a"], "new"]}, {"a": 1.0}, 10, 1)
    before = [pick.key for step in range(5) for pick in Order(KEYS, {"a": 1.0}, 10, 1).batch(step)]
    after = [pick.key for step in range(6) for pick in more.batch(step) if pick.epoch == 0 and pick.key != "new"]
    assert after[:50] == before


def test_a_corpus_without_samples_is_refused() -> None:
    with pytest.raises(ContractError, match="'b'"):
        Order({"a": ["x"], "b": []}, {"a": 1.0, "b": 1.0}, 4, 1)
