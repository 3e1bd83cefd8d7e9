"""Training noise: which tokens are replaced by the mask token.

Every number drawn here is a pure function of (seed, sample key, epoch, purpose, position in the sample), so
masks depend neither on the batch, nor on its padding, nor on world size, order or restarts. Shapes: B
sequences, L tokens, n numbers per row.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from mmada.contracts.sample import TASKS, Task
from mmada.model.mask_schedules import MASK_SCHEDULES, ScheduleName
from mmada.model.sequences import Batch

PUBLISHED_FLOOR: Final = 1e-3
"""Smallest p_mask of text in LLaDA's training code."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class NoiseRule:
    """How much is masked.

    `text_floors`: per task, the smallest p_mask of text, p = (1-floor)t + floor with t uniform; `PUBLISHED_FLOOR` where
    a task is not named. A thought repeats its results, so at low p a masked one is copied from where it stands again; a
    high floor makes the model compute it, as it must when it writes.
    `image_schedule`: rate of image masking as a function of a uniform draw.
    `r2i`: "joint" masks thought and picture with one p; "staged" masks, with equal chance, either the thought
    (with the whole picture hidden and not scored) or the picture (with the thought given), which is how
    thinking-before-drawing is sampled.
    """

    text_floors: Mapping[Task, float] = field(default_factory=dict)
    image_schedule: ScheduleName = "cosine"
    r2i: Literal["joint", "staged"] = "joint"


@dataclass(frozen=True)
class Noised:
    """A noised batch. `is_masked`: True = replaced; `is_target`: the masked tokens that are scored."""

    x_t: Int[Tensor, "B L"]
    is_masked: Bool[Tensor, "B L"]
    is_target: Bool[Tensor, "B L"]
    p_mask: Float[Tensor, "B L"]
    """Probability (text) or share (image) with which the token's kind was masked."""


def uniforms(
    keys: Sequence[str], epochs: Sequence[int], *, seed: int, purpose: str, count: int
) -> Float[np.ndarray, "B n"]:
    """Uniform numbers in [0, 1): row i, column j depends on (seed, keys[i], epochs[i], purpose, j) alone.

    The row's state is a sha256; columns are splitmix64 steps from it (Steele et al., OOPSLA 2014), 53 bits
    each.
    """
    digests = b"".join(
        hashlib.sha256(f"{seed}:{epoch}:{purpose}:{key}".encode()).digest()[:8]
        for key, epoch in zip(keys, epochs, strict=True)
    )
    states = np.frombuffer(digests, dtype="<u8").astype(np.uint64)
    with np.errstate(over="ignore"):
        z = states[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        z = (z ^ (z >> np.uint64(31))) >> np.uint64(11)
    result: NDArray[np.float64] = z.astype(np.float64) * 2.0**-53
    return result


def add_noise(batch: Batch, epochs: Sequence[int], rule: NoiseRule, *, mask_id: int, seed: int) -> Noised:
    """Noise a batch for masked prediction: text by independent draws, whole pictures by an exact count."""
    levels = torch.from_numpy(uniforms(batch.keys, epochs, seed=seed, purpose="levels", count=3)).float()
    dice = token_dice(batch, epochs, seed=seed, purpose="tokens")
    floors = torch.tensor([rule.text_floors.get(task, PUBLISHED_FLOOR) for task in TASKS])[batch.task]
    text_p = ((1 - floors) * levels[:, 0] + floors)[:, None].expand_as(dice)
    image = batch.maskable & batch.is_image
    by_count, share = mask_by_count(image, MASK_SCHEDULES[rule.image_schedule](levels[:, 1]), dice)
    by_chance = batch.maskable & (dice < text_p)

    is_r2i = batch.rows("r2i")[:, None]
    draws_picture = batch.rows("t2i")[:, None]
    if rule.r2i == "staged":
        draws_picture = draws_picture | (is_r2i & (levels[:, 2:] < 0.5))
        by_chance = torch.where(is_r2i & image, torch.ones_like(by_chance), by_chance)
        is_target = torch.where(draws_picture, by_count, by_chance & ~(is_r2i & image))
    else:
        is_target = torch.where(draws_picture, by_count, by_chance)
    is_masked = torch.where(draws_picture, by_count, by_chance)
    p_mask = torch.where(draws_picture, share[:, None].expand_as(dice), text_p)
    return Noised(corrupt(batch.ids, is_masked, mask_id), is_masked, is_target, p_mask)


def token_dice(batch: Batch, epochs: Sequence[int], *, seed: int, purpose: str) -> Float[Tensor, "B L"]:
    """One uniform number per token, counted from the row's first own token."""
    length = batch.ids.shape[1]
    dice = torch.from_numpy(uniforms(batch.keys, epochs, seed=seed, purpose=purpose, count=length))
    column = (torch.arange(length) - batch.start[:, None]).clamp(min=0)
    return dice.gather(1, column)


def mask_by_count(
    maskable: Bool[Tensor, "B L"], rate: Float[Tensor, "B"], dice: Float[Tensor, "B L"]
) -> tuple[Bool[Tensor, "B L"], Float[Tensor, "B"]]:
    """Mask round(rate x count) of each row's maskable tokens, one at least, those of lowest dice.

    Returns the mask and the share masked (1 where a row has nothing to mask).
    """
    total = maskable.sum(1)
    count = torch.minimum((total * rate).round().clamp(min=1), total)
    rank = dice.masked_fill(~maskable, 2.0).argsort(1).argsort(1)
    is_masked = maskable & (rank < count[:, None])
    return is_masked, torch.where(total > 0, count / total.clamp(min=1), 1.0).float()


def corrupt(ids: Int[Tensor, "B L"], is_masked: Bool[Tensor, "B L"], mask_id: int) -> Int[Tensor, "B L"]:
    """x_t: the ids with masked ones replaced."""
    return ids.masked_fill(is_masked, mask_id)
