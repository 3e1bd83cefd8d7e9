"""Intervals cover the true share as often as they claim."""

import math

import numpy as np
import pytest

from mmada.intervals import covering, wilson

SHARES = np.linspace(0.001, 0.999, 999)


def _coverage(n: int) -> np.ndarray:
    """Probability at each of SHARES that the interval of n trials holds it."""
    covered = np.zeros(SHARES.size)
    for correct in range(n + 1):
        low, high = covering(correct, n)
        chance = math.comb(n, correct) * SHARES**correct * (1 - SHARES) ** (n - correct)
        covered += np.where((low <= SHARES) & (high >= SHARES), chance, 0.0)
    return covered


@pytest.mark.parametrize("n", [1, 2, 4, 5, 8, 16, 32, 64])
def test_coverage_is_at_least_93_percent_for_every_share(n: int) -> None:
    assert _coverage(n).min() >= 0.93


@pytest.mark.parametrize("n", [16, 32, 64])
def test_coverage_averages_between_94_and_97_percent(n: int) -> None:
    assert 0.94 <= _coverage(n).mean() <= 0.9705


def test_intervals_hold_the_observed_share_and_mirror() -> None:
    for n in (1, 5, 40):
        for correct in range(n + 1):
            for interval in (wilson, covering):
                low, high = interval(correct, n)
                assert 0.0 <= low <= correct / n <= high <= 1.0
                assert (1 - high, 1 - low) == pytest.approx(interval(n - correct, n), abs=1e-12)
            assert covering(correct, n)[0] <= wilson(correct, n)[0]


def test_nothing_is_known_without_trials_and_nonsense_is_refused() -> None:
    assert wilson(0, 0) == covering(0, 0) == (0.0, 1.0)
    for correct, n in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="items"):
            covering(correct, n)


def test_many_trials_take_no_time_and_come_near_the_normal_interval() -> None:
    for n in (1_100, 10**6):
        for correct in (0, 3, n // 2, n):
            low, high = covering(correct, n)
            assert 0.0 <= low <= correct / n <= high <= 1.0
        half = 1.96 * 0.5 / math.sqrt(n)
        assert covering(n // 2, n) == pytest.approx((0.5 - half, 0.5 + half), abs=0.1 * half)
