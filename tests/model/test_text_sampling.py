"""Filling in text: the exact way beside the plainest sampler, and the properties of the short cuts."""

import copy
from dataclasses import replace

import pytest
import torch

from mmada.errors import ParamsError
from mmada.model.text_sampling import TextSampling, fill_text, reveal_quota
from perf.reference_samplers import plain_text
from tests.tiny import parity, parity_model, parity_vocab

MASK = parity_vocab().mask


def _ids(new, rows=2):
    prompt = parity()[1]["text.prompt"][:rows]
    return torch.cat([prompt, torch.full((rows, new), MASK)], 1)


def _fill(sampling, rows=2, seed=0, **more):
    generator = torch.Generator().manual_seed(seed)
    return fill_text(
        parity_model(), _ids(sampling.new_tokens, rows), 9, sampling, vocab=parity_vocab(), generator=generator, **more
    )


@pytest.mark.parametrize("remasking", ["low_confidence", "random"])
@pytest.mark.parametrize("guidance", [0.0, 1.5])
@pytest.mark.parametrize(("temperature", "steps", "block"), [(0.0, 6, 8), (0.9, 48, 4), (0.0, 12, 24), (1.0, 4, 12)])
def test_equals_the_plain_sampler(temperature, steps, block, guidance, remasking):
    torch.manual_seed(4)
    options = {"temperature": temperature, "guidance": guidance, "remasking": remasking}
    expected = plain_text(parity_model(), _ids(24), 9, MASK, new=24, steps=steps, block=block, **options)
    assert torch.equal(_fill(TextSampling(24, steps, block, revisit_masks=True, **options), seed=4), expected)


@pytest.mark.parametrize("seed", range(4))
def test_a_candidate_that_is_the_mask_itself_is_up_again(seed):
    model = copy.deepcopy(parity_model())
    model.model.transformer.ff_out.weight.data[MASK] *= -4
    torch.manual_seed(seed)
    expected = plain_text(model, _ids(16), 9, MASK, new=16, steps=16, block=4, temperature=1.0)
    left, generator = [], torch.Generator().manual_seed(seed)
    out = fill_text(
        model,
        _ids(16),
        9,
        TextSampling(16, 16, 4, 1.0, revisit_masks=True),
        vocab=parity_vocab(),
        generator=generator,
        on_step=lambda ids: left.append(int((ids[:, 9:] == MASK).sum())),
    )
    assert torch.equal(out, expected)
    assert not (out == MASK).any() or (out[:, 21:] == MASK).any(), "only the last block has no later one"
    assert any(now > 32 - 2 * (step + 1) for step, now in enumerate(left)), "the mask came up"


def test_rows_do_not_influence_each_other_and_hidden_pads_change_nothing():
    sampling = TextSampling(16, 8, 8)
    both, ids = _fill(sampling), _ids(16)
    padded = torch.cat([torch.full((2, 3), 7), ids], 1)
    seen = torch.cat([torch.zeros(2, 3, dtype=torch.bool), torch.ones_like(ids, dtype=torch.bool)], 1)
    alone = fill_text(parity_model(), padded[:1], 12, sampling, vocab=parity_vocab(), attendable=seen[:1])
    assert torch.equal(alone[:, 3:], both[:1])


def test_only_allowed_ids_are_sampled_and_every_mask_is_filled():
    out = _fill(TextSampling(16, 16, 16, ids=slice(10, 40)))[:, 9:]
    assert ((out >= 10) & (out < 40)).all()


def test_stopping_early_fills_the_rest_and_changes_nothing_before():
    plain = _fill(TextSampling(16, 16, 4))
    stop = int(plain[0, 12])
    rows = 2 if int(plain[1, 12]) == stop else 1
    calls = []
    out = _fill(TextSampling(16, 16, 4, stop_id=stop), rows, on_step=lambda ids: calls.append(ids))
    assert torch.equal(out[:, :13], plain[:rows, :13])
    assert (out[:, 13:] == stop).all()
    assert len(calls) == 4, "one block of four steps"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("cache", ["none", "dual"])
def test_a_row_that_stops_alone_keeps_its_text_and_leaves_the_others_theirs(cache, temperature):
    plain = _fill(TextSampling(32, 32, 4, temperature, cache=cache))
    stop = int(plain[0, 14])
    out = _fill(TextSampling(32, 32, 4, temperature, cache=cache, stop_id=stop, row_stops=True))
    for row in range(2):
        window = plain[row, 9:].tolist()
        ends = (window.index(stop) // 4 + 1) * 4 if stop in window else 32
        assert out[row, 9:].tolist() == window[:ends] + [stop] * (32 - ends)


@pytest.mark.parametrize("options", [{"threshold": 1.0}, {"factor": 1e-9}])
@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_the_strictest_confidence_is_one_token_a_step(options, guidance):
    one_by_one = _fill(TextSampling(16, 16, 4, guidance=guidance))
    assert torch.equal(_fill(TextSampling(16, 16, 4, guidance=guidance, **options)), one_by_one)


@pytest.mark.parametrize("options", [{"threshold": 1e-9}, {"factor": 1e9}])
@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_the_loosest_confidence_is_one_step_a_block(options, cache):
    one_step = _fill(TextSampling(16, 4, 4))
    assert torch.equal(_fill(TextSampling(16, 16, 4, cache=cache, **options)), one_step)


def test_more_confidence_asked_for_means_more_steps():
    steps = []
    for threshold in (0.9, 0.02, 0.005, 0.001):
        calls = []
        out = _fill(TextSampling(32, 32, 16, threshold=threshold), on_step=lambda ids, calls=calls: calls.append(1))
        assert not (out == MASK).any()
        steps.append(len(calls))
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > steps[-1]


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("guidance", [0.0, 1.5])
def test_a_cache_renewed_at_every_step_is_exact(cache, guidance):
    """One step per block: every pass is a full one."""
    plain = _fill(TextSampling(16, 8, 2, 0.8, guidance))
    assert torch.equal(_fill(TextSampling(16, 8, 2, 0.8, guidance, cache=cache)), plain)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_cache_is_exact_where_attention_does_not_see_what_changed(cache):
    """A model whose layers add nothing: keys and values cannot go stale."""
    model = copy.deepcopy(parity_model())
    for block in model.blocks:
        torch.nn.init.zeros_(block.attn_out.weight)
    sampling = TextSampling(16, 16, 8)
    plain = fill_text(model, _ids(16), 9, sampling, vocab=parity_vocab())
    cached = fill_text(model, _ids(16), 9, TextSampling(16, 16, 8, cache=cache), vocab=parity_vocab())
    assert torch.equal(cached, plain)


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_prompts_of_different_length_share_a_batch(cache):
    sampling = TextSampling(16, 16, 8, cache=cache, threshold=0.01)
    alone = _fill(sampling, 1)
    long = torch.cat([torch.tensor([[3, 4, 5]]), parity()[1]["text.prompt"][1:]], 1)
    short = torch.cat([torch.full((1, 3), 393), parity()[1]["text.prompt"][:1]], 1)
    ids = torch.cat([torch.cat([long, short]), torch.full((2, 16), MASK)], 1)
    seen = torch.ones_like(ids, dtype=torch.bool)
    seen[1, :3] = False
    both = fill_text(parity_model(), ids, 12, sampling, vocab=parity_vocab(), attendable=seen)
    assert torch.equal(both[1:, 3:], alone)


def test_ids_outside_the_choice_cannot_be_forbidden_by_mistake():
    free, allowed = TextSampling(16, 16, 16, ids=slice(10, 40)), {"ids": slice(10, 40), "threshold": 1.0}
    assert torch.equal(_fill(replace(free, logits_eos_inf=True)), _fill(free))
    assert torch.equal(_fill(TextSampling(16, 16, 16, **allowed, confidence_eos_eot_inf=True)), _fill(free))


def test_eos_is_never_sampled_or_comes_last():
    vocab = parity_vocab()
    eos = int(_fill(TextSampling(16, 16, 16))[0, 12])
    layout = replace(vocab, eos=eos)
    ids = _ids(16, 1)
    never = fill_text(parity_model(), ids, 9, TextSampling(16, 16, 16, logits_eos_inf=True), vocab=layout)
    assert not (never[:, 9:] == eos).any()
    seen = []
    last = TextSampling(16, 16, 16, confidence_eos_eot_inf=True)
    fill_text(parity_model(), ids, 9, last, vocab=layout, on_step=lambda x: seen.append(x[0, 9:].clone()))
    came = [int((now == eos).sum()) for now in seen]
    left = [int((now == MASK).sum()) for now in seen]
    assert all(count == 0 or came[-1] - count <= remaining for count, remaining in zip(came, left, strict=True))


@pytest.mark.parametrize(("masked", "steps"), [(16, 5), (3, 8), (0, 4), (7, 7)])
def test_quota_reveals_everything_once_and_never_less_early_than_late(masked, steps):
    quota = reveal_quota(torch.tensor([masked]), steps)[0].tolist()
    assert sum(quota) == masked
    assert quota == sorted(quota, reverse=True)


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.9, "factor": 1.0},
        {"threshold": 0.0},
        {"threshold": 1.5},
        {"factor": 0.0},
        {"threshold": 0.9, "remasking": "random"},
        {"temperature": -1.0},
        {"guidance": -0.5},
    ],
)
def test_options_that_contradict_are_refused(options):
    with pytest.raises(ParamsError, match="sampling: "):
        TextSampling(16, 16, 16, **options)
