"""The one training loop: pretraining, fine-tuning and reinforcement learning differ by objective and data
only.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from mmada.model.transformer import Transformer
from mmada.numerics import cpu_multiplies_bf16
from mmada.progress import progress_bar
from mmada.training.checkpoints import Position, load_state, save_state
from mmada.training.learning_rate import learning_rate
from mmada.training.objectives import Objective
from mmada.training.optimisers import make_optimisers
from mmada.training.parallel import World, all_sum, gathered

OnMetrics = Callable[[int, Mapping[str, float]], None]
Publish = Callable[[int], None]
OnSaved = Callable[[int, Transformer], None]


@dataclass(frozen=True)
class TrainSettings:
    """How the weights move, and how often the run looks back.

    `muon_learning_rate`: peak rate of Muon for the matrices inside the blocks; 0 leaves them to AdamW.
    `checkpoint_every`, `publish_every`: steps between resume states, and between published checkpoints (0: none).
    `run`: digest of all that the result depends on; guards against continuing another run's state.
    """

    max_steps: int
    learning_rate: float
    muon_learning_rate: float
    min_learning_rate: float
    warmup_steps: int
    weight_decay: float
    betas: tuple[float, float]
    max_grad_norm: float
    precision: Literal["fp32", "bf16"]
    threads: int
    checkpoint_every: int
    publish_every: int
    log_every: int
    run: str


@dataclass(frozen=True)
class TrainResult:
    """What a finished run did; `metrics` of the last logged span, `seconds` of this process."""

    steps: int
    tokens: int
    seconds: float
    metrics: Mapping[str, float]


def train(
    model: Transformer,
    objective: Objective,
    settings: TrainSettings,
    *,
    state_dir: Path,
    world: World,
    on_metrics: OnMetrics,
    publish: Publish,
    label: str,
    on_saved: OnSaved | None = None,
) -> TrainResult:
    """Train `model` in place, continuing from the newest state of this run below `state_dir`.

    On a CPU with fixed threads a run that was killed and continued ends with the same bytes as one that was
    not. `on_metrics(step, values)` is called on every process every `log_every` steps and after the last.
    `publish(step)` is called on every process when a checkpoint is due, but not after the last step: the finished
    model is the stage's output.
    `on_saved(step, model)` is called on every process after a resume state is whole; it must leave the model, its mode
    and the global random numbers as they are.
    """
    torch.set_num_threads(settings.threads)
    _warn_of_slow_bf16(model, settings, world)
    model.train()
    optimisers = make_optimisers(
        model,
        learning_rate=settings.learning_rate,
        muon_learning_rate=settings.muon_learning_rate,
        weight_decay=settings.weight_decay,
        betas=settings.betas,
    )
    position = load_state(state_dir, model, optimisers, run=settings.run) or Position(0, 0, settings.run)
    began = time.monotonic()
    meter = _Meter(objective.metric_names, world)
    values: Mapping[str, float] = {}
    bar = progress_bar(label, settings.max_steps, "step", initial=position.step, disable=not world.is_first)
    with bar:
        for step in range(position.step, settings.max_steps):
            rate = _set_learning_rate(optimisers, step, settings)
            norm = _update(model, optimisers, objective, step, settings, world, meter)
            done = step + 1
            position = Position(done, position.tokens + meter.last_tokens, settings.run)
            bar.update()
            if done % settings.log_every == 0 or done == settings.max_steps:
                values = {"learning_rate": rate, "grad_norm": norm, **meter.drain()}
                shown = {k: f"{v:.3f}" for k, v in values.items() if k.startswith(("loss/", "reward"))}
                bar.set_postfix(shown, refresh=False)
                on_metrics(done, values)
            span = objective.steps_per_iteration
            # Published before the state is saved: a run that is continued behind this step has published it.
            if settings.publish_every and done < settings.max_steps and _is_due(done, settings.publish_every, span):
                publish(done)
            if done == settings.max_steps or _is_due(done, settings.checkpoint_every, span):
                save_state(state_dir, model, optimisers, position, world)
                if on_saved is not None:
                    on_saved(done, model)
    return TrainResult(position.step, position.tokens, time.monotonic() - began, values)


def _warn_of_slow_bf16(model: Transformer, settings: TrainSettings, world: World) -> None:
    on_cpu = model.device.type == "cpu"
    if settings.precision == "bf16" and on_cpu and world.is_first and not cpu_multiplies_bf16():
        tqdm.write("this processor has no bf16 instructions: `precision: fp32` trains about 20 times faster on it")


def _set_learning_rate(optimisers: Sequence[Optimizer], step: int, settings: TrainSettings) -> float:
    """Move every optimiser to the same share of its peak; returns AdamW's rate."""
    rate = learning_rate(
        step,
        peak=settings.learning_rate,
        minimum=settings.min_learning_rate,
        warmup_steps=settings.warmup_steps,
        max_steps=settings.max_steps,
    )
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = optimiser.defaults["lr"] * rate / settings.learning_rate
    return rate


def _update(
    model: Transformer,
    optimisers: Sequence[Optimizer],
    objective: Objective,
    step: int,
    settings: TrainSettings,
    world: World,
    meter: "_Meter",
) -> float:
    """One optimiser step over all micro-batches; returns the gradient norm before clipping."""
    device = model.device
    precision = partial(torch.autocast, device.type, torch.bfloat16, enabled=settings.precision == "bf16")
    with precision():
        parts = objective.parts(model, step)
    totals = all_sum(torch.stack([part.denominators for part in parts]).sum(0), world)
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    for index, part in enumerate(parts):
        if world.size > 1:
            model.set_requires_gradient_sync(index == len(parts) - 1)  # type: ignore[operator]  # added by FSDP2
        with precision():
            loss, metrics = part.loss(model, totals)
        # FSDP averages gradients over processes; the loss is already a share of the global one.
        (loss * world.size).backward()  # type: ignore[no-untyped-call]  # torch leaves backward unannotated
        meter.add(metrics, part.num_tokens)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
    for optimiser in optimisers:
        optimiser.step()
    meter.end_step()
    return float(gathered(norm))


def _is_due(done: int, every: int, span: int) -> bool:
    """Whether step `done` ends the first iteration (of `span` steps) that reaches a multiple of `every`."""
    return done % span == 0 and done // every > (done - span) // every


class _Meter:
    """Sums of metrics, tokens and time since they were last read."""

    def __init__(self, names: Sequence[str], world: World) -> None:
        self.names = names
        self.world = world
        self.last_tokens = 0
        self._reset()

    def _reset(self) -> None:
        self.sums: Float[Tensor, "n 2"] | None = None
        self.tokens = 0
        self.step_tokens = 0
        self.since = time.monotonic()

    def add(self, metrics: Float[Tensor, "n 2"], num_tokens: int) -> None:
        """Add one micro-batch."""
        self.sums = metrics if self.sums is None else self.sums + metrics
        self.step_tokens += num_tokens

    def end_step(self) -> None:
        """Close a step: its tokens over all processes."""
        assert self.sums is not None, "a step has at least one micro-batch"
        tokens = torch.tensor(float(self.step_tokens), device=self.sums.device)
        self.last_tokens = int(all_sum(tokens, self.world))
        self.tokens += self.last_tokens
        self.step_tokens = 0

    def drain(self) -> dict[str, float]:
        """Means over all processes since the last call (without uncounted metrics), and tokens/s."""
        assert self.sums is not None, "no step since the last reading"
        pairs = all_sum(self.sums, self.world).tolist()
        values = {name: total / count for name, (total, count) in zip(self.names, pairs, strict=True) if count}
        values["tokens_per_second"] = self.tokens / max(1e-9, time.monotonic() - self.since)
        self._reset()
        return values
