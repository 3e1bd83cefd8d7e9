import pytest
import torch

from mmada.errors import ParamsError
from mmada.model.sampling import ImageSampling, TextSampling, reveal_quota, sample_images, sample_text
from tests.tiny import parity, parity_model, parity_vocab

CASES = parity()[0]["cases"]


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("t2i")])
def test_pictures_equal_the_reference_code_by_code(case):
    tensors, spec = parity()[1], CASES[case]
    before = tensors["t2i.ids"].clone()
    prefix = tensors["t2i.ids"].shape[1] - 17
    codes = sample_images(
        parity_model(),
        tensors["t2i.ids"],
        16,
        ImageSampling(spec["steps"], spec["temperature"], spec["guidance"]),
        vocab=parity_vocab(),
        generator=torch.Generator().manual_seed(spec["generator_seed"]),
        attendable=tensors["t2i.attendable"].bool(),
        unconditional=(
            tensors["t2i.uncond_ids"][:, :prefix],
            tensors["t2i.uncond_attendable"][:, :prefix].bool(),
        ),
    )
    assert torch.equal(codes, tensors[case])
    assert torch.equal(tensors["t2i.ids"], before), "the caller's ids are not touched"


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("text")])
def test_text_equals_the_reference_token_by_token(case):
    tensors, spec = parity()[1], CASES[case]
    prompt = tensors["text.prompt"]
    window = torch.full((len(prompt), spec["max_new_tokens"]), parity_vocab().mask)
    sampling = TextSampling(
        spec["max_new_tokens"], spec["steps"], spec["block_length"], spec["temperature"], spec["cfg_scale"]
    )
    out = sample_text(
        parity_model(),
        torch.cat([prompt, window], 1),
        prompt.shape[1],
        sampling,
        mask_id=parity_vocab().mask,
        generator=torch.Generator().manual_seed(spec["global_seed"]),
    )
    assert torch.equal(out, tensors[case])


def _text(sampling, **more):
    prompt = parity()[1]["text.prompt"]
    ids = torch.cat([prompt, torch.full((2, sampling.new_tokens), parity_vocab().mask)], 1)
    return sample_text(parity_model(), ids, prompt.shape[1], sampling, mask_id=parity_vocab().mask, **more)


def test_rows_do_not_influence_each_other_and_hidden_pads_change_nothing():
    prompt, mask = parity()[1]["text.prompt"], parity_vocab().mask
    sampling = TextSampling(16, 8, 8)
    both = _text(sampling)
    ids = torch.cat([prompt, torch.full((2, 16), mask)], 1)
    padded = torch.cat([torch.full((2, 3), 7), ids], 1)
    seen = torch.cat([torch.zeros(2, 3, dtype=torch.bool), torch.ones_like(ids, dtype=torch.bool)], 1)
    alone = sample_text(parity_model(), padded[:1], 12, sampling, mask_id=mask, attendable=seen[:1])
    assert torch.equal(alone[:, 3:], both[:1])


def test_only_allowed_ids_are_sampled_and_every_mask_is_filled():
    out = _text(TextSampling(16, 16, 16, ids=slice(10, 40)))[:, 9:]
    assert ((out >= 10) & (out < 40)).all()


def test_stopping_early_fills_the_rest_and_changes_nothing_before():
    plain = _text(TextSampling(16, 16, 4))
    stop = int(plain[0, 12])
    if int(plain[1, 12]) != stop:
        plain, row = plain[:1], 1
    else:
        row = 2
    prompt = parity()[1]["text.prompt"][:row]
    ids = torch.cat([prompt, torch.full((row, 16), parity_vocab().mask)], 1)
    sampling = TextSampling(16, 16, 4, stop_id=stop)
    calls = []
    out = sample_text(parity_model(), ids, 9, sampling, mask_id=parity_vocab().mask, on_step=lambda: calls.append(1))
    assert torch.equal(out[:, :13], plain[:row, :13])
    assert (out[:, 13:] == stop).all()
    assert len(calls) == 4, "one block of four steps"


@pytest.mark.parametrize(("masked", "steps"), [(16, 5), (3, 8), (0, 4), (7, 7)])
def test_quota_reveals_everything_once_and_never_less_early_than_late(masked, steps):
    quota = reveal_quota(torch.tensor([masked]), steps)[0].tolist()
    assert sum(quota) == masked
    assert quota == sorted(quota, reverse=True)


@pytest.mark.parametrize("numbers", [(16, 8, 5), (16, 3, 8), (16, 1, 8)])
def test_uneven_splits_are_refused(numbers):
    with pytest.raises(ParamsError, match="do not split evenly"):
        TextSampling(*numbers)
