"""Which samples a step trains on: a pure function of (seed, mixture, batch size, step) and the samples' keys.

Nothing here depends on the number of processes, on workers, or on what ran before; a run resumes exactly
because there is no state to restore.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmada.errors import ContractError
from mmada.shards.mixture import drawn_counts

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


class Pick(NamedTuple):
    """One row of a batch: the sample with this key, in its `epoch`-th pass (0-based) through its corpus."""

    corpus: str
    key: str
    epoch: int


@dataclass(frozen=True)
class Order:
    """The order of a training run. `keys`: corpus -> its sample keys (any order)."""

    keys: Mapping[str, Sequence[str]]
    weights: Mapping[str, float]
    batch_size: int
    seed: int
    _hashes: dict[str, NDArray[np.uint64]] = field(default_factory=dict, init=False, repr=False)
    _permutations: dict[tuple[str, int], NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        empty = sorted(corpus for corpus in self.weights if not self.keys.get(corpus))
        if empty:
            raise ContractError(
                f"the mixture names {empty}, but the shards hold no sample of it; "
                "take it out of training.<stage>.data.corpora, or look at the drop ledger in reports/select.json"
            )

    def batch(self, step: int) -> list[Pick]:
        """Rows of the global batch of `step` (0-based), grouped by corpus in alphabetical order."""
        first = drawn_counts(self.weights, step * self.batch_size)
        last = drawn_counts(self.weights, (step + 1) * self.batch_size)
        return [pick for corpus in sorted(self.weights) for pick in self._draw(corpus, first[corpus], last[corpus])]

    def _draw(self, corpus: str, first: int, last: int) -> Iterator[Pick]:
        """Samples `first` to `last` (without it) that the run draws of a corpus."""
        keys = self.keys[corpus]
        while first < last:
            epoch, position = divmod(first, len(keys))
            drawn = self._permutation(corpus, epoch)[position : position + last - first].tolist()
            yield from (Pick(corpus, keys[index], epoch) for index in drawn)
            first += len(drawn)

    def _permutation(self, corpus: str, epoch: int) -> NDArray[np.int64]:
        if (corpus, epoch) not in self._permutations:
            if corpus not in self._hashes:
                self._hashes[corpus] = np.array([hash64(key) for key in self.keys[corpus]], dtype=np.uint64)
            salt = np.uint64(hash64(f"{self.seed}:{epoch}"))
            # Sorting by a mixed hash: a sample added to a corpus does not reorder the others.
            order = np.argsort(_mix(self._hashes[corpus] ^ salt), kind="stable")
            for stale in [known for known in self._permutations if known[0] == corpus and known[1] < epoch - 1]:
                del self._permutations[stale]
            self._permutations[corpus, epoch] = order
        return self._permutations[corpus, epoch]


def hash64(text: str) -> int:
    """The first 64 bits of the sha256 of `text`."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    with np.errstate(over="ignore"):
        x = x + _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
