"""How many samples of each corpus a training run has drawn after n samples: a pure function of the weights."""

from collections.abc import Mapping


def drawn_counts(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Samples of each corpus among the first `total` of a run.

    Webster's divisor method (sample j of a corpus is due at time (j + 1/2) / weight). It never takes a sample
    back when `total` grows, and each count stays within one of its exact share for any sensible mixture.
    """
    scale = sum(weights.values())
    shares = {corpus: weight / scale for corpus, weight in weights.items()}
    # Webster never falls two short of the exact share, so the search may start there instead of at zero.
    counts = {corpus: max(0, int(total * share) - 2) for corpus, share in shares.items()}
    names = sorted(shares)
    for _ in range(total - sum(counts.values())):
        due = min(names, key=lambda corpus: ((counts[corpus] + 0.5) / shares[corpus], corpus))
        counts[due] += 1
    return counts
