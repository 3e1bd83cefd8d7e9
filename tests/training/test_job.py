"""What a training job looks at before its first step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmada.errors import CheckpointError, ContractError
from mmada.params_schema import load_params
from mmada.training.job import Job, run_job
from tests.dispatch.small_job import PARAMS, make_inputs, make_job
from tests.shards.made import write_set
from tests.tiny import sample


def _unigrpo_job(folder: Path, **choices: Any) -> Job:
    """A job of stage 3 whose prompts say nothing."""
    job = make_job(make_inputs(folder), folder, steps=2)
    block = load_params(PARAMS).training["stage3"].model_dump(mode="json")
    block["unigrpo"] |= choices
    return replace(job, block=block | {"data": {"corpora": {"corpus": 1.0}, "direct_answers": []}})


def test_a_reward_model_that_cannot_be_loaded_ends_a_run_before_it_samples(tmp_path: Path) -> None:
    models = {"clip": str(tmp_path / "nowhere")}
    job = _unigrpo_job(tmp_path, rewards={"lm": {"think_format": 1.0}, "t2i": {"clip": 0.1}}, reward_models=models)
    with pytest.raises(CheckpointError, match="nowhere holds no CLIP model"):
        run_job(job)
    assert not (tmp_path / "states").exists()


def test_a_drawing_without_a_specification_ends_a_run_before_it_samples(tmp_path: Path) -> None:
    job = _unigrpo_job(tmp_path, rewards={"t2i": {"picture": 1.0}})
    drawn = [sample(f"{0:032x}-t2i-0", "t2i", "a red thing", codes=1, reference="red")]
    shards = write_set(tmp_path / "drawn", drawn, 10).path.as_posix()
    with pytest.raises(ContractError, match="reference 'red' of prompt 'a red thing' specifies no picture"):
        run_job(replace(job, shards=shards))
    assert not (tmp_path / "states").exists()


def test_a_prompt_without_an_answer_to_compare_with_ends_a_run_before_it_samples(tmp_path: Path) -> None:
    job = _unigrpo_job(tmp_path, rewards={"chat": {"correctness": 2.0}})
    asked = [sample(f"{0:032x}-chat-0", "chat", "What is 1 + 1?", "2", reference=" ")]
    shards = write_set(tmp_path / "asked", asked, 10).path.as_posix()
    with pytest.raises(ContractError, match=r"prompt 'What is 1 \+ 1\?' has no reference answer"):
        run_job(replace(job, shards=shards))
    assert not (tmp_path / "states").exists()


def test_a_prompt_that_leaves_no_room_for_its_answer_ends_a_run_before_it_samples(tmp_path: Path) -> None:
    sampling = load_params(PARAMS).training["stage3"].unigrpo.sampling.model_dump(mode="json")
    rewards = {"lm": {"think_format": 1.0}}
    job = _unigrpo_job(tmp_path, rewards=rewards, sampling=sampling | {"text_tokens": 256, "text_steps": 256})
    with pytest.raises(ContractError, match=r"sample 0{32}-lm-0: 257 tokens .* the model takes 256; lower unigrpo"):
        run_job(job)
    assert not (tmp_path / "states").exists()
