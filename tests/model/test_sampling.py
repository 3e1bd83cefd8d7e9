"""The two samplers of the reference, token by token, and what they refuse."""

import pytest
import torch

from mmada.errors import CheckpointError, ContractError, ParamsError
from mmada.model.sampling import sample_image, sample_text
from tests.tiny import parity, parity_model, parity_vocab

CASES = parity()[0]["cases"]


def _image(guidance=0.0, seed=0, **changed):
    tensors = parity()[1]
    given = {name: tensors[f"t2i.{name}"] for name in ("ids", "attendable", "uncond_ids", "uncond_attendable")}
    given |= changed
    return sample_image(
        parity_model(),
        *given.values(),
        vocab=parity_vocab(),
        steps=6,
        guidance=guidance,
        temperature=1.0,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("t2i")])
def test_pictures_equal_the_reference_code_by_code(case):
    tensors, spec = parity()[1], CASES[case]
    before = tensors["t2i.ids"].clone()
    codes = sample_image(
        parity_model(),
        tensors["t2i.ids"],
        tensors["t2i.attendable"].bool(),
        tensors["t2i.uncond_ids"],
        tensors["t2i.uncond_attendable"].bool(),
        vocab=parity_vocab(),
        steps=spec["steps"],
        guidance=spec["guidance"],
        temperature=spec["temperature"],
        generator=torch.Generator().manual_seed(spec["generator_seed"]),
    )
    assert torch.equal(codes, tensors[case])
    assert torch.equal(tensors["t2i.ids"], before), "the caller's ids are not touched"


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("text")])
def test_text_equals_the_reference_token_by_token(case):
    tensors, spec = parity()[1], CASES[case]
    torch.manual_seed(spec["global_seed"])
    out = sample_text(
        parity_model(),
        tensors["text.prompt"],
        vocab=parity_vocab(),
        max_new_tokens=spec["max_new_tokens"],
        steps=spec["steps"],
        block_length=spec["block_length"],
        temperature=spec["temperature"],
        guidance=spec["cfg_scale"],
    )
    assert torch.equal(out, tensors[case])


def test_unconditional_rows_are_optional_without_guidance():
    without = _image(uncond_ids=None, uncond_attendable=None)
    assert torch.equal(without, _image())
    with pytest.raises(ContractError, match=r"guidance 2.0: .* None found"):
        _image(guidance=2.0, uncond_ids=None, uncond_attendable=None)


def test_ids_that_hold_no_picture_are_refused():
    with pytest.raises(ContractError, match="same number of image tokens and eoi expected"):
        _image(ids=torch.full((2, 31), 7))
    shorter = parity()[1]["t2i.ids"].clone()
    shorter[0, -3] = 7
    with pytest.raises(ContractError, match=r"runs of \[1, 16\]"):
        _image(ids=shorter)


@pytest.mark.parametrize("bad", [-1, 480])
def test_ids_outside_the_vocabulary_are_refused(bad):
    ids = parity()[1]["t2i.ids"].clone()
    ids[1, 3] = bad
    with pytest.raises(ContractError, match=rf"{bad}.*allowed \[0, 480\)"):
        _image(ids=ids)
    with pytest.raises(ContractError, match=rf"{bad}.*allowed \[0, 480\)"):
        _text(prompt=torch.tensor([[3, bad]]))


def _text(prompt=None, new=16, steps=16, block=16):
    prompt = parity()[1]["text.prompt"] if prompt is None else prompt
    return sample_text(
        parity_model(), prompt, vocab=parity_vocab(), max_new_tokens=new, steps=steps, block_length=block
    )


def test_what_exceeds_the_model_is_refused_with_both_lengths():
    with pytest.raises(CheckpointError, match=r"265 tokens.*takes 256"):
        _text(new=256)


@pytest.mark.parametrize("numbers", [(16, 8, 5), (16, 3, 8), (16, 1, 8), (4, 4, 8)])
def test_uneven_splits_are_refused(numbers):
    with pytest.raises(ParamsError, match="do not split evenly"):
        _text(None, *numbers)


@pytest.mark.parametrize("numbers", [(0, 8, 8), (16, 0, 8), (16, 8, 0)])
def test_nothing_to_do_is_refused(numbers):
    with pytest.raises(ParamsError, match="must be positive"):
        _text(None, *numbers)
