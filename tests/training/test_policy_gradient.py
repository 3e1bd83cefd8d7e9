import numpy as np
import pytest
import torch

from mmada.training.policy_gradient import (
    DIVERGENCES,
    centred,
    clipped_surrogate,
    groups_alike,
    noise_times,
    standardised,
)


def test_advantages_are_standardised_within_groups_and_zero_where_nothing_differs():
    rewards = np.array([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]])
    advantages = standardised(rewards)
    assert advantages[0].mean() == pytest.approx(0)
    assert advantages[0].std() == pytest.approx(1)
    assert (advantages[1] == 0).all()
    assert np.allclose(standardised(rewards * 7 + 3), advantages)
    assert groups_alike(rewards).tolist() == [False, True]
    assert centred(rewards).tolist() == [[-2.0, -1.0, 0.0, 3.0], [0.0] * 4]


def test_noise_times_as_in_the_paper():
    assert noise_times(0.1, 5, "formula") == [100, 325, 550, 775, 1000]
    assert noise_times(0.5, 5, "example") == [100, 300, 500, 700, 900]


@pytest.mark.parametrize("spacing", ["formula", "example"])
@pytest.mark.parametrize("updates", [1, 2, 4, 7])
def test_noise_times_stay_in_range_and_rise(spacing, updates):
    for start in np.linspace(0, 0.999, 23):
        times = noise_times(float(start), updates, spacing)
        assert len(times) == updates
        assert times == sorted(times)
        assert times[0] >= 1
        assert times[-1] <= 1000


def test_the_surrogate_has_the_gradient_of_the_policy_until_it_is_clipped():
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    log_ratio = torch.log(torch.tensor([[1.1], [1.5], [0.9], [0.5]])).requires_grad_()
    value = clipped_surrogate(log_ratio, advantages, 0.2)
    value.sum().backward()
    assert value.flatten().tolist() == pytest.approx([1.1, 1.2, -0.9, -0.8])
    assert log_ratio.grad.flatten().tolist() == pytest.approx([1.1, 0.0, -0.9, 0.0])


@pytest.mark.parametrize("name", DIVERGENCES)
def test_divergences_are_zero_at_equality_and_biased_only_where_they_say_so(name):
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(50, generator=generator).log_softmax(0) for _ in range(2))
    estimate = DIVERGENCES[name]
    assert estimate(p, p).abs().max() == 0
    values = estimate(p, q)
    assert (values.min() >= 0) == (name != "k1")
    kl = float((p.exp() * (p - q)).sum())
    assert (float((p.exp() * values).sum()) == pytest.approx(kl, abs=1e-5)) == (name != "k2")


def test_only_k1_has_no_pull_as_a_loss():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, generator=generator, requires_grad=True)
    reference = torch.randn(50, generator=generator).log_softmax(0)
    kl = (logits.softmax(0) * (logits.log_softmax(0) - reference)).sum()
    (wanted,) = torch.autograd.grad(kl, logits)
    pull = {}
    for name, estimate in DIVERGENCES.items():
        p = logits.log_softmax(0)
        (pull[name],) = torch.autograd.grad((p.exp().detach() * estimate(p, reference)).sum(), logits)
    assert pull["k1"].abs().max() < 1e-6
    assert torch.allclose(pull["k2"], wanted, atol=1e-6)
    assert not torch.allclose(pull["k3"], wanted, atol=1e-3)
    assert float(pull["k3"] @ wanted) > 0
