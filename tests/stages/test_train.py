"""What a training run's identity and provenance are made of."""

from pathlib import Path

import pytest

from mmada.lineage.manifest import file_sha256
from mmada.params_schema import load_params
from mmada.stages import train as stage
from mmada.training.checkpoints import Position
from mmada.training.job import Job
from mmada.unit_store import UnitStore
from tests.dispatch.small_job import PARAMS, make_inputs


def test_a_run_is_another_one_when_its_reward_model_is_and_says_which_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(tmp_path)
    jobs: list[Job] = []
    monkeypatch.setattr(stage, "open_artifact", lambda path: inputs[path.name])
    monkeypatch.setattr(stage, "refuse_unchecked_shards", lambda *inputs: None)
    monkeypatch.setattr(stage, "_check_hand_over", lambda *inputs: None)
    monkeypatch.setattr(stage, "run_training", lambda job, work_dir: jobs.append(job) or Position(1, 1, job.run))
    params = load_params(PARAMS)
    paths = params.paths.model_copy(update={"magvit": str(tmp_path / "magvit")})
    block = params.training["stage3"].model_dump(mode="json")
    weights = tmp_path / "clip" / "model.safetensors"
    weights.parent.mkdir()
    for content, models in (
        (b"one", {}),
        (b"one", {"clip": str(weights.parent)}),
        (b"two", {"clip": str(weights.parent)}),
    ):
        weights.write_bytes(content)
        training = stage.TrainingBlock.model_validate(
            block | {"init": "parent", "unigrpo": block["unigrpo"] | {"reward_models": models}}
        )
        out, store = tmp_path / "out", UnitStore(tmp_path / "units")
        report = stage.train(out=out, key="shards", paths=paths, store=store, registered=(), training=training)
        used = {weights.as_posix(): file_sha256(weights)} if models else {}
        assert report.raw_files == jobs[-1].publication.raw_files == used
    assert len({job.run for job in jobs}) == 3


def test_a_run_that_skipped_too_many_batches_goes_on_when_more_are_allowed() -> None:
    ids = dict.fromkeys(("shards", "parent", "magvit"), "id")
    block = load_params(PARAMS).training["stage1"]
    digests = {
        stage.run_digest(1, ids, block.model_copy(update={"guard": stage.Guard(**guard)}), {})
        for guard in ({}, {"max_skipped": 40}, {"max_skipped": 0})
    }
    assert digests == {stage.run_digest(1, ids, block, {})}
    assert stage.run_digest(1, ids, block.model_copy(update={"guard": stage.Guard(spike_factor=5)}), {}) not in digests
