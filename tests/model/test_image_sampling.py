"""Filling in pictures: what is left out changes no code."""

import copy
from dataclasses import replace

import pytest
import torch

from mmada.errors import ParamsError
from mmada.model.image_sampling import ImageSampling, _draw, fill_image
from mmada.model.transformer import ATTENTION_POLICIES
from perf.reference_samplers import plain_image
from tests.tiny import parity, parity_model, parity_vocab

NAMES = ("ids", "attendable", "uncond_ids", "uncond_attendable")


def _given():
    ids, attendable, uncond_ids, uncond_attendable = (parity()[1][f"t2i.{name}"] for name in NAMES)
    return ids, attendable.bool(), uncond_ids, uncond_attendable.bool()


def _fill(model, sampling, *, seed=0, on_step=None, unconditional=True):
    ids, attendable, uncond_ids, uncond_attendable = _given()
    before = slice(0, ids.shape[1] - 17)
    return fill_image(
        model,
        ids,
        16,
        sampling,
        vocab=parity_vocab(),
        generator=torch.Generator().manual_seed(seed),
        attendable=attendable,
        unconditional=(uncond_ids[:, before], uncond_attendable[:, before]) if unconditional else None,
        on_step=on_step,
    )


@pytest.mark.parametrize("policy", ATTENTION_POLICIES)
@pytest.mark.parametrize(("steps", "temperature"), [(1, 1.0), (5, 0.7), (16, 1.0), (20, 0.0)])
@pytest.mark.parametrize("guidance", [0.0, 3.5])
def test_equals_the_plain_sampler(policy, steps, temperature, guidance):
    model = copy.deepcopy(parity_model())
    model.config = replace(model.config, attention=policy)
    for seed in range(4):
        expected = plain_image(
            model,
            *_given(),
            vocab=parity_vocab(),
            num_tokens=16,
            steps=steps,
            guidance=guidance,
            temperature=temperature,
            generator=torch.Generator().manual_seed(seed),
        )
        assert torch.equal(_fill(model, ImageSampling(steps, temperature, guidance), seed=seed), expected)


@pytest.mark.parametrize("shape", [(2, 16, 64), (1, 1, 8192), (3, 100, 1000)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_draw_is_that_of_multinomial_over_all_places(shape, share):
    """Also where most places are known, and their numbers are drawn for nothing."""
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    unknown = torch.rand(shape[:2], generator=torch.Generator().manual_seed(1)) < share
    ours, theirs = torch.Generator().manual_seed(5), torch.Generator().manual_seed(5)
    drawn, likelihood = _draw(logits[unknown], unknown, ours)
    probs = logits.softmax(-1)
    expected = torch.multinomial(probs.flatten(0, 1), 1, generator=theirs).view(shape[:2])
    assert torch.equal(drawn, expected[unknown])
    assert torch.equal(likelihood, probs.gather(-1, expected[..., None])[..., 0][unknown])
    assert torch.equal(ours.get_state(), theirs.get_state())


def test_every_step_leaves_fewer_masks_and_known_codes_stay():
    states = []
    sampled = _fill(parity_model(), ImageSampling(8), on_step=lambda ids: states.append(ids[:, -17:-1].clone()))
    mask, offset = parity_vocab().mask, parity_vocab().image_range.start
    counts = [int((state == mask).sum()) for state in states]
    assert counts == sorted(counts, reverse=True)
    for state in states:
        known = state != mask
        assert torch.equal(state[known] - offset, sampled[known])


@pytest.mark.parametrize("numbers", [(0, 1.0, 0.0), (4, -1.0, 0.0), (4, 1.0, -0.5)])
def test_numbers_without_sense_are_refused(numbers):
    with pytest.raises(ParamsError, match="sampling: "):
        ImageSampling(*numbers)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_lone_code_is_drawn(steps):
    vocab = parity_vocab()
    ids = torch.tensor([[vocab.t2i, vocab.bos, vocab.eos, vocab.soi, vocab.mask, vocab.eoi]])
    settings = {"vocab": vocab, "generator": torch.Generator().manual_seed(0)}
    codes = fill_image(parity_model(), ids, 1, ImageSampling(steps), **settings)
    assert codes.shape == (1, 1)
    assert 0 <= int(codes) < vocab.num_codes
