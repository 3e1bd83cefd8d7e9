"""Batches in the order of a run, read ahead by worker processes: the same for any number of them, from any step on."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from torch.utils.data import DataLoader, Dataset

from mmada.contracts.sample import Sample
from mmada.shards.order import Order, Pick
from mmada.shards.reader import ShardReader

_AHEAD: Final = 2
"""Batches that each worker reads ahead."""

Drawn = list[tuple[Pick, Sample]]
"""A global batch: what `Order.batch` picks, with the samples."""


@dataclass(frozen=True)
class _Batches(Dataset[Drawn]):
    """A run's global batches by step, as torch's loader wants them."""

    reader: ShardReader
    order: Order

    def __getitem__(self, step: int) -> Drawn:
        picks = self.order.batch(step)
        return list(zip(picks, self.reader.samples([pick.key for pick in picks]), strict=True))


@dataclass
class Loader:
    """The global batch of any step. Steps that are asked for one after the other are read ahead by `workers` processes
    (0: none is read ahead).

    A batch depends on its step alone, so there is no state to save: a run that resumes, with any number of processes
    and workers, asks for the step where it left off.
    """

    reader: ShardReader
    order: Order
    last_step: int
    workers: int = 0
    _ahead: Iterator[Drawn] | None = field(default=None, init=False)
    _next: int = field(default=-1, init=False)

    def batch(self, step: int) -> Drawn:
        """Samples of the global batch of `step`, in the order of `Order.batch`."""
        if self.workers == 0:
            return _Batches(self.reader, self.order)[step]
        if self._ahead is None or step != self._next:
            self._ahead = self._from(step)
        self._next = step + 1
        return next(self._ahead)

    def _from(self, step: int) -> Iterator[Drawn]:
        return iter(
            DataLoader(
                _Batches(self.reader, self.order),
                sampler=range(step, self.last_step),
                batch_size=None,
                num_workers=self.workers,
                prefetch_factor=_AHEAD,
            )
        )
