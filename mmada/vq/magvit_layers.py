"""The parts of the MAGVIT-v2 network: its sizes, blocks, encoder and decoder.

The names of the modules give the keys of the published state dict.

Legend of shapes: B batch, H W picture height and width in pixels, h w the same at a coarser level,
Z bits of a code, C D channels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmada.errors import CheckpointError
from mmada.vq import winograd

_GROUPS = 32


@dataclass(frozen=True)
class MagvitSizes:
    """Sizes of the network; the defaults are the published ones. Every width must be a multiple of 32
    (GroupNorm)."""

    ch: int = 128
    ch_mult_encoder: tuple[int, ...] = (1, 2, 2, 4, 4)
    ch_mult_decoder: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks_encoder: tuple[int, ...] = (4, 3, 4, 3, 4)
    num_res_blocks_decoder: tuple[int, ...] = (4, 4, 3, 4, 3)
    z_channels: int = 13

    def __post_init__(self) -> None:
        levels = len(self.ch_mult_encoder)
        for name in ("ch_mult_decoder", "num_res_blocks_encoder", "num_res_blocks_decoder"):
            if len(getattr(self, name)) != levels:
                raise CheckpointError(f"MAGVIT-v2 sizes: {name} must have {levels} entries, one per level")
        if self.ch % _GROUPS or self.ch <= 0:
            raise CheckpointError(f"MAGVIT-v2 sizes: ch = {self.ch} must be a positive multiple of {_GROUPS}")
        for mult, counts in (
            ("encoder", self.num_res_blocks_encoder),
            ("decoder", self.num_res_blocks_decoder),
        ):
            if min(counts) < 1:
                raise CheckpointError(f"MAGVIT-v2 sizes: num_res_blocks_{mult} = {counts} must be positive")
        if not 1 <= self.z_channels <= 16:
            raise CheckpointError(f"MAGVIT-v2 sizes: z_channels = {self.z_channels} must lie in 1..16")

    @property
    def factor(self) -> int:
        """Pixels per code along each side."""
        return int(2 ** (len(self.ch_mult_encoder) - 1))

    @property
    def num_codes(self) -> int:
        return int(2**self.z_channels)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=1e-6)


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


class ResBlock(nn.Module):
    """Two normalised convolutions beside a shortcut, which is a 1x1 convolution where the width changes."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.norm1 = _norm(width_in)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = _norm(width_out)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        if width_in != width_out:
            self.nin_shortcut = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D h w"]:
        shortcut: Tensor = self.nin_shortcut(x) if "nin_shortcut" in self._modules else x
        if winograd.applies(self.conv1, x):
            return winograd.add_residual((self.norm1, self.conv1), (self.norm2, self.conv2), x, shortcut)
        hidden = self.conv1(_swish(self.norm1(x)))
        summed: Tensor = shortcut + self.conv2(_swish(self.norm2(hidden)))
        return summed


class AttnBlock(nn.Module):
    """Single-head attention over all positions of the grid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        b, c, h, w = x.shape
        normed = self.norm(x)
        q = self.q(normed).reshape(b, c, h * w).permute(0, 2, 1)
        k = self.k(normed).reshape(b, c, h * w)
        v = self.v(normed).reshape(b, c, h * w)
        weights = torch.softmax(torch.bmm(q, k) * c**-0.5, dim=2)
        mixed = torch.bmm(v, weights.permute(0, 2, 1)).reshape(b, c, h, w)
        attended: Tensor = x + self.proj_out(mixed)
        return attended


class Middle(nn.Module):
    """The only place where positions see each other globally."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(width, width)
        self.attn_1 = AttnBlock(width)
        self.block_2 = ResBlock(width, width)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        mixed: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return mixed


class Level(nn.Module):
    """Res blocks of one resolution and, except at the coarse or fine end, the change to the next."""

    def __init__(
        self, width_in: int, width_out: int, count: int, resample: Literal["downsample", "upsample"] | None
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList([ResBlock(width_in if i == 0 else width_out, width_out) for i in range(count)])
        if resample == "downsample":
            self.downsample = Downsample(width_out)
        elif resample == "upsample":
            self.upsample = Upsample(width_out)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D i j"]:
        for block in self.block:
            x = block(x)
        for resample in ("downsample", "upsample"):
            if resample in self._modules:
                x = getattr(self, resample)(x)
        return x


class Downsample(nn.Module):
    """Halves both sides; pads one zero row below and one zero column to the right."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        if winograd.applies(self.conv, x):
            return winograd.in_bands(self.conv, x)
        halved: Tensor = self.conv(functional.pad(x, (0, 1, 0, 1)))
        return halved


class Upsample(nn.Module):
    """Doubles both sides by repeating pixels, then convolves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C H W"]:
        doubled = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        if winograd.applies(self.conv, doubled):
            return winograd.in_bands(self.conv, doubled)
        convolved: Tensor = self.conv(doubled)
        return convolved


class Encoder(nn.Module):
    """Pixels to latents before quantisation."""

    def __init__(self, sizes: MagvitSizes) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, sizes.ch, 3, padding=1)
        self.down = nn.ModuleList()
        width = sizes.ch
        last = len(sizes.ch_mult_encoder) - 1
        for level, (mult, count) in enumerate(zip(sizes.ch_mult_encoder, sizes.num_res_blocks_encoder, strict=True)):
            self.down.append(Level(width, sizes.ch * mult, count, None if level == last else "downsample"))
            width = sizes.ch * mult
        self.mid = Middle(width)
        self.norm_out = _norm(width)
        self.conv_out = nn.Conv2d(width, sizes.z_channels, 3, padding=1)
        self.quant_conv = nn.Conv2d(sizes.z_channels, sizes.z_channels, 1)

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B Z h w"]:
        x = (
            winograd.in_bands(self.conv_in, pixels)
            if winograd.applies(self.mid.block_1.conv1, pixels)
            else self.conv_in(pixels)
        )
        for level in self.down:
            x = level(x)
        x = self.mid(x)
        latents: Tensor = self.quant_conv(self.conv_out(_swish(self.norm_out(x))))
        return latents


class Decoder(nn.Module):
    """Quantised latents to pixels; no final squashing."""

    def __init__(self, sizes: MagvitSizes) -> None:
        super().__init__()
        width = sizes.ch * sizes.ch_mult_decoder[-1]
        self.post_quant_conv = nn.Conv2d(sizes.z_channels, sizes.z_channels, 1)
        self.conv_in = nn.Conv2d(sizes.z_channels, width, 3, padding=1)
        self.mid = Middle(width)
        levels: list[Level] = []
        for level in reversed(range(len(sizes.ch_mult_decoder))):
            count = sizes.num_res_blocks_decoder[level]
            narrowed = sizes.ch * sizes.ch_mult_decoder[level]
            levels.insert(0, Level(width, narrowed, count, "upsample" if level else None))
            width = narrowed
        self.up = nn.ModuleList(levels)
        self.norm_out = _norm(width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, latents: Float[Tensor, "B Z h w"]) -> Float[Tensor, "B 3 H W"]:
        x = self.conv_in(self.post_quant_conv(latents))
        x = self.mid(x)
        for level in reversed(self.up):
            x = level(x)
        pixels: Tensor = self.conv_out(_swish(self.norm_out(x)))
        return pixels
