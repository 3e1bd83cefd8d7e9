"""Batches that would hurt the weights are skipped, recorded, and leave no trace in the weights."""

from dataclasses import dataclass, replace

import pytest

from mmada.errors import TrainingError
from mmada.training.checkpoints import newest_position
from mmada.training.guard import GuardRule, why_refused
from mmada.training.objectives import MaskedPrediction
from tests.tiny import tiny_tokenizer
from tests.training.jobs import ALONE, masked_objective
from tests.training.runs import run, same_weights

CONSTANT = {"learning_rate": 3e-3, "min_learning_rate": 3e-3, "warmup_steps": 0, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


@dataclass(frozen=True)
class _Scaled:
    """A micro-batch whose loss is multiplied."""

    part: object
    factor: float

    def __getattr__(self, name):
        return getattr(self.part, name)

    def loss(self, model, totals):
        loss, metrics = self.part.loss(model, totals)
        return loss * self.factor, metrics * self.factor


@dataclass(frozen=True)
class _Planted(MaskedPrediction):
    """Masked prediction in which some batches are spoiled by a factor, and some are never drawn."""

    spoiled: tuple[tuple[int, float], ...] = ()
    left_out: int | None = None

    def parts(self, model, step):
        if self.left_out is not None and step >= self.left_out:
            step += 1
        parts = super().parts(model, step)
        factor = dict(self.spoiled).get(step)
        return parts if factor is None else [_Scaled(part, factor) for part in parts]


def _planted(tokenizer, **change):
    plain = masked_objective(tokenizer, ALONE)
    return _Planted(plain.material, plain.settings, **change)


@pytest.mark.parametrize("muon", [0.0, 0.02])
@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_planted_nan_is_skipped_as_if_its_batch_did_not_exist(tokenizer, tmp_path, factor, muon):
    options = CONSTANT | {"muon_learning_rate": muon}
    spoiled = _planted(tokenizer, spoiled=((3, factor),))
    hurt = run(tokenizer, tmp_path / "hurt", 7, objective=spoiled, **options)
    spared = run(tokenizer, tmp_path / "spared", 6, objective=_planted(tokenizer, left_out=3), **options)
    assert same_weights(hurt.model, spared.model)
    assert hurt.result.tokens == spared.result.tokens
    assert [step for step, values in hurt.log.items() if "loss/t2i" not in values] == [4]
    assert hurt.log[4]["skipped_batches"] == hurt.log[7]["skipped_batches"] == 1
    (batch,) = newest_position(tmp_path / "hurt").skipped
    assert batch.step == 3
    assert "finite" in batch.reason
    assert batch.samples == tuple("abcdefghij")


@pytest.mark.parametrize("stop_at", [3, 5, 6])
def test_a_run_killed_around_a_skipped_batch_ends_with_the_same_bytes(tokenizer, tmp_path, stop_at):
    objective = _planted(tokenizer, spoiled=((4, float("nan")),))
    straight = run(tokenizer, tmp_path / "straight", 8, objective=objective, **CONSTANT)
    run(tokenizer, tmp_path / "cut", 8, objective=objective, stop_at=stop_at, **CONSTANT)
    resumed = run(tokenizer, tmp_path / "cut", 8, objective=objective, **CONSTANT)
    assert same_weights(straight.model, resumed.model)
    assert newest_position(tmp_path / "straight") == newest_position(tmp_path / "cut")


def test_a_spike_is_skipped_once_enough_batches_were_seen_also_after_a_kill(tokenizer, tmp_path):
    objective = _planted(tokenizer, spoiled=((1, 1e4), (6, 1e4)))
    rule = GuardRule(spike_factor=20.0, window=3, max_skipped=3)
    run(tokenizer, tmp_path, 8, objective=objective, guard=rule, stop_at=6, **CONSTANT)
    run(tokenizer, tmp_path, 8, objective=objective, guard=rule, **CONSTANT)
    (batch,) = newest_position(tmp_path).skipped
    assert batch.step == 6
    assert "20 times the usual" in batch.reason
    run(tokenizer, tmp_path / "off", 8, objective=objective, guard=replace(rule, spike_factor=0.0), **CONSTANT)
    assert newest_position(tmp_path / "off").skipped == ()


def test_too_many_refused_batches_end_the_run_and_name_their_samples(tokenizer, tmp_path):
    objective = _planted(tokenizer, spoiled=tuple((step, float("nan")) for step in range(9)))
    with pytest.raises(TrainingError, match=r"step 4: .*max_skipped is 3.* samples a, b, c"):
        run(tokenizer, tmp_path, 9, objective=objective, **CONSTANT)


def test_what_is_usual_is_the_median_but_never_less_than_the_clipping_norm():
    rule = GuardRule(spike_factor=10.0, window=3, max_skipped=3)
    assert why_refused(1.0, 39.0, [4.0, 1.0, 500.0], rule, 1.0) is None
    assert why_refused(1.0, 41.0, [4.0, 1.0, 500.0], rule, 1.0) is not None
    assert why_refused(1.0, 9.0, [0.001] * 3, rule, 1.0) is None, "clipping alone makes it harmless"
    assert why_refused(1.0, 1e9, [1.0] * 2, rule, 1.0) is None, "too few batches to know what is usual"
    assert why_refused(float("nan"), 1.0, [], rule, 1.0) is not None
