"""Bands by Winograd: what a plain convolution gives, whatever the size, the weights and the number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmada.vq import winograd
from mmada.vq.magvit import MagvitSizes, MAGVITv2

WIDE = MagvitSizes(128, (1, 1, 2), (1, 1, 2), (1, 1, 1), (1, 1, 1), 13)


def _layer(width_in: int, width_out: int) -> winograd.Layer:
    torch.manual_seed(width_in + width_out)
    norm, conv = nn.GroupNorm(32, width_in, eps=1e-6), nn.Conv2d(width_in, width_out, 3, padding=1)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm, conv


def _exact(layers: list[winograd.Layer], x: Tensor, shortcut: Tensor) -> Tensor:
    x = x.double()
    for norm, conv in layers:
        x = deepcopy(conv).double()(functional.silu(deepcopy(norm).double()(x)))
    return shortcut.double() + x


def _one_by_one(layers: list[winograd.Layer], x: Tensor, shortcut: Tensor) -> Tensor:
    """Products added one after the other in float32: how a library adds them, and rounds, depends on the processor."""
    for norm, conv in layers:
        height, width = x.shape[2:]
        padded = functional.pad(functional.silu(norm(x)), (1, 1, 1, 1))[0]
        x = torch.zeros(1, conv.out_channels, height, width)
        for channel, row, column in product(range(conv.in_channels), range(3), range(3)):
            seen = padded[channel, row : row + height, column : column + width]
            x.addcmul_(conv.weight[:, channel, row, column, None, None], seen)
        x += conv.bias[:, None, None]
    return shortcut + x


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("height", "width", "share"),
    [(16, 16, 1.0), (32, 24, 1.0), (64, 18, 1.0), (34, 50, 1.0), (66, 66, 1.0), (64, 64, 2.0), (60, 72, 2.0)],
)
@pytest.mark.parametrize(("width_in", "width_out"), [(128, 128), (128, 256), (256, 128)])
@torch.no_grad()
def test_rounds_less_than_plainly_and_in_large_tiles_less_than_twice_as_much(
    width_in: int, width_out: int, height: int, width: int, share: float
) -> None:
    layers = [_layer(width_in, width_out), _layer(width_out, width_out)]
    x = 3.0 * torch.randn(1, width_in, height, width) + 1.0
    shortcut = torch.randn(1, width_out, height, width)
    exact, plain = _exact(layers, x, shortcut), _one_by_one(layers, x, shortcut)
    with winograd.band_threads():
        assert winograd.applies(layers[0][1], x)
        ours = winograd.add_residual(layers[0], layers[1], x, shortcut)
    assert (ours - exact).square().mean() <= share**2 * (plain - exact).square().mean()


@torch.no_grad()
def test_changed_weights_are_seen() -> None:
    layers = [_layer(128, 128), _layer(128, 128)]
    x, shortcut = torch.randn(1, 128, 16, 16), torch.zeros(1, 128, 16, 16)
    with winograd.band_threads():
        winograd.add_residual(layers[0], layers[1], x, shortcut.clone())
        layers[1][1].weight.mul_(2.0)
        ours = winograd.add_residual(layers[0], layers[1], x, shortcut.clone())
    assert (ours - _exact(layers, x, shortcut)).abs().max() < 1e-5


@pytest.mark.parametrize(("stride", "channels"), [(1, 3), (2, 128)])
@torch.no_grad()
def test_a_convolution_in_bands_pads_both_sides_or_halves_and_pads_the_end(stride: int, channels: int) -> None:
    conv = nn.Conv2d(channels, 128, 3, stride)
    x = torch.randn(1, channels, 36, 44)
    padded = functional.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)).double()
    with winograd.band_threads():
        ours = winograd.in_bands(conv, x)
    assert (ours - deepcopy(conv).double()(padded)).abs().max() < 2e-6


def test_only_wide_single_pictures_of_even_sides_are_taken_and_only_when_asked() -> None:
    conv, narrow = _layer(128, 128)[1], nn.Conv2d(64, 128, 3, padding=1)
    x = torch.zeros(1, 128, 16, 16)
    assert not winograd.applies(conv, x)
    with winograd.band_threads():
        assert winograd.applies(conv, x)
        assert not winograd.applies(narrow, torch.zeros(1, 64, 16, 16))
        for other in (x[..., :14], torch.zeros(1, 128, 17, 32), torch.cat([x, x]), x.double()):
            assert not winograd.applies(conv, other)
    assert not winograd.applies(conv, x)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (68, 76)])
def test_latents_are_the_plain_ones_and_the_same_with_any_number_of_threads(height: int, width: int) -> None:
    torch.manual_seed(0)
    model = MAGVITv2(WIDE).eval()
    pixels = torch.rand(2, 3, height, width) * 2 - 1
    latents = []
    for threads in (1, 2, 3):
        with _threads(threads):
            latents.append(model.latents(pixels))
            assert torch.get_num_threads() == threads
    assert torch.equal(latents[0], latents[1])
    assert torch.equal(latents[0], latents[2])
    assert torch.equal(latents[0][1:], model.latents(pixels[1:]))
    with torch.no_grad():
        plain = model.encoder(pixels)
    assert (latents[0] - plain).abs().max() <= 1e-5
    codes = model.encode(pixels)
    grid = {"height": height // 4, "width": width // 4}
    with torch.no_grad():
        decoded = model.decoder(model.quantize.latents(codes.view(2, *grid.values())))
    assert (model.decode(codes, **grid) - decoded).abs().max() <= 1e-4
