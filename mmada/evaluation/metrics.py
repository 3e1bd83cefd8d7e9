"""Statistics of right and wrong: intervals that hold for small samples, and paired comparisons."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mmada.intervals import Z_95, covering


@dataclass(frozen=True)
class Share:
    """`correct` of `n` items, with its 95 % interval."""

    n: int
    correct: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """correct / n; 0 without items."""
        return self.correct / self.n if self.n else 0.0

    def to_json(self) -> dict[str, float | int]:
        """Counts, value and interval, rounded to six places."""
        return {
            "n": self.n,
            "correct": self.correct,
            "share": round(self.value, 6),
            "low": round(self.low, 6),
            "high": round(self.high, 6),
        }


def share(correct: int, n: int) -> Share:
    """The share with an interval that also holds near 0, near 1 and for small n (intervals.covering).

    Raises ValueError unless 0 <= correct <= n. Without items the interval is [0, 1]: nothing is known.
    """
    low, high = covering(correct, n)
    return Share(n, correct, low, high)


def share_of_answers(correct: Sequence[int] | Int[np.ndarray, "items"], per_item: int) -> Share:
    """The share of right answers where every item was answered `per_item` times, `correct` of them rightly.

    Answers to one item are alike and tell less than as many items would: the interval is that of so many independent
    answers as have a share that varies like the mean of the items' own shares (the effective sample size of Korn and
    Graubard 1998, Survey Methodology 24:193). Raises ValueError as `share`.
    """
    items, total = len(correct), int(sum(correct))
    n = items * per_item
    plain = share(total, n)
    if per_item == 1 or not items:
        return plain
    alone, together = plain.value * (1 - plain.value), math.inf  # how alike answers to a single item are, nobody knows
    if items > 1:
        together = float(np.var(np.asarray(correct) / per_item, ddof=1)) / items
    effective = float(np.clip(alone / together, items, n)) if together else float(items if alone == 0 else n)
    low, high = covering(plain.value * effective, effective)
    return Share(n, total, low, high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value of the exact McNemar test: of the items that exactly one of two models gets right, is
    it as often the one as the other? (binomial with probability 1/2; 1.0 when the models never differ)
    """
    n = only_first + only_second
    if n == 0:
        return 1.0
    tail = ways = 1
    for k in range(1, min(only_first, only_second) + 1):
        ways = ways * (n - k + 1) // k  # each binomial coefficient from the one before: math.comb takes minutes
        tail += ways
    return min(1.0, float(2 * tail / 2**n))


def paired_interval(difference: Sequence[float] | Float[np.ndarray, "items"]) -> tuple[float, float]:
    """95 % interval of the mean difference, in [-1, 1], of two models' shares of right answers to the same items.

    The normal interval after z^2 / 2 items more, half of them +1 and half -1: what Agresti and Coull (1998, American
    Statistician 52:119) do for one share. Few items that differ are no proof that models are alike, and those all on
    one side no proof that they are not. Raises ValueError without items.
    """
    if not len(difference):
        raise ValueError("a difference needs items")
    observed, added = np.asarray(difference, dtype=np.float64), Z_95**2 / 2
    n = len(observed) + added
    centre, square = float(observed.sum()) / n, (float((observed**2).sum()) + added) / n
    half = Z_95 * math.sqrt((square - centre**2) / n)
    return max(-1.0, centre - half), min(1.0, centre + half)


def crossed_interval(values: Float[np.ndarray, "runs items"]) -> tuple[float, float]:
    """95 % interval of the mean where every run met every item, for other runs and other items of their kinds.

    Runs and items are both random and crossed: the variance of the mean is (MS_runs + MS_items - MS_rest) / (runs x
    items), never less than the greater of the first two alone gives, with Satterthwaite's degrees of freedom (Clark
    1973, Journal of Verbal Learning and Verbal Behavior 12:335; Satterthwaite 1946, Biometrics 2:110). Of one run it is
    the interval over items: how runs differ is not known then. Raises ValueError for fewer than two items.
    """
    from scipy.special import stdtrit  # takes longer to import than most commands need

    runs, items = values.shape
    if items < 2:
        raise ValueError(f"an interval needs two items or more, not {items}")
    centre, of_run, of_item = float(values.mean()), values.mean(1), values.mean(0)
    by_item = runs * float(of_item.var(ddof=1))
    if runs == 1:
        squares, freedom = by_item, float(items - 1)
    else:
        by_run = items * float(of_run.var(ddof=1))
        left = values - of_run[:, None] - of_item[None] + centre
        rest = float((left**2).sum()) / ((runs - 1) * (items - 1))
        squares = max(by_run + by_item - rest, by_run, by_item)
        parts = ((by_run, runs - 1), (by_item, items - 1), (rest, (runs - 1) * (items - 1)))
        spread = sum(part**2 / degrees for part, degrees in parts)
        freedom = squares**2 / spread if spread else float(items - 1)
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(squares / (runs * items))
    return centre - half, centre + half
