"""What the loop trains: an objective turns a step into micro-batches, each of which knows its loss.

Shapes: B sequences, L tokens, T tasks, K denominators, n metrics.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmada.contracts.sample import TASKS, Task
from mmada.model.flops import Work
from mmada.model.losses import (
    LossName,
    Vocabulary,
    all_row_weights,
    by_task,
    scored_tokens,
    target_groups,
    token_log_probs,
)
from mmada.model.masking import Noised, NoiseRule, add_noise, uniforms
from mmada.model.packing import Packing, pack
from mmada.model.sequences import Batch, Layout, Padding, Row, collate, lay_out
from mmada.model.transformer import Transformer
from mmada.text_tokenizer import TextTokenizer
from mmada.training.parallel import World, all_max
from mmada.vocab import Vocab

RowSource = Callable[[int], Sequence[Row]]
"""This process's rows of global batch number n: a pure function of n. All processes get as many, but for one."""

KeySource = Callable[[int], Sequence[str]]
"""Keys of all rows of global batch number n, the same on every process."""

MASK_BINS: Final = 4
"""Metrics are kept apart by the share of masked tokens, in so many equal bins."""


class Part(Protocol):
    """One micro-batch of a step on this process."""

    @property
    def work(self) -> Work:
        """What it asks of the network."""

    @property
    def denominators(self) -> Float[Tensor, "K"]:
        """What this part adds to the loss's denominators; the loop sums over parts and processes."""

    def loss(self, model: Transformer, totals: Float[Tensor, "K"]) -> tuple[Float[Tensor, ""], Float[Tensor, "n 2"]]:
        """This part's share of the global loss, and (sum, count) of each metric."""


class Objective(Protocol):
    """A training objective."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the n metrics."""

    @property
    def steps_per_iteration(self) -> int:
        """A run may be cut only between iterations of so many steps."""

    def samples(self, step: int) -> tuple[str, ...]:
        """Keys of the samples of a step's global batch."""

    def parts(self, model: Transformer, step: int) -> Sequence[Part]:
        """Micro-batches of a step; their number is the same on every process."""


@dataclass(frozen=True)
class Material:
    """What every objective works with. `num_parts`: micro-batches per step (gradient accumulation)."""

    rows: RowSource
    keys: KeySource
    tokenizer: TextTokenizer
    vocab: Vocab
    world: World
    seed: int
    num_parts: int


@dataclass(frozen=True)
class MaskedPredictionSettings:
    """Choices of masked prediction.

    `coefficients`: weight of each task's loss. `window`: response tokens that are filled up with eos, per
    task. `packing`: several samples share a row of the network; the losses are the same but for rounding.
    """

    coefficients: dict[Task, float]
    window: dict[Task, int]
    loss: LossName
    vocabulary: Vocabulary
    padding: Padding
    noise: NoiseRule
    cond_dropout: float
    packing: bool = False


@dataclass(frozen=True)
class MaskedPrediction:
    """Masked denoising of all tasks: the objective of pretraining and fine-tuning."""

    material: Material
    settings: MaskedPredictionSettings
    steps_per_iteration: int = 1

    @property
    def metric_names(self) -> tuple[str, ...]:
        """loss/<task>, then cross_entropy/<task>/<upper end of the bin of masked share>."""
        bins = [f"{(index + 1) / MASK_BINS:.2f}" for index in range(MASK_BINS)]
        losses = [f"loss/{task}" for task in TASKS]
        return (*losses, *(f"cross_entropy/{task}/{end}" for task, end in product(TASKS, bins)))

    def samples(self, step: int) -> tuple[str, ...]:
        """Keys of the rows of a global batch."""
        return tuple(self.material.keys(step))

    def parts(self, model: Transformer, step: int) -> list["_MaskedPart"]:
        """Lay out, noise and split this process's rows of a global batch."""
        rows = self.material.rows(step)
        drop = self._dropped(rows)
        layouts = [self._layout(row, bool(d), model) for row, d in zip(rows, drop, strict=True)]
        parts = []
        lengths = [len(one.ids) for one in layouts]
        # Pads that are targets must not depend on how the global batch is split.
        longest = all_max(max(lengths, default=0), self.material.world) if self.settings.padding == "eos" else None
        for chosen in split_rows(lengths, self.material.num_parts, alike=not self.settings.packing):
            part = [layouts[index] for index in chosen]
            epochs = [rows[index].epoch for index in chosen]
            parts.append(self._part(part, epochs, model, longest))
        return parts

    def _dropped(self, rows: Sequence[Row]) -> np.ndarray:
        keys, epochs = [row.sample.key for row in rows], [row.epoch for row in rows]
        draws = uniforms(keys, epochs, seed=self.material.seed, purpose="condition", count=1)
        dropped: np.ndarray = draws[:, 0] < self.settings.cond_dropout
        return dropped

    def _layout(self, row: Row, drop: bool, model: Transformer) -> Layout:
        return lay_out(
            row.sample,
            self.material.tokenizer,
            self.material.vocab,
            window=self.settings.window.get(row.sample.task, 1),
            max_length=model.config.max_sequence_length,
            drop_condition=drop,
        )

    def _part(
        self, layouts: Sequence[Layout], epochs: Sequence[int], model: Transformer, length: int | None
    ) -> "_MaskedPart":
        vocab, device = self.material.vocab, model.device
        batch = collate(layouts, vocab, padding=self.settings.padding, length=length)
        noised = add_noise(batch, epochs, self.settings.noise, mask_id=vocab.mask, seed=self.material.seed)
        scored = scored_tokens(self.settings.loss, noised.is_target, batch.ids, batch.rows("t2i"), vocab)
        packing = pack(batch.attendable, max_length=model.config.max_sequence_length) if self.settings.packing else None
        shape = batch.ids.shape if packing is None else packing.attendable.shape[:2]
        work = work_of(shape, batch.ids, batch.attendable, scored, vocab, self.settings.vocabulary)
        batch, noised = on_device(batch, device), on_device(replace(noised, is_target=scored), device)
        weights, denominators = all_row_weights(
            self.settings.loss, batch.task, noised.is_target, noised.p_mask, batch.maskable, batch.attendable
        )
        if packing is not None:
            packing = on_device(packing, device)
        denominators = by_task(denominators, batch.task)
        return _MaskedPart(batch, noised, packing, weights, denominators, work, self.settings, vocab)


@dataclass(frozen=True)
class _MaskedPart:
    batch: Batch
    noised: Noised
    packing: Packing | None
    weights: Float[Tensor, "B L"]
    denominators: Float[Tensor, "T"]
    work: Work
    settings: MaskedPredictionSettings
    vocab: Vocab

    def loss(self, model: Transformer, totals: Float[Tensor, "T"]) -> tuple[Float[Tensor, ""], Float[Tensor, "n 2"]]:
        hidden = self._hidden_states(model)
        log_probs = token_log_probs(
            model,
            hidden,
            self.batch.ids,
            self.noised.is_target,
            self.vocab,
            vocabulary=self.settings.vocabulary,
        )
        sums = by_task(-(self.weights * log_probs).sum(1), self.batch.task)
        coefficients = torch.tensor([self.settings.coefficients.get(task, 0.0) for task in TASKS])
        loss = (coefficients.to(sums.device) * sums / totals.clamp(min=1e-9)).sum()
        return loss, self._metrics(sums.detach(), log_probs.detach())

    def _hidden_states(self, model: Transformer) -> Float[Tensor, "B L D"]:
        if self.packing is None:
            return model.hidden_states(self.noised.x_t, self.batch.attendable)
        packed = model.hidden_states(self.packing.packed(self.noised.x_t), self.packing.attendable)
        return self.packing.unpacked(packed)

    def _metrics(self, sums: Float[Tensor, "T"], log_probs: Float[Tensor, "B L"]) -> Float[Tensor, "n 2"]:
        targets = self.noised.is_target
        share = targets.sum(1) / self.batch.maskable.sum(1).clamp(min=1)
        bins = (share * MASK_BINS).ceil().clamp(1, MASK_BINS).long() - 1
        cells = self.batch.task * MASK_BINS + bins
        table = torch.zeros(len(TASKS) * MASK_BINS, 2, device=sums.device)
        table = table.index_add(0, cells, torch.stack([-log_probs.sum(1), targets.sum(1).float()], 1))
        return torch.cat([torch.stack([sums, self.denominators], 1), table])


def split_rows(lengths: Sequence[int], num_parts: int, *, alike: bool = True) -> list[list[int]]:
    """Indices of rows in `num_parts` micro-batches: of similar lengths, so that little is padded, or each of all
    lengths, which is what packing needs.
    """
    assert len(lengths) >= num_parts, "a global batch needs a row for every micro-batch of every process"
    by_length = np.argsort(np.asarray(lengths), kind="stable")
    chunks = (
        np.array_split(by_length, num_parts) if alike else [by_length[part::num_parts] for part in range(num_parts)]
    )
    return [chunk.tolist() for chunk in chunks]


def work_of(
    shape: torch.Size,
    ids: Int[Tensor, "B L"],
    attendable: Bool[Tensor, "B L"],
    is_target: Bool[Tensor, "B L"],
    vocab: Vocab,
    vocabulary: Vocabulary,
) -> Work:
    """What a micro-batch asks of the network, in rows of `shape`."""
    rows, length = shape
    scores = sum(
        int(chosen.sum()) * len(range(*scored.indices(vocab.size)))
        for chosen, scored in target_groups(ids, is_target, vocab, vocabulary)
    )
    return Work(int(attendable.sum()), rows * length, rows * length**2, scores)


RecordT = TypeVar("RecordT", Batch, Noised, Packing)


def on_device(record: RecordT, device: torch.device) -> RecordT:
    """The same record with its tensors on `device`."""
    values: dict[str, Any] = {f.name: getattr(record, f.name) for f in fields(record)}
    moved: dict[str, Any] = {k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)}
    return replace(record, **moved)
