"""Estimators of an answer's likelihood under a masked-diffusion model, by name.

All of them score tokens of the answer given the rest; they differ in what each inner update hides and what it scores.
The likelihood of an answer is the mean log-probability of its scored tokens. Shapes: R rollouts, L tokens, U inner
updates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, Protocol

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mmada.model.masking import mask_by_count, token_dice, uniforms
from mmada.training.policy_gradient import NUM_TIMES, NoiseSpacing, noise_times
from mmada.training.rollouts import NOT_SAMPLED, Rollouts

EstimatorName = Literal["unigrpo", "diffu_grpo", "random_masking", "coupled", "trace"]

PROMPT_MASKING: Final = 0.15
"""Share of prompt tokens that d1 hides (arXiv:2504.12216)."""
RANDOM_RATES: Final = (0.1, 0.9)
"""Range of dLLM-RL's masking rates."""


@dataclass(frozen=True)
class Views:
    """What each inner update hides from the model, and which of the hidden tokens it scores."""

    hidden: Bool[Tensor, "U R L"]
    scored: Bool[Tensor, "U R L"]


@dataclass(frozen=True)
class NoiseRule:
    """Choices of the noise. `start`: range of the first noise time's draw, within [0, 1] (see `noise_times`)."""

    updates: int
    spacing: NoiseSpacing
    start: tuple[float, float]


class Estimator(Protocol):
    """Chooses the views. `epochs`: of each rollout's prompt; noise is a function of its key, that and the seed."""

    def __call__(self, rollouts: Rollouts, epochs: Sequence[int], noise: NoiseRule, *, seed: int) -> Views: ...


def unigrpo(rollouts: Rollouts, epochs: Sequence[int], noise: NoiseRule, *, seed: int) -> Views:
    """UniGRPO (arXiv:2505.15809): the question visible, the answer masked at one noise time per prompt and update.

    A time t masks ceil(t/T * tokens) tokens, so that uniform times give uniform counts, and the estimate is then
    unbiased for the mean over orders of the log-likelihood, per token.
    """
    batch = rollouts.batch
    prompts = [key.rpartition("#")[0] for key in batch.keys]
    low, high = noise.start
    starts = low + (high - low) * uniforms(prompts, epochs, seed=seed, purpose="noise times", count=1)[:, 0]
    times = torch.tensor([noise_times(start, noise.updates, noise.spacing) for start in starts])
    total = batch.maskable.sum(1)
    scored = []
    for update in range(noise.updates):
        count = (times[:, update] * total + NUM_TIMES - 1) // NUM_TIMES
        dice = token_dice(batch, epochs, seed=seed, purpose=f"tokens {update}")
        scored.append(mask_by_count(batch.maskable, count / total.clamp(min=1), dice)[0])
    return _after_the_end_hidden(rollouts, torch.stack(scored))


def diffu_grpo(rollouts: Rollouts, epochs: Sequence[int], noise: NoiseRule, *, seed: int) -> Views:
    """d1 (arXiv:2504.12216): the whole answer hidden and scored in one step; each update hides other prompt tokens."""
    batch = rollouts.batch
    sampled = rollouts.order != NOT_SAMPLED
    prompt = batch.attendable & (sampled.cumsum(1) == 0)
    hidden = []
    for update in range(noise.updates):
        dice = token_dice(batch, epochs, seed=seed, purpose=f"tokens {update}")
        hidden.append(sampled | (prompt & (dice < PROMPT_MASKING)))
    return Views(torch.stack(hidden), batch.maskable.expand(noise.updates, -1, -1))


def random_masking(rollouts: Rollouts, epochs: Sequence[int], noise: NoiseRule, *, seed: int) -> Views:
    """dLLM-RL's method of that name: every update masks each token of the answer with a rate of its own."""
    masks = [_by_chance(rollouts, epochs, update, seed) for update in range(noise.updates)]
    return _after_the_end_hidden(rollouts, torch.stack(masks))


def coupled(rollouts: Rollouts, epochs: Sequence[int], noise: NoiseRule, *, seed: int) -> Views:
    """dLLM-RL's "coupled": updates come in pairs, and the second of a pair masks what the first did not."""
    masks = []
    for pair in range(noise.updates // 2):
        chosen = _by_chance(rollouts, epochs, pair, seed)
        masks += [chosen, rollouts.batch.maskable & ~chosen]
    return _after_the_end_hidden(rollouts, torch.stack(masks))


def trace(rollouts: Rollouts, epochs: Sequence[int], noise: NoiseRule, *, seed: int) -> Views:
    """dLLM-RL's TraceRL: tokens are scored given what had been revealed before them when they were sampled.

    The steps of sampling are cut into as many spans as there are updates, of like lengths. With a span for each step
    this is the likelihood of the very trace (of an answer sampled at temperature 1 without short cuts); longer spans
    take their tokens as independent.
    """
    step = rollouts.order.masked_fill(~rollouts.batch.maskable, NOT_SAMPLED)
    span = _spans(step, noise.updates)
    first = _first_steps(step, span, noise.updates)
    scored = torch.stack([span == update for update in range(noise.updates)])
    return Views(rollouts.order[None] >= first[:, :, None], scored)


ESTIMATORS: Final[Mapping[EstimatorName, Estimator]] = MappingProxyType(
    {
        "unigrpo": unigrpo,
        "diffu_grpo": diffu_grpo,
        "random_masking": random_masking,
        "coupled": coupled,
        "trace": trace,
    }
)


def _after_the_end_hidden(rollouts: Rollouts, scored: Bool[Tensor, "U R L"]) -> Views:
    """What was sampled after the end of the text stays hidden: it would give the length away."""
    return Views(scored | rollouts.beyond, scored)


def _by_chance(rollouts: Rollouts, epochs: Sequence[int], number: int, seed: int) -> Bool[Tensor, "R L"]:
    low, high = RANDOM_RATES
    draws = uniforms(rollouts.batch.keys, epochs, seed=seed, purpose=f"rate {number}", count=1)
    rates = torch.from_numpy(low + (high - low) * draws)
    return rollouts.batch.maskable & (token_dice(rollouts.batch, epochs, seed=seed, purpose=f"tokens {number}") < rates)


def _spans(step: Int[Tensor, "R L"], updates: int) -> Int[Tensor, "R L"]:
    """The span of each token's step; `NOT_SAMPLED` where there is none."""
    spans = torch.full_like(step, NOT_SAMPLED)
    for row, steps in enumerate(step):
        used = steps[steps != NOT_SAMPLED].unique()
        place = torch.searchsorted(used, steps)
        spans[row] = torch.where(steps == NOT_SAMPLED, NOT_SAMPLED, place * updates // max(1, len(used)))
    return spans


def _first_steps(step: Int[Tensor, "R L"], span: Int[Tensor, "R L"], updates: int) -> Int[Tensor, "U R"]:
    """The first step of each span; a span without steps has none of its own and hides what the next one does."""
    latest = int(step.max()) + 1
    return torch.stack([step.masked_fill(span < update, latest).min(1).values for update in range(updates)])
