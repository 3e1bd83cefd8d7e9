"""The one training loop: pretraining, fine-tuning and reinforcement learning differ by objective and data
only.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Literal

import torch
from torch.optim import Optimizer
from tqdm import tqdm

from mmada.errors import PreemptedError
from mmada.model.transformer import Transformer
from mmada.numerics import cpu_multiplies_bf16
from mmada.progress import progress_bar
from mmada.training.average import Average
from mmada.training.checkpoints import Position, ResumeStates
from mmada.training.guard import GuardRule, SkippedBatch, check_skipped, why_refused
from mmada.training.learning_rate import learning_rate
from mmada.training.meter import Meter, StepTotals
from mmada.training.objectives import Objective
from mmada.training.optimisers import make_optimisers
from mmada.training.parallel import World, all_sum, gathered
from mmada.training.stopping import StopRequest

OnMetrics = Callable[[str, int, Mapping[str, float]], None]
Publish = Callable[[Position], None]
OnSaved = Callable[[int, Transformer], None]


@dataclass(frozen=True)
class TrainSettings:
    """How the weights move, and how often the run looks back.

    `muon_learning_rate`: peak rate of Muon for the matrices inside the blocks; 0 leaves them to AdamW.
    `checkpoint_every`, `publish_every`: steps between resume states, and between published checkpoints (0: none).
    `ema_decay`: of the average of the weights that is published in their place; 0: the weights themselves are.
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
    ema_decay: float
    guard: GuardRule
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
    state_dir: Path | str,
    world: World,
    on_metrics: OnMetrics,
    publish: Publish,
    label: str,
    on_saved: OnSaved | None = None,
) -> TrainResult:
    """Train `model` in place, continuing from the newest state of this run at `state_dir` (state_places.open_states).

    On a CPU with fixed threads a run that was killed and continued ends with the same bytes as one that was
    not. `on_metrics(run, step, values)` is called on every process every `log_every` steps and after the last.
    `publish(position)` is called on every process when a checkpoint is due, but not after the last step: the finished
    model is the stage's output.
    `on_saved(step, model)` is called on every process after a resume state is taken; it must leave the model, its mode
    and the global random numbers as they are. Both find the weights that are published in the model.

    Raises TrainingError when too many batches were refused (mmada.training.guard), and PreemptedError when the process
    got SIGTERM or SIGUSR1: the iteration under way is finished and saved before.
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
    average = Average(model, settings.ema_decay)
    states = ResumeStates(state_dir, model, optimisers, average, world)
    position = states.load(run=settings.run) or Position(0, 0, settings.run)
    began = time.monotonic()
    meter = Meter(objective.metric_names, model, world)
    run = _Run(model, optimisers, average, objective, settings, world, meter)
    values: Mapping[str, float] = {}
    span = objective.steps_per_iteration
    bar = progress_bar(label, settings.max_steps, "step", initial=position.step, disable=not world.is_first)
    stopped = False
    with bar, StopRequest() as stop, states:
        while position.step < settings.max_steps and not stopped:
            rate = _set_learning_rate(optimisers, position.step, settings)
            norm, totals = run.gradients(position.step, stop)
            position = run.move_or_skip(position, norm, totals)
            done, is_last = position.step, position.step == settings.max_steps
            stopped = totals.stop and done % span == 0 and not is_last
            bar.update()
            if done % settings.log_every == 0 or is_last:
                values = {"learning_rate": rate, **_norms(norm, position), **meter.drain()}
                shown = {k: f"{v:.3f}" for k, v in values.items() if k.startswith(("loss/", "reward"))}
                bar.set_postfix(shown, refresh=False)
                on_metrics(settings.run, done, values)
            # Published before the state is saved: a run that is continued behind this step has published it.
            if settings.publish_every and not is_last and _is_due(done, settings.publish_every, span):
                with average.in_place():
                    publish(position)
            if is_last or stopped or _is_due(done, settings.checkpoint_every, span):
                states.save(position)
                if on_saved is not None:
                    with average.in_place():
                        on_saved(done, model)
    if stopped:
        raise PreemptedError(
            f"{label}: asked to end after step {position.step} of {settings.max_steps}; its state is saved, "
            "run the same command again to go on"
        )
    average.replace_weights()
    return TrainResult(position.step, position.tokens, time.monotonic() - began, values)


@dataclass(frozen=True)
class _Run:
    """What moves together in a run."""

    model: Transformer
    optimisers: Sequence[Optimizer]
    average: Average
    objective: Objective
    settings: TrainSettings
    world: World
    meter: Meter

    def gradients(self, step: int, stop: StopRequest) -> tuple[float, StepTotals]:
        """Gradients of a batch over all micro-batches, clipped; returns their norm before that, and the totals."""
        settings, device = self.settings, self.model.device
        precision = partial(torch.autocast, device.type, torch.bfloat16, enabled=settings.precision == "bf16")
        with self.meter.waiting(), precision():
            parts = self.objective.parts(self.model, step)
        totals = all_sum(torch.stack([part.denominators for part in parts]).sum(0), self.world)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        for index, part in enumerate(parts):
            if self.world.size > 1:
                self.model.set_requires_gradient_sync(index == len(parts) - 1)  # type: ignore[operator]  # FSDP2's
            # A cache would keep the bf16 copies of all weights until the end of forward, sharded or not.
            with precision(cache_enabled=False):
                loss, metrics = part.loss(self.model, totals)
            # FSDP averages gradients over processes; the loss is already a share of the global one.
            (loss * self.world.size).backward()  # type: ignore[no-untyped-call]  # torch leaves backward unannotated
            self.meter.add(metrics, loss, part.work)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.max_grad_norm)
        return float(gathered(norm)), self.meter.end_step(stop=stop.asked)

    def move_or_skip(self, position: Position, norm: float, totals: StepTotals) -> Position:
        """Let the optimisers move the weights, unless the guard refuses the batch; where the run stands then."""
        guard = self.settings.guard
        reason = why_refused(totals.loss, norm, position.norms, guard, self.settings.max_grad_norm)
        if reason is None:
            for optimiser in self.optimisers:
                optimiser.step()
            self.average.update()
            self.meter.keep()
            return position.moved(tokens=totals.tokens, loss=totals.loss, norm=norm, window=guard.window)
        self.meter.drop()
        batch = SkippedBatch(position.step, reason, self.objective.samples(position.step))
        position = position.without(batch)
        check_skipped(position.skipped, guard)
        if self.world.is_first:
            tqdm.write(f"step {position.step}: skipped its {len(batch.samples)} samples: {reason}")
        return position


def _norms(norm: float, position: Position) -> dict[str, float]:
    """The gradient norm where it is a number, and how many batches were skipped where any was."""
    values = {"grad_norm": norm} if isfinite(norm) else {}
    return values | ({"skipped_batches": float(len(position.skipped))} if position.skipped else {})


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


def _is_due(done: int, every: int, span: int) -> bool:
    """Whether step `done` ends the first iteration (of `span` steps) that reaches a multiple of `every`."""
    return done % span == 0 and done // every > (done - span) // every
