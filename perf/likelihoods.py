"""Bias and variance of the estimators of an answer's likelihood, on answers so short that the truth can be counted out.

Values are nats of a whole answer. Shapes: R answers, D draws of the noise, L tokens, U inner updates, S sets of tokens.
"""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmada.model.image_sampling import ImageSampling
from mmada.model.losses import token_log_probs
from mmada.model.masking import corrupt
from mmada.model.sequences import Row
from mmada.model.text_sampling import TextSampling
from mmada.model.transformer import Transformer
from mmada.text_tokenizer import load_tokenizer, train_tokenizer
from mmada.training.likelihoods import ESTIMATORS, EstimatorName, NoiseRule
from mmada.training.policy_gradient import NoiseSpacing
from mmada.training.rollouts import Rollouts, RolloutSettings, join, sample_group
from mmada.vocab import Vocab
from tests.tiny import TEXTS, sample, tiny_model, tiny_vocab

TOKENS: Final = 6
_CONTRAST: Final = 2.0
"""Factor on a random network's weights, so that its tokens depend on one another."""
_VARIANTS: Final[dict[str, tuple[EstimatorName, NoiseSpacing]]] = {
    "unigrpo, example": ("unigrpo", "example"),
    "unigrpo, formula": ("unigrpo", "formula"),
    "diffu_grpo": ("diffu_grpo", "formula"),
    "random_masking": ("random_masking", "formula"),
    "coupled": ("coupled", "formula"),
    "trace": ("trace", "formula"),
}


@dataclass(frozen=True)
class Toy:
    """A model and answers that it sampled, one token a step."""

    model: Transformer
    vocab: Vocab
    rollouts: Rollouts

    @torch.no_grad()
    def log_probs(
        self,
        ids: Int[Tensor, "S L"],
        attendable: Bool[Tensor, "S L"],
        hidden: Bool[Tensor, "S L"],
        scored: Bool[Tensor, "S L"],
    ) -> Float[Tensor, "S L"]:
        """Log-probability of the scored tokens given those that are not hidden; 0 elsewhere."""
        states = self.model.hidden_states(corrupt(ids, hidden, self.vocab.mask), attendable)
        return token_log_probs(self.model, states, ids, scored, self.vocab, vocabulary="modality")

    def of_answer(self, row: int, hidden: Bool[Tensor, "S L"], scored: Bool[Tensor, "S L"]) -> Float[Tensor, "S L"]:
        """The same for one answer and several sets of tokens."""
        batch = self.rollouts.batch
        return self.log_probs(
            batch.ids[row].expand(len(hidden), -1), batch.attendable[row].expand(len(hidden), -1), hidden, scored
        )

    def estimates(self, name: EstimatorName, noise: NoiseRule, draws: int) -> Float[Tensor, "D R"]:
        """What an estimator says: the mean over inner updates of the scored tokens' mean, times the answer's tokens."""
        batch = self.rollouts.batch
        values = []
        for draw in range(draws):
            views = ESTIMATORS[name](self.rollouts, [draw] * len(batch.ids), noise, seed=0)
            means = [  # NaN where nothing is scored
                self.log_probs(batch.ids, batch.attendable, hidden, scored).sum(1)
                / scored.sum(1)  # NaN: nothing is scored
                for hidden, scored in zip(views.hidden, views.scored, strict=True)
            ]
            values.append(torch.stack(means).nanmean(0) * batch.maskable.sum(1))
        return torch.stack(values)


def make_toy(folder: Path, answers: int) -> Toy:
    """A random network with `answers` of its own answers to one prompt, sampled at temperature 1."""
    train_tokenizer(TEXTS * 20, folder, vocab_size=320)
    tokenizer = load_tokenizer(folder)
    vocab = tiny_vocab(tokenizer)
    model = tiny_model(vocab)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(_CONTRAST if parameter.dim() > 1 else 1.0)
    settings = RolloutSettings(answers, TextSampling(TOKENS, TOKENS, TOKENS, temperature=1.0), ImageSampling(1))
    row = Row(sample("p", "chat", "one two three"), 0)
    return Toy(model, vocab, join([sample_group(model, 0, row, settings, tokenizer, vocab, seed=0)], vocab))


def true_values(toy: Toy, row: int) -> dict[str, float]:
    """Of one answer: `order_mean`, the mean over all orders of revealing its tokens of the log-likelihood (what masked
    diffusion's bound, the ELBO, is); `any_order`, the log of the mean likelihood; `trace`, that of the order it was
    sampled in.
    """
    places = toy.rollouts.batch.maskable[row].nonzero().flatten().tolist()
    sets = [chosen for size in range(1, len(places) + 1) for chosen in combinations(places, size)]
    scored = torch.zeros(len(sets), toy.rollouts.batch.ids.shape[1], dtype=torch.bool)
    for index, chosen in enumerate(sets):
        scored[index, list(chosen)] = True
    log_probs = toy.of_answer(row, scored | toy.rollouts.beyond[row], scored)
    order_mean, reached = 0.0, {(): 1.0}
    for chosen, values in zip(sets, log_probs, strict=True):
        size = len(chosen)
        order_mean += float(values.sum()) / (size * math.comb(len(places), size))
        ways = [float(values[place].exp()) * reached[tuple(p for p in chosen if p != place)] for place in chosen]
        reached[chosen] = sum(ways) / size
    return {"order_mean": order_mean, "any_order": math.log(reached[tuple(places)]), "trace": _trace(toy, row)}


def _trace(toy: Toy, row: int) -> float:
    order, counted = toy.rollouts.order[row], toy.rollouts.batch.maskable[row]
    steps = order[counted].unique()
    hidden, scored = order >= steps[:, None], (order == steps[:, None]) & counted
    return float(toy.of_answer(row, hidden, scored).sum())


def measure(toy: Toy, draws: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Of each estimator: its bias as an estimate of each true value with a standard error, over answers and draws, and
    the standard deviation of one estimate of one answer.
    """
    rows = range(len(toy.rollouts.batch.ids))
    truth = [true_values(toy, row) for row in rows]
    for label, (name, spacing) in _VARIANTS.items():
        found = toy.estimates(name, NoiseRule(TOKENS, spacing, (0.0, 1.0)), 1 if name == "trace" else draws)
        figures = {"deviation": float(found.std(0).mean()) if len(found) > 1 else 0.0}
        for kind in ("order_mean", "any_order", "trace"):
            by_draw = (found - torch.tensor([one[kind] for one in truth])).mean(1)
            figures[f"bias_to_{kind}"] = float(by_draw.mean())
        # Answers share a draw's noise times, so the draws are what is independent.
        figures["standard_error"] = float(by_draw.std() / math.sqrt(len(by_draw))) if len(by_draw) > 1 else 0.0
        yield label, figures


def bench_likelihoods() -> dict[str, Any]:
    """Nats per answer of six tokens or fewer, six inner updates."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return {
            label: {name: round(value, 4) for name, value in figures.items()}
            for label, figures in measure(make_toy(Path(folder), answers=16), draws=400)
        }
