"""Batches in the order of a run, read ahead by worker processes: the same for any number of them, from any step on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmada.contracts.sample import Sample
from mmada.shards.order import Order, Pick
from mmada.shards.reader import ShardReader

_AHEAD: Final = 2
"""Batches that each worker reads ahead."""

Drawn = list[tuple[Sample, int]]
"""Samples in the order of their global batch, each with its pass (0-based) through its corpus."""


@dataclass(frozen=True)
class _Packed:
    """A batch on its way between processes, not unpacked: one block of bytes instead of many small objects."""

    picks: list[Pick]
    lengths: list[int]
    members: Tensor
    """Bytes of all samples, one after the other; torch hands them over in shared memory."""


@dataclass(frozen=True)
class _Batches(Dataset[_Packed]):
    """One process's share of a run's global batches by step, as torch's loader wants them."""

    reader: ShardReader
    order: Order
    rank: int
    world: int

    def __getitem__(self, step: int) -> _Packed:
        picks = self.picks(step)
        members = self.reader.members([pick.key for pick in picks])
        block = torch.frombuffer(bytearray().join(members), dtype=torch.uint8)
        return _Packed(picks, [len(data) for data in members], block)

    def picks(self, step: int) -> list[Pick]:
        """Samples are dealt out by their size, so that all processes get about as much to compute."""
        picks = self.order.batch(step)
        if self.world == 1:
            return picks
        by_size = np.argsort(self.reader.lengths([pick.key for pick in picks]), kind="stable")
        return [picks[index] for index in np.sort(by_size[self.rank :: self.world])]

    def unpacked(self, packed: _Packed) -> Drawn:
        data = packed.members.numpy()
        ends = accumulate(packed.lengths, initial=0)
        return [
            (self.reader.unpacked(pick.key, data[start:end].tobytes()), pick.epoch)
            for pick, (start, end) in zip(packed.picks, pairwise(ends), strict=True)
        ]


@dataclass
class Loader:
    """The global batch of any step, or the share that process `rank` of `world` has in it. Steps that are asked for one
    after the other are read ahead by `workers` processes (0: none is read ahead).

    A batch depends on its step alone, so there is no state to save: a run that resumes, with any number of processes
    and workers, asks for the step where it left off.
    """

    reader: ShardReader
    order: Order
    last_step: int
    workers: int = 0
    rank: int = 0
    world: int = 1
    _ahead: Iterator[_Packed] | None = field(default=None, init=False)
    _next: int = field(default=-1, init=False)

    def keys(self, step: int) -> list[str]:
        """Keys of the whole global batch of `step`; nothing is read for them."""
        return [pick.key for pick in self.order.batch(step)]

    def batch(self, step: int) -> Drawn:
        """Samples of `step` that are this process's, in the order of `Order.batch`, each with its epoch."""
        batches = _Batches(self.reader, self.order, self.rank, self.world)
        if self.workers == 0:
            return batches.unpacked(batches[step])
        if self._ahead is None or step != self._next:
            self._ahead = self._from(step, batches)
        self._next = step + 1
        return batches.unpacked(next(self._ahead))

    def _from(self, step: int, batches: _Batches) -> Iterator[_Packed]:
        return iter(
            DataLoader(
                batches,
                sampler=range(step, self.last_step),
                batch_size=None,
                num_workers=self.workers,
                prefetch_factor=_AHEAD,
            )
        )
