"""Estimators of an answer's likelihood: what they hide and score, and how far they are from the truth."""

import pytest
import torch

from mmada.training.likelihoods import ESTIMATORS, RANDOM_RATES, NoiseRule
from perf.likelihoods import TOKENS, make_toy, measure

UPDATES = 4
NOISE = NoiseRule(UPDATES, "example", (0.0, 1.0))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("tokenizer"), answers=8)


@pytest.fixture(scope="module")
def figures(toy):
    return dict(measure(toy, draws=60))


def _views(toy, name, epoch=0):
    return ESTIMATORS[name](toy.rollouts, [epoch] * len(toy.rollouts.batch.ids), NOISE, seed=0)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_only_hidden_tokens_of_the_answer_are_scored_and_noise_is_drawn_anew_each_epoch(toy, name):
    views, batch = _views(toy, name), toy.rollouts.batch
    assert not (views.scored & ~views.hidden).any()
    assert not (views.scored & ~batch.maskable).any()
    assert views.scored.any((0, 2)).all(), "every answer is scored"
    assert torch.equal(_views(toy, name).hidden, views.hidden)
    assert torch.equal(_views(toy, name, epoch=1).hidden, views.hidden) == (name == "trace")
    prompt = batch.attendable & ~batch.maskable & ~toy.rollouts.beyond
    assert bool((views.hidden & prompt).any()) == (name == "diffu_grpo")


def test_one_step_scoring_hides_the_whole_answer_and_other_prompt_tokens_at_every_update(toy):
    views, counted = _views(toy, "diffu_grpo"), toy.rollouts.batch.maskable
    assert (views.scored == counted).all()
    assert not torch.equal(views.hidden[0], views.hidden[1])


def test_coupled_updates_score_every_token_once_a_pair(toy):
    scored = _views(toy, "coupled").scored.int()
    assert torch.equal(scored[0] + scored[1], toy.rollouts.batch.maskable.int())
    assert torch.equal(scored[2] + scored[3], toy.rollouts.batch.maskable.int())


def test_random_masking_keeps_to_its_rates(toy):
    shares = torch.stack(
        [_views(toy, "random_masking", epoch).scored.sum(2) / toy.rollouts.batch.maskable.sum(1) for epoch in range(40)]
    )
    assert float(shares.mean()) == pytest.approx(sum(RANDOM_RATES) / 2, abs=0.03)


def test_a_trace_scores_every_token_once_and_never_shows_what_came_later(toy):
    views, order = _views(toy, "trace"), toy.rollouts.order
    assert torch.equal(views.scored.int().sum(0), toy.rollouts.batch.maskable.int())
    for hidden, scored in zip(views.hidden, views.scored, strict=True):
        for row in range(len(order)):
            shown = order[row][~hidden[row] & (order[row] >= 0)]
            assert not len(shown) or shown.max() < order[row][scored[row]].min()


def test_what_claims_to_be_unbiased_is_within_two_standard_errors(figures):
    even = figures["unigrpo, example"]
    assert abs(even["bias_to_order_mean"]) <= 2 * even["standard_error"]
    assert abs(figures["trace"]["bias_to_trace"]) < 1e-4
    assert figures["trace"]["deviation"] == 0


def test_biases_that_are_known_show(figures):
    for name in ("unigrpo, formula", "diffu_grpo"):  # more noise than even times have; all of it
        assert figures[name]["bias_to_order_mean"] < -2 * figures[name]["standard_error"], name
    for name in set(figures) - {"trace"}:
        assert figures[name]["bias_to_any_order"] < 0, "a mean of logarithms lies below the logarithm of the mean"


def test_the_toy_is_one_token_a_step(toy):
    assert sorted(toy.rollouts.order[0][toy.rollouts.order[0] >= 0].tolist()) == list(range(TOKENS))
