"""Intervals of shares: Wilson's, and Wilson's widened until it covers every share often enough."""

import functools
import math
from typing import Final

Z_95: Final = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""
_WIDENING: Final = 0.035
"""One-sided exact level up to which `covering` widens: coverage is then at least 93 % for every share and number
of trials, where Wilson's falls to 79 to 84 % beside 0 and 1 (tests/test_intervals.py).
"""


def wilson(correct: float, n: float) -> tuple[float, float]:
    """Wilson's score interval of `correct` out of `n` (Wilson 1927, JASA 22:209), 95 %; [0, 1] without trials. Both may
    be effective numbers, which need not be whole.

    Raises ValueError unless 0 <= correct <= n.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"{correct} correct of {n} items")
    if n == 0:
        return 0.0, 1.0
    p, z2 = correct / n, Z_95**2
    centre = p + z2 / (2 * n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    return 0.0 if correct == 0 else max(0.0, low), 1.0 if correct == n else min(1.0, high)


@functools.lru_cache(maxsize=4096)
def covering(correct: float, n: float) -> tuple[float, float]:
    """Wilson's interval, widened to the exact binomial limits of level _WIDENING where those lie outside it.

    Shares near 0 or 1 are those of few trials of one question, and of models that can do next to nothing or nearly all:
    there Wilson's alone is too narrow. Raises as `wilson`.
    """
    low, high = wilson(correct, n)
    return min(low, _exact_low(correct, n)), max(high, 1 - _exact_low(n - correct, n))


def _exact_low(correct: float, n: float) -> float:
    """The share that gives `correct` or more of `n` with probability _WIDENING (Clopper and Pearson 1934): their
    binomial tail is a regularised incomplete beta function.
    """
    from scipy.special import betaincinv  # takes longer to import than most commands need

    return float(betaincinv(correct, n - correct + 1, _WIDENING)) if correct else 0.0
