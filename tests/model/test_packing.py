import numpy as np
import pytest
import torch

from mmada.model.packing import pack, pack_lengths
from tests.tiny import tiny_model, tiny_tokenizer, tiny_vocab


@pytest.fixture(scope="module")
def vocab(tmp_path_factory):
    return tiny_vocab(tiny_tokenizer(tmp_path_factory))


def _padded(lengths, vocab):
    """Random ids; every other row is padded on the left."""
    visible = torch.zeros(len(lengths), max(lengths), dtype=torch.bool)
    for row, length in enumerate(lengths):
        visible[row, :length] = True
        if row % 2:
            visible[row] = visible[row].flip(0)
    ids = torch.randint(0, vocab.size, visible.shape, generator=torch.Generator().manual_seed(1))
    return ids, visible


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_log_normal_lengths_leave_at_most_a_tenth_padding(seed, sigma):
    lengths = np.clip(np.random.default_rng(seed).lognormal(5.0, sigma, 48), 8, 1536).astype(int).tolist()
    rows = pack_lengths(lengths, max_length=1536)
    assert sorted(sample for row in rows for sample in row) == list(range(48))
    width = max(sum(lengths[sample] for sample in row) for row in rows)
    assert width <= 1536
    assert 1 - sum(lengths) / (len(rows) * width) <= 0.1


def test_a_packed_sample_means_what_it_means_alone_and_sees_no_other(vocab):
    model = tiny_model(vocab).eval()
    ids, visible = _padded([40, 9, 12, 30, 7, 21], vocab)
    packing = pack(visible, max_length=256)
    assert len(packing.attendable) < len(ids)
    with torch.no_grad():
        alone = model.hidden_states(ids, visible)
        together = packing.unpacked(model.hidden_states(packing.packed(ids), packing.attendable))
        assert (alone - together)[visible].abs().max() < 1e-5
        ids[3] = (ids[3] + 1) % vocab.size
        changed = packing.unpacked(model.hidden_states(packing.packed(ids), packing.attendable))
    others = torch.tensor([0, 1, 2, 4, 5])
    assert changed[others][visible[others]].equal(together[others][visible[others]]), "not by a single bit"
    assert not changed[3][visible[3]].equal(together[3][visible[3]])


def test_rows_never_exceed_what_the_model_takes():
    assert pack_lengths([10, 10, 10], max_length=10) == [[0], [1], [2]]
    for most in (10, 11, 13):
        rows = pack_lengths([10, 1, 1, 1], max_length=most)
        assert max(sum((10, 1, 1, 1)[sample] for sample in row) for row in rows) <= most
