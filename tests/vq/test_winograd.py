"""Bands by Winograd: what a plain convolution gives, whatever the size, the weights and the number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmada.vq import winograd
from mmada.vq.magvit import MagvitSizes, MAGVITv2

WIDE = MagvitSizes(128, (1, 1, 2), (1, 1, 2), (1, 1, 1), (1, 1, 1), 13)


def _layers(width_in: int, width_out: int) -> tuple[nn.GroupNorm, nn.Conv2d]:
    torch.manual_seed(width_in + width_out)
    norm, conv = nn.GroupNorm(32, width_in, eps=1e-6), nn.Conv2d(width_in, width_out, 3, padding=1)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm, conv


def _exact(norm: nn.GroupNorm, conv: nn.Conv2d, x: Tensor) -> Tensor:
    assert conv.bias is not None
    normed = functional.group_norm(x.double(), 32, norm.weight.double(), norm.bias.double(), norm.eps)
    return functional.conv2d(functional.silu(normed), conv.weight.double(), conv.bias.double(), padding=1)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 24), (64, 18), (34, 50)])
@pytest.mark.parametrize(("width_in", "width_out"), [(128, 128), (128, 256), (256, 128)])
@torch.no_grad()
def test_is_nearer_to_the_exact_result_than_the_plain_convolution(
    width_in: int, width_out: int, height: int, width: int
) -> None:
    norm, conv = _layers(width_in, width_out)
    x = 3.0 * torch.randn(1, width_in, height, width) + 1.0
    beside = torch.randn(1, width_out, height, width)
    with winograd.band_threads():
        assert winograd.applies(conv, x)
        ours, with_beside = winograd.convolve(norm, conv, x), winograd.convolve(norm, conv, x, beside)
    exact = _exact(norm, conv, x)
    plain = conv(functional.silu(norm(x)))
    assert (ours - exact).abs().max() <= max((plain - exact).abs().max(), 2e-6)
    assert torch.equal(with_beside, ours + beside)


@torch.no_grad()
def test_changed_weights_are_seen() -> None:
    norm, conv = _layers(128, 128)
    x = torch.randn(1, 128, 16, 16)
    with winograd.band_threads():
        winograd.convolve(norm, conv, x)
        conv.weight.mul_(2.0)
        assert (winograd.convolve(norm, conv, x) - _exact(norm, conv, x)).abs().max() < 1e-5


def test_only_wide_single_pictures_of_even_sides_are_taken_and_only_when_asked() -> None:
    conv, narrow = _layers(128, 128)[1], nn.Conv2d(64, 128, 3, padding=1)
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
