"""The maths of UniGRPO: advantages, noise times, surrogate and divergence, without model or sampling.

Shapes: P prompts, G answers per prompt, R rollouts, L tokens.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

NUM_TIMES: Final = 1000
"""T of the published noise times."""

_ALIKE: Final = 1e-8
"""Standard deviation up to which the rewards of a group count as equal."""

NoiseSpacing = Literal["formula", "example"]
AdvantageName = Literal["standardised", "centred"]
KlEstimator = Literal["k1", "k2", "k3"]
Advantage = Callable[[Float[np.ndarray, "P G"]], Float[np.ndarray, "P G"]]
Divergence = Callable[[Float[Tensor, "R L"], Float[Tensor, "R L"]], Float[Tensor, "R L"]]


def groups_alike(rewards: Float[np.ndarray, "P G"]) -> Bool[np.ndarray, "P"]:
    """Groups whose rewards do not differ: they say nothing about which answer is better."""
    return np.asarray(rewards.std(1) <= _ALIKE)


def standardised(rewards: Float[np.ndarray, "P G"]) -> Float[np.ndarray, "P G"]:
    """(r - mean) / std within each group; 0 where all rewards of a group are alike."""
    deviation = np.maximum(rewards.std(1, keepdims=True), _ALIKE)
    return np.where(groups_alike(rewards)[:, None], 0.0, centred(rewards) / deviation)


def centred(rewards: Float[np.ndarray, "P G"]) -> Float[np.ndarray, "P G"]:
    """r - mean within each group: a group counts the more, the more its rewards differ (d1, arXiv:2504.12216)."""
    return np.asarray(rewards - rewards.mean(1, keepdims=True))


ADVANTAGES: Final[Mapping[AdvantageName, Advantage]] = MappingProxyType(
    {"standardised": standardised, "centred": centred}
)


def noise_times(start: float, updates: int, spacing: NoiseSpacing) -> list[int]:
    """Noise times of the inner updates, in 1 .. T, from a draw `start` in [0, 1].

    "formula": floor((n-1)/(U-1) * (T - t1)) + t1 with t1 = floor(start * T). "example": the paper's worked
    example, whose spacing T/U disagrees with the formula (100 -> 300, 500, 700, 900); its start is drawn
    below T/U, so that a uniform draw gives uniform times.
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


def k1_divergence(log_probs: Float[Tensor, "R L"], reference: Float[Tensor, "R L"]) -> Float[Tensor, "R L"]:
    """log(policy / reference): unbiased for KL(policy || reference), of high variance, of either sign.

    As a loss it pulls nowhere on average: its gradient is the score, whose mean under the policy is 0.
    """
    return log_probs - reference


def k2_divergence(log_probs: Float[Tensor, "R L"], reference: Float[Tensor, "R L"]) -> Float[Tensor, "R L"]:
    """Half the squared log ratio: biased, of low variance; its gradient is that of KL(policy || reference)."""
    return (log_probs - reference).square() / 2


def k3_divergence(log_probs: Float[Tensor, "R L"], reference: Float[Tensor, "R L"]) -> Float[Tensor, "R L"]:
    """Unbiased, never negative estimate of KL(policy || reference) per token (Schulman's k3)."""
    difference = reference - log_probs
    return difference.exp() - difference - 1.0


DIVERGENCES: Final[Mapping[KlEstimator, Divergence]] = MappingProxyType(
    {"k1": k1_divergence, "k2": k2_divergence, "k3": k3_divergence}
)
