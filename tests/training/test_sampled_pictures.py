"""Pictures drawn while a model learns: they are there, and the run is the same without them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from mmada.training.loop import train
from mmada.training.sampled_pictures import PROMPTS_FILE, PictureSampler
from tests.tiny import mixed_samples, tiny_model, tiny_tokenizer, tiny_vocab
from tests.training.jobs import ALONE, masked_objective, settings

PROMPTS = [sample for sample in mixed_samples() if sample.task == "t2i"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


def _sampler(tokenizer, folder, run="run-a"):
    def decode_pictures(codes):
        return np.repeat(codes.numpy().astype(np.uint8)[..., None], 3, axis=-1)

    return PictureSampler(folder, run, PROMPTS, tokenizer, tiny_vocab(tokenizer), decode_pictures)


def _train(tokenizer, folder, sampler):
    model = tiny_model(tiny_vocab(tokenizer))
    train(
        model,
        masked_objective(tokenizer, ALONE),
        settings(5, checkpoint_every=2),
        state_dir=folder,
        world=ALONE,
        on_metrics=lambda run, step, values: None,
        publish=lambda step: None,
        label="test",
        on_saved=sampler,
    )
    return model


def test_sampling_changes_no_weight_and_every_saved_step_has_its_pictures(tokenizer, tmp_path):
    plain = _train(tokenizer, tmp_path / "plain", None)
    watched = _train(tokenizer, tmp_path / "watched", _sampler(tokenizer, tmp_path / "pictures"))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), watched.parameters(), strict=True))
    names = {f"step-{step:06d}-{number}.png" for step in (2, 4, 5) for number in range(len(PROMPTS))}
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {*names, PROMPTS_FILE}
    described = json.loads((tmp_path / "pictures" / PROMPTS_FILE).read_text())
    assert described["prompts"] == [sample.prompt for sample in PROMPTS]


def test_equal_weights_give_equal_pictures_and_global_state_stays(tokenizer, tmp_path):
    sampler = _sampler(tokenizer, tmp_path)
    model = tiny_model(tiny_vocab(tokenizer)).train()
    before = torch.get_rng_state()
    sampler(1, model)
    sampler(2, model)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    for number in range(len(PROMPTS)):
        first, second = (Image.open(tmp_path / f"step-{step:06d}-{number}.png") for step in (1, 2))
        assert np.array_equal(np.asarray(first), np.asarray(second))


def test_pictures_of_another_run_are_removed(tokenizer, tmp_path):
    model = tiny_model(tiny_vocab(tokenizer))
    _sampler(tokenizer, tmp_path, run="earlier")(7, model)
    _sampler(tokenizer, tmp_path, run="later")(2, model)
    assert not list(tmp_path.glob("step-000007-*"))
    assert list(tmp_path.glob("step-000002-*"))
