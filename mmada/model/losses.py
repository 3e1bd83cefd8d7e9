"""Masked-denoising losses: one log-probability per target token, one weighted sum per row, one mean per task.

Logits are computed only at target positions, and there only for the ids that can stand at the position.
Shapes: B sequences, L tokens, D width, M targets, T tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from mmada.contracts.sample import TASKS, Task
from mmada.model.tiled_log_probs import tiled_log_probs
from mmada.model.transformer import Transformer
from mmada.vocab import Vocab

LossName = Literal["published", "unified"]
RuleName = Literal["mean_over_targets", "inverse_p_per_token", "inverse_p_per_answer"]
Vocabulary = Literal["full", "modality"]

_MOST_LOGITS: Final[Mapping[str, int]] = MappingProxyType({"cpu": 2**24, "cuda": 2**30})
"""Above so many logits (64 MB, 4 GB) they are made a tile at a time. On an H100 tiles take a fifth more time for a step
of a 1.5B model and save 8 of 46 GB; on a CPU they save time, too."""

_PER_ANSWER: Final[Mapping[Task, RuleName]] = MappingProxyType(dict.fromkeys(TASKS, "inverse_p_per_answer"))
LOSSES: Final[Mapping[LossName, Mapping[Task, RuleName]]] = MappingProxyType(
    {
        "published": MappingProxyType({**_PER_ANSWER, "t2i": "mean_over_targets", "lm": "inverse_p_per_token"}),
        "unified": _PER_ANSWER,
    }
)
"""How each task's tokens are weighed: "published" as the released code does, "unified" as eq. (1) of
arXiv:2505.15809, 1/t for every task."""


@dataclass(frozen=True)
class RowTerms:
    """A loss in parts: `weighted` sums the row's weighted cross-entropies, `weight` is the row's contribution
    to the denominator of its task. The loss of a task is sum(weighted) / sum(weight) over all rows of all
    ranks.
    """

    weighted: Float[Tensor, "B"]
    weight: Float[Tensor, "B"]


def token_log_probs(
    model: Transformer,
    hidden: Float[Tensor, "B L D"],
    x0: Int[Tensor, "B L"],
    is_target: Bool[Tensor, "B L"],
    vocab: Vocab,
    *,
    vocabulary: Vocabulary,
) -> Float[Tensor, "B L"]:
    """log p(x0) at target positions, fp32, 0 elsewhere.

    `vocabulary`: "full" normalises over all ids; "modality" over text ids at text positions and over image
    ids at image positions, which is what sampling chooses from and costs a fraction.
    """
    out = torch.zeros(x0.shape, device=hidden.device)
    groups = target_groups(x0, is_target, vocab, vocabulary)
    filled = [(chosen, ids) for chosen, ids in groups if chosen.any()]
    # Without any target there is a gradient all the same, of zeros: other processes wait for it.
    for chosen, ids in filled or groups:
        rows, targets = hidden[chosen], x0[chosen] - ids.start
        if len(rows) * (ids.stop - ids.start) > _MOST_LOGITS.get(hidden.device.type, _MOST_LOGITS["cpu"]):
            out[chosen] = tiled_log_probs(rows, model.output_rows(ids), targets)
        else:
            out[chosen] = -functional.cross_entropy(model.logits(rows, ids).float(), targets, reduction="none")
    return out


def target_groups(
    x0: Int[Tensor, "B L"], is_target: Bool[Tensor, "B L"], vocab: Vocab, vocabulary: Vocabulary
) -> list[tuple[Bool[Tensor, "B L"], slice]]:
    """Targets that are scored against the same ids, and those ids."""
    if vocabulary == "full":
        return [(is_target, slice(0, vocab.size))]
    is_image = (x0 >= vocab.image_range.start) & (x0 < vocab.image_range.stop)
    return [(is_target & ~is_image, vocab.text_range), (is_target & is_image, vocab.image_range)]


def scored_tokens(
    name: LossName, is_target: Bool[Tensor, "B L"], x0: Int[Tensor, "B L"], is_t2i: Bool[Tensor, "B"], vocab: Vocab
) -> Bool[Tensor, "B L"]:
    """The tokens that enter a loss: the masked ones, and under "published" also soi and eoi of t2i rows, though they
    are given: the released code leaves them in its labels.
    """
    if name != "published":
        return is_target
    return is_target | (is_t2i[:, None] & ((x0 == vocab.soi) | (x0 == vocab.eoi)))


def row_weights(
    rule: RuleName,
    is_target: Bool[Tensor, "B L"],
    p_mask: Float[Tensor, "B L"],
    maskable: Bool[Tensor, "B L"],
    attendable: Bool[Tensor, "B L"],
) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B"]]:
    """Weight of each token and denominator of each row under one rule.

    mean_over_targets: plain mean; inverse_p_per_token: 1/p, per token of the sequence (hidden pads not
    counted); inverse_p_per_answer: 1/p and the row's number of maskable tokens, per row.
    """
    target = is_target.float()
    if rule == "mean_over_targets":
        return target, target.sum(1)
    if rule == "inverse_p_per_token":
        return target / p_mask, attendable.sum(1).float()
    answer_length = maskable.sum(1, keepdim=True).clamp(min=1)
    return target / (p_mask * answer_length), torch.ones(len(target), device=target.device)


def all_row_weights(
    name: LossName,
    task: Int[Tensor, "B"],
    is_target: Bool[Tensor, "B L"],
    p_mask: Float[Tensor, "B L"],
    maskable: Bool[Tensor, "B L"],
    attendable: Bool[Tensor, "B L"],
) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B"]]:
    """`row_weights` of a mixed batch, each row under the rule of its task."""
    weights, denominators = torch.zeros_like(p_mask), torch.zeros(len(task), device=p_mask.device)
    for index, one in enumerate(TASKS):
        rows = task == index
        if rows.any():
            weights[rows], denominators[rows] = row_weights(
                LOSSES[name][one], is_target[rows], p_mask[rows], maskable[rows], attendable[rows]
            )
    return weights, denominators


def by_task(values: Float[Tensor, "B"], task: Int[Tensor, "B"]) -> Float[Tensor, "T"]:
    """Sum rows per task."""
    return torch.zeros(len(TASKS), device=values.device).index_add(0, task, values)
