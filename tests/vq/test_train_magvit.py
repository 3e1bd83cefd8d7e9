"""Fitting: the loss falls, a resumed fit equals an undisturbed one, misuse is refused."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from mmada.demo_scenes import draw, random_scene
from mmada.errors import InputError
from mmada.muon import orthogonalised
from mmada.vq.magvit import MagvitSizes, MAGVITv2
from mmada.vq.train_magvit import FitSettings, fit_magvit, hardness

SIZES = MagvitSizes(32, (1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1), 8)


def _pictures(number: int) -> np.ndarray:
    rng = random.Random(0)
    return np.stack([draw(random_scene(rng)) for _ in range(number)])


def _settings(steps: int, crop: int = 16) -> FitSettings:
    return FitSettings(
        steps=steps,
        batch_size=4,
        crop=crop,
        learning_rate=1e-3,
        mosaic_share=0.5,
        seed=1,
        threads=1,
        save_every=4,
    )


def _fit(
    steps: int, resume: dict[str, Tensor] | None, saved: dict[int, dict[str, Tensor]], losses: list[float]
) -> MAGVITv2:
    return fit_magvit(
        _pictures(8),
        sizes=SIZES,
        settings=_settings(steps),
        on_progress=lambda step, values: losses.append(values["reconstruction"]),
        save_state=saved.__setitem__,
        resume=resume,
    )


def test_resumed_equals_undisturbed_bit_for_bit() -> None:
    saved: dict[int, dict[str, Tensor]] = {}
    whole = _fit(10, None, saved, [])
    resumed = _fit(10, saved[4], {}, [])
    assert sorted(saved) == [4, 8]
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())


def test_reconstruction_improves() -> None:
    losses: list[float] = []
    _fit(60, None, {}, losses)
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])


def test_bottleneck_hardens_from_tanh_to_signs() -> None:
    values = [hardness(done) for done in np.linspace(0.0, 1.0, 21)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.0, 1.0)


def test_refuses_no_pictures_and_crops_off_the_grid() -> None:
    for images, crop, words in ((_pictures(1)[:0], 16, "no corpus"), (_pictures(1), 18, "multiple of 4")):
        with pytest.raises(InputError, match=words):
            fit_magvit(
                images,
                sizes=SIZES,
                settings=_settings(1, crop),
                on_progress=lambda step, values: None,
                save_state=lambda step, tensors: None,
                resume=None,
            )


@pytest.mark.parametrize("shape", [(32, 288), (64, 64), (128, 32)])
def test_orthogonalised_has_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.max() < 1.4
    assert values.median() > 0.6
