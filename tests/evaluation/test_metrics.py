"""Intervals against published values and by simulation; paired tests against enumeration."""

import itertools
import math
import time

import numpy as np
import pytest

from mmada.evaluation.metrics import Share, crossed_interval, mcnemar, paired_interval, share, share_of_answers
from mmada.intervals import wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3 (score without continuity correction)
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_as_published(correct: int, n: int, low: float, high: float) -> None:
    assert tuple(round(limit, 4) for limit in wilson(correct, n)) == (low, high)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of every number of items, and of every share: models that can do next to nothing too."""
    p = np.linspace(0.0005, 0.9995, 1999)
    for n in (20, 30, 100, 240):
        covered = np.zeros(p.size)
        for correct in range(n + 1):
            found = share(correct, n)
            chance = math.comb(n, correct) * p**correct * (1 - p) ** (n - correct)
            covered += np.where((found.low <= p) & (p <= found.high), chance, 0.0)
        assert covered.min() >= 0.93
        assert 0.94 <= covered.mean() <= 0.97


@pytest.mark.parametrize("alike", [0.3, 1.0, 30.0])
def test_several_answers_to_an_item_give_an_interval_that_covers(alike: float) -> None:
    """Items are right with probabilities of a beta distribution of mean 0.3; with a small sum of its parameters answers
    to one item are nearly all right or all wrong, with a large one they are as good as independent.
    """
    rng, items, per_item = np.random.default_rng(0), 60, 4
    found: list[Share] = []
    for _ in range(2000):
        chances = rng.beta(0.3 * alike, 0.7 * alike, size=items)
        found.append(share_of_answers(rng.binomial(per_item, chances), per_item))
    assert np.mean([one.low <= 0.3 <= one.high for one in found]) == pytest.approx(0.95, abs=0.02)
    widths = [one.high - one.low for one in found]
    once, independent = (share(int(0.3 * n), n) for n in (items, items * per_item))
    assert np.mean(widths) < once.high - once.low
    if alike == 30.0:
        assert np.mean(widths) == pytest.approx(independent.high - independent.low, rel=0.1)


def test_one_answer_an_item_and_answers_all_alike() -> None:
    correct = [1] * 7 + [0] * 13
    assert share_of_answers(correct, 1) == share(7, 20)
    alike, once = share_of_answers([4 * one for one in correct], 4), share(7, 20)
    assert (alike.n, alike.correct) == (80, 28)
    assert (alike.low, alike.high) == pytest.approx((once.low, once.high))
    single = share_of_answers([4], 4)
    assert (single.n, single.low, single.high) == (4, share(1, 1).low, 1.0)
    assert share_of_answers([], 4) == share(0, 0)
    none = share_of_answers([0] * 20, 4)
    assert (none.n, none.low, none.high) == (80, 0.0, share(0, 20).high)


def test_no_items_say_nothing_and_wrong_counts_are_refused() -> None:
    assert (share(0, 0).low, share(0, 0).high, share(0, 0).value) == (0.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="3 correct of 2"):
        share(3, 2)


@pytest.mark.parametrize(("a", "b"), [(0, 0), (5, 5), (0, 6), (2, 9), (30, 12)])
def test_mcnemar_is_the_exact_binomial_test(a: int, b: int) -> None:
    n = a + b
    extreme = [k for k in range(n + 1) if abs(k - n / 2) >= abs(a - n / 2)]
    assert mcnemar(a, b) == pytest.approx(sum(math.comb(n, k) for k in extreme) / 2**n)
    assert mcnemar(a, b) == mcnemar(b, a)


def test_mcnemar_of_a_large_benchmark_takes_no_time() -> None:
    began = time.process_time()
    found = mcnemar(19_900, 20_100)
    assert found == pytest.approx(math.erfc(199 / math.sqrt(2 * 40_000)), rel=1e-3)  # normal, continuity corrected
    assert time.process_time() - began < 5


@pytest.mark.parametrize("n", [10, 30, 100, 240, 1319])
def test_the_interval_of_a_change_covers_the_truth_also_where_few_items_differ(n: int) -> None:
    """Of the items some are right in the first model alone, some in the second alone: all outcomes, and all shares."""
    rarely = min(n, 100)  # more on one side have a chance of less than 1e-6 at the shares below
    outcomes = [(gained, lost) for gained in range(rarely + 1) for lost in range(min(n - gained, rarely) + 1)]
    ways = [math.lgamma(n + 1) - sum(math.lgamma(k + 1) for k in (*one, n - sum(one))) for one in outcomes]
    limits = np.array([paired_interval([1.0] * gained + [-1.0] * lost + [0.0] * (n - gained - lost))
                       for gained, lost in outcomes])  # fmt: skip
    counts = np.array(outcomes)
    shares = [share for share in (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3) if share * n <= 60]
    for gain, loss in itertools.product(shares, shares):
        chance = np.exp(ways + counts @ np.log([gain, loss]) + (n - counts.sum(1)) * math.log(1 - gain - loss))
        assert chance.sum() == pytest.approx(1, abs=1e-6)
        covered = (limits[:, 0] <= gain - loss) & (gain - loss <= limits[:, 1])
        assert chance[covered].sum() >= 0.93
        if gain == loss:
            assert chance[(limits > 0).all(1) | (limits < 0).all(1)].sum() <= 0.056, "a change is seen where none is"


def test_the_interval_of_a_change_agrees_with_theory_and_never_claims_to_know_all() -> None:
    rng = np.random.default_rng(1)
    difference = (rng.random(400) < 0.6).astype(float) - (rng.random(400) < 0.5)
    half = 1.96 * difference.std() / 20
    assert paired_interval(difference) == pytest.approx((difference.mean() - half, difference.mean() + half), abs=2e-3)
    low, high = paired_interval(-difference)
    assert (-high, -low) == pytest.approx(paired_interval(difference))
    alike = paired_interval([0.0] * 240)
    assert alike == pytest.approx((-0.0112, 0.0112), abs=1e-4)
    assert paired_interval([1.0]) == pytest.approx((-0.735, 1.0), abs=1e-3)
    with pytest.raises(ValueError, match="items"):
        paired_interval([])


@pytest.mark.parametrize("of_runs", [0.0, 0.02, 0.06])
@pytest.mark.parametrize("runs", [3, 6])
def test_an_interval_over_runs_and_items_covers_the_truth_whatever_varies_more(runs: int, of_runs: float) -> None:
    rng, covered, trials = np.random.default_rng(5), 0, 2000
    for _ in range(trials):
        run, item = rng.normal(0, of_runs, (runs, 1)), rng.normal(0, 0.3, (1, 240))
        low, high = crossed_interval(run + item + rng.normal(0, 0.3, (runs, 240)))
        covered += low <= 0 <= high
    assert 0.92 <= covered / trials <= 0.985


def test_an_interval_of_one_run_is_over_its_items() -> None:
    values = (np.arange(400) < 120).astype(float)[None]
    half = 1.966 * math.sqrt(0.3 * 0.7 / 399)
    assert crossed_interval(values) == pytest.approx((0.3 - half, 0.3 + half), abs=1e-4)
    assert crossed_interval(np.full((3, 5), 0.25)) == (0.25, 0.25)
    with pytest.raises(ValueError, match="two items"):
        crossed_interval(np.ones((3, 1)))
