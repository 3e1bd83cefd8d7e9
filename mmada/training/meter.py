"""What a run measures of itself between two logged steps."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmada.model.flops import Work, training_flops
from mmada.model.transformer import Transformer
from mmada.numerics import peak_flops
from mmada.training.parallel import World, all_sum


@dataclass(frozen=True)
class StepTotals:
    """One step over all processes. `stop`: whether any of them was asked to end."""

    loss: float
    tokens: int
    stop: bool


class Meter:
    """Sums of metrics, work and time since they were last read. Batches that were refused leave no trace in them."""

    def __init__(self, names: Sequence[str], model: Transformer, world: World) -> None:
        self._names = names
        self._config = model.config
        self._device = model.device
        self._world = world
        self._begin_step()
        self._reset()

    def _begin_step(self) -> None:
        self._step_sums: Float[Tensor, "n 2"] | None = None
        self._step_loss = torch.zeros((), device=self._device)
        self._step_work = Work(0, 0, 0, 0)
        self._step_totals: list[float] = []

    def _reset(self) -> None:
        self._sums: Float[Tensor, "n 2"] | None = None
        self._totals = [0.0, 0.0, 0.0]
        self._waited = 0.0
        self._since = time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what makes the batches of a step."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def add(self, metrics: Float[Tensor, "n 2"], loss: Float[Tensor, ""], work: Work) -> None:
        """Add one micro-batch."""
        self._step_sums = metrics if self._step_sums is None else self._step_sums + metrics
        self._step_loss = self._step_loss + loss.detach()
        self._step_work += work

    def end_step(self, *, stop: bool) -> StepTotals:
        """Sum the step over all processes; `keep` takes it in, otherwise it is forgotten."""
        work = self._step_work
        counted = [float(work.tokens), float(work.slots), float(training_flops(self._config, work)), float(stop)]
        on_device = torch.tensor(counted, dtype=torch.float64, device=self._device)
        *totals, stops, loss = all_sum(torch.cat([on_device, self._step_loss.double()[None]]), self._world).tolist()
        self._step_totals = totals
        return StepTotals(loss=loss, tokens=int(totals[0]), stop=stops > 0)

    def keep(self) -> None:
        """Take in the step that has ended."""
        assert self._step_sums is not None, "a step has at least one micro-batch"
        self._sums = self._step_sums if self._sums is None else self._sums + self._step_sums
        self._totals = [a + b for a, b in zip(self._totals, self._step_totals, strict=True)]
        self._begin_step()

    def drop(self) -> None:
        """Forget the step that has ended."""
        self._begin_step()

    def drain(self) -> dict[str, float]:
        """Means over all processes since the last call (without uncounted metrics), and how fast it went.

        `data_wait`: share of this process's time; `padding_share`: share of the network's slots; `mfu`: share of the
        peak of the processors, where that is known. Empty when every batch since then was refused.
        """
        if self._sums is None:
            return {}
        seconds = max(1e-9, time.monotonic() - self._since)
        tokens, slots, flops = self._totals
        pairs = all_sum(self._sums, self._world).tolist()
        values = {name: total / count for name, (total, count) in zip(self._names, pairs, strict=True) if count}
        values |= {
            "tokens_per_second": tokens / seconds,
            "flops_per_second": flops / seconds,
            "padding_share": 1 - tokens / slots,
            "data_wait": self._waited / seconds,
        }
        peak = peak_flops(self._device)
        if peak is not None:
            values["mfu"] = flops / seconds / (peak * self._world.size)
        self._reset()
        return values
