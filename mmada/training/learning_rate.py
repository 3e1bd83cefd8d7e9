"""Learning rate as a function of the step: nothing to store, nothing to restore."""

import math


def learning_rate(step: int, *, peak: float, minimum: float, warmup_steps: int, max_steps: int) -> float:
    """Linear warm-up to `peak` over `warmup_steps`, then a cosine that reaches `minimum` at the last step.

    `step` counts from 0; the first step already moves (peak / warmup_steps).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    decay_steps = max(1, max_steps - 1 - warmup_steps)
    progress = min(1.0, (step - warmup_steps) / decay_steps)
    return minimum + (peak - minimum) * 0.5 * (1.0 + math.cos(math.pi * progress))
