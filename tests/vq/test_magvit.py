"""MAGVIT-v2: equal to the published network, codes independent of the batch, folders strict."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmada.errors import CheckpointError, ContractError
from mmada.vq.magvit import LookupFreeQuantizer, MagvitSizes, MAGVITv2, load_magvit, save_magvit, to_uint8

FIXTURES = Path(__file__).parent.parent / "fixtures" / "parity"
SMALL = MagvitSizes(32, (1, 1, 1, 1, 1), (1, 1, 1, 1, 1), (1, 1, 1, 1, 1), (1, 1, 1, 1, 1), 13)


def _named_weights(case: dict[str, Any], model: MAGVITv2) -> None:
    """Fill a network with the weights that are computed from their names."""
    state = model.state_dict()
    for key, shape in case["keys"].items():
        digest = hashlib.sha256(f"{case['weights_seed']}:{key}".encode()).digest()
        values = np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal(shape)
        if key.endswith("bias"):
            values = 0.02 * values
        elif "norm" in key:
            values = 1.0 + 0.05 * values
        else:
            values = values / np.sqrt(np.prod(shape[1:]))
        state[key].copy_(torch.from_numpy(values.astype(np.float32)))


@pytest.fixture(scope="module")
def small() -> MAGVITv2:
    torch.manual_seed(0)
    return MAGVITv2(SMALL).eval()


@pytest.mark.parametrize("name", ["vq_small", "vq_full_256"])
def test_equals_the_published_network(name: str) -> None:
    case = json.loads((FIXTURES / f"{name}.json").read_text())
    tensors: dict[str, Tensor] = load_file(str(FIXTURES / f"{name}.safetensors"))
    names = ("ch_mult_encoder", "ch_mult_decoder", "num_res_blocks_encoder", "num_res_blocks_decoder")
    sizes = MagvitSizes(case["ch"], *(tuple(case[key]) for key in names), case["z_channels"])
    with torch.device("meta"):  # the weights are set below: full-size random ones would cost seconds
        model = MAGVITv2(sizes).eval()
    shapes = {key: list(value.shape) for key, value in model.named_parameters()}
    assert {key: shape for key, shape in case["keys"].items() if not key.startswith("quantize")} == shapes
    model = model.to_empty(device="cpu")
    model.quantize = LookupFreeQuantizer(sizes.z_channels)
    _named_weights(case, model)
    latents = model.latents(tensors["pixels"])
    codes = model.encode(tensors["pixels"])
    stride = 1 if case["decoded"] == "full" else 4
    height, width = latents.shape[2:]
    decoded = model.decode(codes, height=height, width=width)[:, :, ::stride, ::stride]
    assert (latents - tensors["latents"]).abs().max() <= 1e-5
    assert torch.equal(codes, tensors["codes"])
    assert (decoded - tensors["decoded"]).abs().max() <= 1e-4


def test_published_sizes_are_the_default() -> None:
    with torch.device("meta"):
        model = MAGVITv2(MagvitSizes())
    assert sum(weight.numel() for weight in model.parameters()) == 95_387_004
    assert len(model.state_dict()) == 382
    assert (model.sizes.factor, model.sizes.num_codes) == (16, 8192)


@pytest.mark.parametrize(("batch", "threads"), [(3, 1), (8, 1), (3, 2)])
def test_codes_do_not_depend_on_batch_or_threads(small: MAGVITv2, batch: int, threads: int) -> None:
    pixels = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = torch.get_num_threads()
    reference = torch.cat([small.encode(picture[None]) for picture in pixels])
    torch.set_num_threads(threads)
    try:
        codes = torch.cat([small.encode(part) for part in pixels.split(batch)])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(codes, reference)


def test_first_channel_is_the_most_significant_bit_and_zero_is_off(small: MAGVITv2) -> None:
    latents = torch.full((1, 13, 1, 2), -1.0)
    latents[0, 0, 0, 0] = 0.5
    latents[0, 12, 0, 1] = 0.0
    assert small.quantize.codes(latents).flatten().tolist() == [4096, 0]


def test_codes_and_signs_are_inverse(small: MAGVITv2) -> None:
    codes = torch.arange(8192).view(1, 64, 128)
    assert torch.equal(small.quantize.codes(small.quantize.latents(codes)), codes)


def test_pictures_need_not_be_square(small: MAGVITv2) -> None:
    codes = small.encode(torch.zeros(2, 3, 32, 48))
    assert codes.shape == (2, 6)
    assert small.decode(codes, height=2, width=3).shape == (2, 3, 32, 48)


def test_refuses_odd_sides_and_codes_out_of_range(small: MAGVITv2) -> None:
    with pytest.raises(ContractError, match=r"40, 32.*multiples of 16"):
        small.encode(torch.zeros(1, 3, 40, 32))
    with pytest.raises(ContractError, match=r"found \[8192, 8192\], allowed \[0, 8192\)"):
        small.decode(torch.full((1, 4), 8192), height=2, width=2)
    with pytest.raises(ContractError, match="2 x 3"):
        small.decode(torch.zeros(1, 4, dtype=torch.long), height=2, width=3)


def test_uint8_truncates() -> None:
    pixels = torch.tensor([-2.0, 0.0, 2.0]).view(1, 3, 1, 1)
    assert to_uint8(pixels).flatten().tolist() == [0, 127, 255]


def test_folder_returns_the_same_network(small: MAGVITv2, tmp_path: Path) -> None:
    save_magvit(small, tmp_path)
    again = load_magvit(tmp_path)
    assert again.sizes == SMALL
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in small.state_dict().items())


def test_the_tables_of_the_quantiser_may_be_left_out(small: MAGVITv2, tmp_path: Path) -> None:
    save_magvit(small, tmp_path)
    path = tmp_path / "pytorch_model.safetensors"
    state = load_file(str(path))
    save_file({key: value for key, value in state.items() if not key.startswith("quantize.")}, str(path))
    again = load_magvit(tmp_path).state_dict()
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], value) for key, value in state.items())


def _break_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _other_sizes(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def _cut_weights(folder: Path) -> None:
    weights = folder / "pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def _lose_a_key(folder: Path) -> None:
    state = load_file(str(folder / "pytorch_model.safetensors"))
    del state["encoder.conv_in.bias"]
    save_file(state, str(folder / "pytorch_model.safetensors"))


def _pickle_weights(folder: Path) -> None:
    weights = folder / "pytorch_model.safetensors"
    torch.save(load_file(str(weights)), folder / "pytorch_model.bin")
    weights.unlink()


def _change_weights(folder: Path, tensors: dict[str, Tensor]) -> None:
    weights = folder / "pytorch_model.safetensors"
    state = load_file(str(weights)) | tensors
    weights.unlink()  # a new file: the tensors may still be mapped to the old one
    save_file(state, str(weights))


def _gain_a_key(folder: Path) -> None:
    _change_weights(folder, {"extra": torch.zeros(1)})


def _reshape_a_tensor(folder: Path) -> None:
    _change_weights(folder, {"encoder.conv_in.bias": torch.zeros(31)})


_DAMAGES = [_break_config, _other_sizes, _cut_weights, _lose_a_key, _gain_a_key, _reshape_a_tensor, _pickle_weights]


@pytest.mark.parametrize("damage", _DAMAGES)
def test_damaged_folders_are_refused(small: MAGVITv2, tmp_path: Path, damage: Any) -> None:
    save_magvit(small, tmp_path)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        load_magvit(tmp_path)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(CheckpointError, match="multiple of 32"):
        MagvitSizes(ch=48)
    with pytest.raises(CheckpointError, match="one per level"):
        MagvitSizes(ch_mult_decoder=(1, 1))
