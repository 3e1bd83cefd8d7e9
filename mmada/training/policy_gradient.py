"""The maths of UniGRPO: advantages, noise times, surrogate and divergence, without model or sampling.

Shapes: P prompts, G answers per prompt, R rollouts, L tokens.
"""

from collections.abc import Callable
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

NUM_TIMES: Final = 1000
"""T of the published noise times."""

NoiseSpacing = Literal["formula", "example"]
Advantage = Callable[[Float[np.ndarray, "P G"]], Float[np.ndarray, "P G"]]


def group_advantages(rewards: Float[np.ndarray, "P G"]) -> Float[np.ndarray, "P G"]:
    """(r - mean) / std within each group; 0 where all rewards of a group are alike."""
    deviation = rewards.std(1, keepdims=True)
    centred = rewards - rewards.mean(1, keepdims=True)
    return np.where(deviation > 1e-8, centred / np.maximum(deviation, 1e-8), 0.0)


def noise_times(start: float, updates: int, spacing: NoiseSpacing) -> list[int]:
    """Noise times of the inner updates, in 1 .. T, from a uniform draw `start`.

    "formula": floor((n-1)/(U-1) * (T - t1)) + t1 with t1 = floor(start * T). "example": the paper's worked
    example, whose spacing T/U disagrees with the formula (100 -> 300, 500, 700, 900); its start is drawn
    below T/U.
    """
    if spacing == "formula":
        first = int(start * NUM_TIMES)
        steps = max(1, updates - 1)
        times = [(n * (NUM_TIMES - first)) // steps + first for n in range(updates)]
    else:
        stride = NUM_TIMES // updates
        times = [int(start * stride) + n * stride for n in range(updates)]
    return [max(1, time) for time in times]


def clipped_surrogate(
    log_ratio: Float[Tensor, "R L"], advantages: Float[Tensor, "R"], clip: float
) -> Float[Tensor, "R L"]:
    """min(r A, clip(r, 1 - clip, 1 + clip) A) per token, to be maximised."""
    ratio = log_ratio.exp()
    gain = advantages[:, None]
    return torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)


def k3_divergence(log_probs: Float[Tensor, "R L"], reference: Float[Tensor, "R L"]) -> Float[Tensor, "R L"]:
    """Unbiased, never negative estimate of KL(policy || reference) per token (Schulman's k3)."""
    difference = reference - log_probs
    return difference.exp() - difference - 1.0
