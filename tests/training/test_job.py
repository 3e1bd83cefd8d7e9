"""What a training job looks at before its first step."""

from dataclasses import replace
from pathlib import Path

import pytest

from mmada.errors import CheckpointError
from mmada.params_schema import load_params
from mmada.training.job import run_job
from tests.dispatch.small_job import PARAMS, make_inputs, make_job


def test_a_reward_model_that_cannot_be_loaded_ends_a_run_before_it_samples(tmp_path: Path) -> None:
    job = make_job(make_inputs(tmp_path), tmp_path, steps=2)
    block = load_params(PARAMS).training["stage3"].model_dump(mode="json")
    block["unigrpo"] |= {"rewards": {"t2i": {"clip": 0.1}}, "reward_models": {"clip": str(tmp_path / "nowhere")}}
    block |= {"data": {"corpora": {"corpus": 1.0}, "direct_answers": []}}
    with pytest.raises(CheckpointError, match="nowhere holds no CLIP model"):
        run_job(replace(job, block=block))
    assert not (tmp_path / "states").exists()
