"""Fit a small MAGVIT-v2 on pictures, from random weights, on a CPU within minutes.

Quantising straight-through from the first step stalls: the encoder's signs are noise then, and the decoder
learns the mean picture. So the bottleneck starts soft (tanh) and hardens to signs between 15 % and 50 % of
the steps.

A step's batch is a pure function of (seed, step), so a resumed fit equals an undisturbed one bit for bit at
equal threads.

Legend of shapes: n pictures, B batch, H W picture height and width, Z bits of a code, h w grid height and
width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from mmada.errors import InputError
from mmada.muon import muon_step
from mmada.vq.magvit import MagvitSizes, MAGVITv2
from mmada.vq.magvit_layers import ResBlock

_SOFT_UNTIL = 0.15
_HARD_FROM = 0.50
_WARM_UP = 0.03
_ENTROPY_WEIGHT = 0.02  # the published 0.1 spreads the ground over hundreds of codes
_COMMIT_WEIGHT = 0.025  # beta 0.25 times 0.1, as published
_SALIENT_WEIGHT = 8.0
_SALIENT_DISTANCE = 0.25  # from the picture's median colour, per channel in [-1, 1]
_CLIP_NORM = 1.0
_BETAS = (0.9, 0.99)
_MUON_DECAY = 0.95
_MUON_RATE = 20.0  # of the Adam rate: Muon moves every direction by the same amount
_CANDIDATES = 12
_NEAR = 7
_DENSEST = 0.6


class SaveState(Protocol):
    """Called after a step with everything that a resumed fit needs."""

    def __call__(self, step: int, tensors: dict[str, Tensor]) -> None: ...


@dataclass(frozen=True)
class FitSettings:
    """How long and how fast to fit.

    crop: side in pixels of the training crops, a multiple of the network's factor. mosaic_share: share of
    each batch that is put together from single tiles (one code each) of different pictures; sparse pictures
    alone teach mostly the ground.
    """

    steps: int
    batch_size: int
    crop: int
    learning_rate: float
    mosaic_share: float
    seed: int
    threads: int
    save_every: int


def fit_magvit(
    images: UInt8[np.ndarray, "n H W 3"],
    *,
    sizes: MagvitSizes,
    settings: FitSettings,
    on_progress: Callable[[int, dict[str, float]], None],
    save_state: SaveState,
    resume: dict[str, Tensor] | None,
) -> MAGVITv2:
    """The fitted network, in eval mode and fp32.

    `resume` holds the tensors of an earlier `save_state`, or None. Raises InputError when there are no
    pictures or the crop does not fit them or the network's factor.
    """
    _check(images, sizes, settings)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    model = MAGVITv2(sizes)
    _silence_residuals(model)
    moments = _no_moments(model)
    start = 0
    if resume is not None:
        start = _restore(model, moments, resume)
    for step in range(start, settings.steps):
        done = step / settings.steps
        pixels = _batch(images, sizes.factor, settings, step)
        losses = _losses(model, pixels, hardness(done))
        model.zero_grad()
        torch.autograd.backward(losses["total"])
        _update(model, moments, step, settings.learning_rate * _rate(done))
        on_progress(step + 1, {name: float(value.detach()) for name, value in losses.items()})
        if (step + 1) % settings.save_every == 0:
            save_state(step + 1, _snapshot(model, moments, step + 1))
    return model.eval().requires_grad_(False)


def hardness(done: float) -> float:
    """Share of the sign in the bottleneck, from 0 (tanh alone) to 1 (straight-through signs)."""
    return min(1.0, max(0.0, (done - _SOFT_UNTIL) / (_HARD_FROM - _SOFT_UNTIL)))


def _rate(done: float) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    if done < _WARM_UP:
        return (done + 1e-3) / _WARM_UP
    return float(0.02 + 0.98 * 0.5 * (1.0 + np.cos(np.pi * (done - _WARM_UP) / (1.0 - _WARM_UP))))


def _check(images: UInt8[np.ndarray, "n H W 3"], sizes: MagvitSizes, settings: FitSettings) -> None:
    if not len(images):
        raise InputError(
            "no corpus holds pictures to fit MAGVIT-v2 on; add one that does, or name published weights in vq.weights"
        )
    height, width = images.shape[1:3]
    if settings.crop % sizes.factor or settings.crop > min(height, width):
        raise InputError(
            f"vq.crop = {settings.crop}: must be a multiple of {sizes.factor} and at most "
            f"{min(height, width)}, the smaller side of the pictures"
        )


def _batch(
    images: UInt8[np.ndarray, "n H W 3"], tile: int, settings: FitSettings, step: int
) -> Float[Tensor, "B 3 c c"]:
    """Crops on the code grid, and mosaics of single tiles of which half are the more salient of four."""
    rng = np.random.default_rng([settings.seed, step])
    mosaics = round(settings.batch_size * settings.mosaic_share)
    grid = settings.crop // tile
    crops = [_crop(rng, images, settings.crop, tile) for _ in range(settings.batch_size - mosaics)]
    crops += [_mosaic(rng, images, grid, tile) for _ in range(mosaics)]
    pixels = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()
    return pixels.float() / 127.5 - 1.0


def _crop(
    rng: np.random.Generator, images: UInt8[np.ndarray, "n H W 3"], side: int, tile: int
) -> UInt8[np.ndarray, "c c 3"]:
    picture = images[rng.integers(len(images))]
    row = tile * rng.integers((picture.shape[0] - side) // tile + 1)
    column = tile * rng.integers((picture.shape[1] - side) // tile + 1)
    return np.asarray(picture[row : row + side, column : column + side])


def _mosaic(
    rng: np.random.Generator, images: UInt8[np.ndarray, "n H W 3"], grid: int, tile: int
) -> UInt8[np.ndarray, "c c 3"]:
    """Tiles of different pictures; each mosaic has its own share of salient ones, so all densities occur."""
    share = _DENSEST * rng.random()
    tiles = [_tile(rng, images, tile, salient=rng.random() < share) for _ in range(grid * grid)]
    rows = [np.concatenate(tiles[i : i + grid], axis=1) for i in range(0, grid * grid, grid)]
    return np.concatenate(rows, axis=0)


def _tile(
    rng: np.random.Generator, images: UInt8[np.ndarray, "n H W 3"], tile: int, *, salient: bool
) -> UInt8[np.ndarray, "t t 3"]:
    candidates = [_crop(rng, images, tile, tile) for _ in range(_CANDIDATES if salient else 1)]
    deviations = [float(pixels.std()) for pixels in candidates]
    # Not simply the most salient one: that would hardly ever be a pale or a thin thing.
    return next(c for c, d in zip(candidates, deviations, strict=True) if 2.0 * d >= max(deviations))


def _losses(model: MAGVITv2, pixels: Float[Tensor, "B 3 c c"], hard: float) -> dict[str, Tensor]:
    latents = model.encoder(pixels)
    soft = torch.tanh(latents)
    signs = torch.where(latents > 0, 1.0, -1.0)
    decoded = model.decoder(soft + hard * (signs - soft).detach())
    error = decoded - pixels
    median = pixels.flatten(2).median(dim=2).values[:, :, None, None]
    salient = ((pixels - median).abs().amax(dim=1, keepdim=True) > _SALIENT_DISTANCE).float()
    # Widened, so that what lies beside an edge counts as much as what lies within: a shape is its edges.
    near = functional.max_pool2d(salient, _NEAR, stride=1, padding=_NEAR // 2)
    weight = 1.0 + _SALIENT_WEIGHT * near
    reconstruction = (error**2 * weight).mean() / weight.mean()
    entropy = _entropy_loss(latents)
    commit = ((soft - signs) ** 2).mean()
    total = reconstruction + hard * (_ENTROPY_WEIGHT * entropy + _COMMIT_WEIGHT * commit)
    return {"total": total, "reconstruction": reconstruction, "entropy": entropy, "commit": commit}


def _entropy_loss(latents: Float[Tensor, "B Z h w"]) -> Float[Tensor, ""]:
    """Mean entropy of each bit less the entropy of its mean, in nats: sure of each code, even over the batch.

    With codes at the corners of a cube the softmax over all codes factorises into bits, so no 2^Z table is
    needed.
    """
    probability = torch.sigmoid(4.0 * latents)
    mean = probability.mean(dim=(0, 2, 3))
    return _bit_entropy(probability).mean() - _bit_entropy(mean).mean()


def _bit_entropy(probability: Tensor) -> Tensor:
    p = probability.clamp(1e-6, 1.0 - 1e-6)
    return functional.binary_cross_entropy(p, p, reduction="none")


def _silence_residuals(model: MAGVITv2) -> None:
    """Let every residual block start as the identity, which trains faster."""
    for module in model.modules():
        if isinstance(module, ResBlock):
            torch.nn.init.zeros_(module.conv2.weight)


def _is_matrix(name: str, weight: Tensor) -> bool:
    """Whether a weight maps hidden channels to hidden channels; ends, biases and norms are steered by
    Adam."""
    return weight.ndim == 4 and not any(end in name for end in ("conv_in", "conv_out", "quant_conv"))


def _no_moments(model: MAGVITv2) -> dict[str, Tensor]:
    moments = {f"first.{name}": torch.zeros_like(weight) for name, weight in model.named_parameters()}
    for name, weight in model.named_parameters():
        if not _is_matrix(name, weight):
            moments[f"second.{name}"] = torch.zeros_like(weight)
    return moments


@torch.no_grad()
def _update(model: MAGVITv2, moments: dict[str, Tensor], step: int, learning_rate: float) -> None:
    """Muon for the hidden convolutions, Adam for the rest."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP_NORM)
    for name, weight in model.named_parameters():
        assert weight.grad is not None, f"{name} takes no part in the loss"
        first = moments[f"first.{name}"]
        if _is_matrix(name, weight):
            muon_step(weight, weight.grad, first, learning_rate=_MUON_RATE * learning_rate, decay=_MUON_DECAY)
            continue
        second = moments[f"second.{name}"]
        first.lerp_(weight.grad, 1.0 - _BETAS[0])
        second.lerp_(weight.grad**2, 1.0 - _BETAS[1])
        scale = learning_rate * (1.0 - _BETAS[1] ** (step + 1)) ** 0.5 / (1.0 - _BETAS[0] ** (step + 1))
        weight.sub_(scale * first / (second.sqrt() + 1e-8))


def _snapshot(model: MAGVITv2, moments: dict[str, Tensor], step: int) -> dict[str, Tensor]:
    weights = {f"model.{key}": value.detach().clone() for key, value in model.state_dict().items()}
    return weights | {key: value.clone() for key, value in moments.items()} | {"step": torch.tensor(step)}


def _restore(model: MAGVITv2, moments: dict[str, Tensor], tensors: dict[str, Tensor]) -> int:
    model.load_state_dict({key.removeprefix("model."): v for key, v in tensors.items() if key.startswith("model.")})
    for key, moment in moments.items():
        moment.copy_(tensors[key])
    return int(tensors["step"])
