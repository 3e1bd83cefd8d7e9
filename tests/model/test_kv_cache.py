"""Kept keys and values."""

import pytest
import torch

from mmada.model.kv_cache import KvCache
from tests.tiny import parity, parity_model

IDS = parity()[1]["t2i.ids"]


@pytest.mark.parametrize("columns", [slice(0, 31), slice(10, 18), slice(20, 31)])
def test_while_nothing_changes_a_partial_pass_gives_the_columns_of_a_full_one(columns):
    attendable = parity()[1]["t2i.attendable"].bool()
    cache = KvCache(parity_model())
    with torch.no_grad():
        full = cache.full_pass(IDS, attendable)
        assert torch.equal(full, parity_model().hidden_states(IDS, attendable))
        part = cache.partial_pass(IDS, attendable, columns)
    torch.testing.assert_close(part, full[:, columns], rtol=0, atol=1e-5)


def test_columns_that_were_passed_again_are_seen_by_those_that_follow():
    changed = IDS.clone()
    changed[:, 4] = 7
    with torch.no_grad():
        one, other = KvCache(parity_model()), KvCache(parity_model())
        for cache in (one, other):
            cache.full_pass(IDS, None)
        before = one.partial_pass(IDS, None, slice(20, 24))
        other.partial_pass(changed, None, slice(2, 8))
        assert not torch.allclose(other.partial_pass(changed, None, slice(20, 24)), before)


def test_rows_can_be_forgotten():
    cache = KvCache(parity_model())
    with torch.no_grad():
        full = cache.full_pass(IDS, None)
        cache.keep_rows(torch.tensor([False, True]))
        part = cache.partial_pass(IDS[1:], None, slice(3, 9))
    torch.testing.assert_close(part, full[1:, 3:9], rtol=0, atol=1e-5)
