import numpy as np
import pytest
import torch

from mmada.training.policy_gradient import (
    clipped_surrogate,
    group_advantages,
    k3_divergence,
    noise_times,
)


def test_advantages_are_standardised_within_groups_and_zero_where_nothing_differs():
    rewards = np.array([[1.0, 2.0, 3.0, 6.0], [5.0, 5.0, 5.0, 5.0]])
    advantages = group_advantages(rewards)
    assert advantages[0].mean() == pytest.approx(0)
    assert advantages[0].std() == pytest.approx(1)
    assert (advantages[1] == 0).all()
    assert np.allclose(group_advantages(rewards * 7 + 3), advantages)


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


def test_k3_is_zero_at_equality_never_negative_and_unbiased():
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(50, generator=generator).log_softmax(0) for _ in range(2))
    assert k3_divergence(p, p).abs().max() == 0
    values = k3_divergence(p, q)
    assert values.min() >= 0
    kl = float((p.exp() * (p - q)).sum())
    assert float((p.exp() * values).sum()) == pytest.approx(kl, abs=1e-5)
