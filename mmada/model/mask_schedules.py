"""Share of image tokens that are masked, as a function of progress: 1 at 0 and 0 at 1.

Used for training noise (progress uniform in [0, 1]) and for MaskGIT decoding (progress (k+1)/steps).
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from jaxtyping import Float
from torch import Tensor

ScheduleName = Literal["cosine", "linear", "pow", "sigmoid"]
Schedule = Callable[[Float[Tensor, "*shape"]], Float[Tensor, "*shape"]]

_SIGMOID_START, _SIGMOID_END, _SIGMOID_TAU = -3.0, 3.0, 1.0


def cosine(progress: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """cos(pi/2 * u): the published schedule."""
    return (progress * (math.pi * 0.5)).cos()


def linear(progress: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """1 - u."""
    return 1.0 - progress


def power(progress: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """1 - u^2."""
    return 1.0 - progress.square()


def sigmoid(progress: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """A logistic fall between -3 and 3, rescaled to run from 1 to 0 (arXiv:2212.11972)."""
    low = (progress.new_tensor(_SIGMOID_START / _SIGMOID_TAU)).sigmoid()
    high = (progress.new_tensor(_SIGMOID_END / _SIGMOID_TAU)).sigmoid()
    value = ((progress * (_SIGMOID_END - _SIGMOID_START) + _SIGMOID_START) / _SIGMOID_TAU).sigmoid()
    return ((high - value) / (high - low)).clamp(0.0, 1.0)


MASK_SCHEDULES: Final[Mapping[ScheduleName, Schedule]] = MappingProxyType(
    {"cosine": cosine, "linear": linear, "pow": power, "sigmoid": sigmoid}
)
