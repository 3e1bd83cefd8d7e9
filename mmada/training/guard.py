"""Refuses batches that would hurt the weights: a loss or gradient that is no number, or far larger than lately.

A batch is judged between its gradients and the optimiser's step, so the last good state is the one at hand: the
gradients are thrown away and nothing has to be read back.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

from mmada.errors import TrainingError


@dataclass(frozen=True)
class GuardRule:
    """When a batch is refused, and how often that may happen.

    A gradient norm is a spike when it exceeds `spike_factor` times the larger of the clipping norm and the median norm
    of the last `window` batches that were taken; 0 looks at numbers that are not finite alone. The loss itself is not
    compared: with weights 1/p it has a heavy tail, and that of a policy crosses zero.
    """

    spike_factor: float
    window: int
    max_skipped: int
    """Batches that a run may skip in all."""


@dataclass(frozen=True)
class SkippedBatch:
    """A refused batch: number of its step, from 0, why, and the keys of its samples."""

    step: int
    reason: str
    samples: tuple[str, ...]


def skipped_batches(skipped: Sequence[SkippedBatch]) -> dict[str, object]:
    """As provenance and reports tell it; nothing where no batch was skipped."""
    return {"skipped_batches": [asdict(batch) for batch in skipped]} if skipped else {}


def why_refused(loss: float, norm: float, recent: Sequence[float], rule: GuardRule, max_grad_norm: float) -> str | None:
    """Why a batch of this loss and gradient norm is refused; None when it is taken. `recent`: norms of those before."""
    if not math.isfinite(loss) or not math.isfinite(norm):
        return f"loss {loss:g} and gradient norm {norm:g} are not both finite"
    if rule.spike_factor and len(recent) == rule.window:
        usual = max(median(recent), max_grad_norm)
        if norm > rule.spike_factor * usual:
            return f"gradient norm {norm:.4g} is more than {rule.spike_factor:g} times the usual {usual:.4g}"
    return None


def check_skipped(skipped: Sequence[SkippedBatch], rule: GuardRule) -> None:
    """Raises TrainingError when more batches were skipped than the rule allows."""
    if len(skipped) > rule.max_skipped:
        last = skipped[-1]
        raise TrainingError(
            f"step {last.step + 1}: {last.reason}; {len(skipped)} batches were refused and guard.max_skipped is "
            f"{rule.max_skipped}. Look at samples {', '.join(last.samples[:3])} ..., lower optimiser.learning_rate, or "
            "raise guard.max_skipped, and run again"
        )
