"""Batches in the order of a run, read ahead by worker processes: the same for any number of them, from any step on."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate, count, pairwise
from typing import Final

import numpy as np
from torch.utils.data import DataLoader, Dataset, get_worker_info

from mmada.contracts.sample import Sample
from mmada.shards.order import Order, Pick
from mmada.shards.reader import ShardReader

_AHEAD: Final = 2
"""Batches that each worker reads ahead."""
_SLOTS: Final = _AHEAD + 1
"""Batches of a worker for which there is memory: one more, which is being unpacked."""

Drawn = list[tuple[Sample, int]]
"""Samples in the order of their global batch, each with its pass (0-based) through its corpus."""


@dataclass(frozen=True)
class _Packed:
    """A batch on its way between processes, not unpacked. Its samples lie one after the other from byte `start`."""

    picks: list[Pick]
    lengths: list[int]
    start: int


@dataclass(frozen=True)
class _Ahead(Dataset[_Packed]):
    """Batches by step, as torch's loader wants them: written by workers into memory that they share with this process.

    The memory is made once: new one for every batch would cost more than all reading does. `loader` is one that reads
    alone, not the one that holds this: torch's workers end at once only where nothing waits for garbage collection.
    """

    loader: "Loader"
    workers: int
    slot_bytes: int
    memory: mmap.mmap
    turns: Iterator[int]

    @classmethod
    def of(cls, loader: "Loader") -> "_Ahead":
        """Memory for the largest batches that there may be; what is not written to is not taken from the machine."""
        slot_bytes = loader.reader.longest * loader.order.batch_size
        memory = mmap.mmap(-1, loader.workers * _SLOTS * slot_bytes)
        return cls(replace(loader, workers=0), loader.workers, slot_bytes, memory, count())

    def __getitem__(self, step: int) -> _Packed:
        picks = self.loader.picks(step)
        members = self.loader.reader.members([pick.key for pick in picks])
        worker = get_worker_info()
        assert worker is not None, "only workers write"
        start = (worker.id * _SLOTS + next(self.turns) % _SLOTS) * self.slot_bytes
        block = b"".join(members)
        self.memory[start : start + len(block)] = block
        return _Packed(picks, [len(data) for data in members], start)

    def unpacked(self, packed: _Packed) -> Drawn:
        """The batch, which must be asked for before the next one is."""
        ends = accumulate(packed.lengths, initial=packed.start)
        unpacked, memory = self.loader.reader.unpacked, self.memory
        return [
            (unpacked(pick.key, memory[start:end]), pick.epoch)
            for pick, (start, end) in zip(packed.picks, pairwise(ends), strict=True)
        ]

    def from_step(self, step: int) -> Iterator[_Packed]:
        """All from this step on."""
        steps = range(step, self.loader.last_step)
        workers = {"num_workers": self.workers, "prefetch_factor": _AHEAD, "multiprocessing_context": "fork"}
        return iter(DataLoader(self, sampler=steps, batch_size=None, **workers))  # type: ignore[arg-type]  # by name


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
    _ahead: tuple[_Ahead, Iterator[_Packed]] | None = field(default=None, init=False)
    _next: int = field(default=-1, init=False)

    def keys(self, step: int) -> list[str]:
        """Keys of the whole global batch of `step`; nothing is read for them."""
        return [pick.key for pick in self.order.batch(step)]

    def picks(self, step: int) -> list[Pick]:
        """Samples of `step` that are this process's: dealt out by size, so that all get about as much to compute."""
        picks = self.order.batch(step)
        if self.world == 1:
            return picks
        by_size = np.argsort(self.reader.lengths([pick.key for pick in picks]), kind="stable")
        return [picks[index] for index in np.sort(by_size[self.rank :: self.world])]

    def batch(self, step: int) -> Drawn:
        """Samples of `step` that are this process's, in the order of `Order.batch`, each with its epoch."""
        if self.workers == 0:
            picks = self.picks(step)
            samples = self.reader.samples([pick.key for pick in picks])
            return [(sample, pick.epoch) for sample, pick in zip(samples, picks, strict=True)]
        if self._ahead is None or step != self._next:
            self._ahead = None  # its workers end before others start
            ahead = _Ahead.of(self)
            self._ahead = ahead, ahead.from_step(step)
        self._next = step + 1
        ahead, batches = self._ahead
        return ahead.unpacked(next(batches))
