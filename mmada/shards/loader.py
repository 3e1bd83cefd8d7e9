"""Batches in the order of a run, read ahead by worker processes: the same for any number of them, from any step on."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from math import prod
from operator import attrgetter
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmada.contracts.sample import Sample
from mmada.shards.order import Order
from mmada.shards.reader import ShardReader

_AHEAD: Final = 2
"""Batches that each worker reads ahead."""

Drawn = list[tuple[Sample, int]]
"""A global batch in its order: samples, each with its pass (0-based) through its corpus."""

_TEXTS: Final = tuple(part.name for part in fields(Sample) if part.name != "codes")
_texts: Final = attrgetter(*_TEXTS)


@dataclass(frozen=True)
class _Packed:
    """A batch on its way between processes: a few large objects instead of many small ones."""

    texts: list[tuple[Any, ...]]
    epochs: list[int]
    grids: list[tuple[int, ...] | None]
    codes: Tensor
    """Codes of all pictures, one after the other; torch hands them over in shared memory."""

    @classmethod
    def of(cls, drawn: Drawn) -> "_Packed":
        """The batch, packed."""
        pictures = [sample.codes for sample, _ in drawn]
        flat = [codes.ravel() for codes in pictures if codes is not None]
        return cls(
            texts=[_texts(sample) for sample, _ in drawn],
            epochs=[epoch for _, epoch in drawn],
            grids=[None if codes is None else codes.shape for codes in pictures],
            codes=torch.from_numpy(np.concatenate([np.empty(0, np.uint16), *flat])),
        )

    def drawn(self) -> Drawn:
        """The batch."""
        codes, start = self.codes.numpy(), 0
        found = []
        for texts, epoch, grid in zip(self.texts, self.epochs, self.grids, strict=True):
            end = start + prod(grid or (0,))
            values = (*texts, codes[start:end].reshape(grid) if grid else None)
            found.append((Sample(*values), epoch))
            start = end
        return found


def _drawn(reader: ShardReader, order: Order, step: int) -> Drawn:
    picks = order.batch(step)
    samples = reader.samples([pick.key for pick in picks])
    return [(sample, pick.epoch) for sample, pick in zip(samples, picks, strict=True)]


@dataclass(frozen=True)
class _Batches(Dataset[_Packed]):
    """A run's global batches by step, as torch's loader wants them."""

    reader: ShardReader
    order: Order

    def __getitem__(self, step: int) -> _Packed:
        return _Packed.of(_drawn(self.reader, self.order, step))


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
    _ahead: Iterator[_Packed] | None = field(default=None, init=False)
    _next: int = field(default=-1, init=False)

    def batch(self, step: int) -> Drawn:
        """Samples of the global batch of `step`, in the order of `Order.batch`, each with its epoch."""
        if self.workers == 0:
            return _drawn(self.reader, self.order, step)
        if self._ahead is None or step != self._next:
            self._ahead = self._from(step)
        self._next = step + 1
        return next(self._ahead).drawn()

    def _from(self, step: int) -> Iterator[_Packed]:
        return iter(
            DataLoader(
                _Batches(self.reader, self.order),
                sampler=range(step, self.last_step),
                batch_size=None,
                num_workers=self.workers,
                prefetch_factor=_AHEAD,
            )
        )
