import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmada.errors import CheckpointError
from mmada.training.learning_rate import learning_rate
from mmada.training.optimisers import make_optimisers
from tests.tiny import tiny_model, tiny_tokenizer, tiny_vocab
from tests.training.jobs import ALONE, masked_objective
from tests.training.runs import run, same_weights
from tests.training.two_processes import run as run_job

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


@pytest.fixture(scope="module")
def tokenizer_folder(tokenizer, tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "tokenizer"


def _train(*arguments, **options):
    finished = run(*arguments, **options)
    return finished.model, finished.log, finished.result


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_on_a_fixed_batch_falls(tokenizer, tmp_path, precision):
    objective = masked_objective(tokenizer, ALONE, fixed_noise=True)
    _, log, result = _train(tokenizer, tmp_path, 60, objective=objective, precision=precision)
    for task in ("t2i", "lm", "r2i"):
        assert log[60][f"loss/{task}"] < 0.5 * log[1][f"loss/{task}"], task
    assert result.steps == 60
    assert result.tokens > 60 * 100


@pytest.mark.parametrize(("stop_at", "muon"), [(3, 0.0), (5, 0.02)])
def test_a_killed_run_continues_to_the_same_bytes(tokenizer, tmp_path, stop_at, muon):
    options = {"checkpoint_every": 2, "muon_learning_rate": muon}
    straight, log, _ = _train(tokenizer, tmp_path / "straight", 8, **options)
    _train(tokenizer, tmp_path / "cut", 8, stop_at=stop_at, **options)
    resumed, later, result = _train(tokenizer, tmp_path / "cut", 8, **options)
    assert same_weights(straight, resumed)
    assert min(later) == stop_at - stop_at % 2 + 1, "it continues after the last saved step"
    for step, values in later.items():
        for name in ("loss/t2i", "grad_norm", "learning_rate"):
            assert values[name] == log[step][name]
    assert result.steps == 8


def test_only_the_newest_state_is_kept_and_nothing_is_pickled(tokenizer, tmp_path):
    _train(tokenizer, tmp_path, 5, checkpoint_every=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000005"]
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_a_half_written_state_is_ignored_and_one_of_another_run_too(tokenizer, tmp_path):
    _train(tokenizer, tmp_path, 4, checkpoint_every=2, stop_at=3)
    (tmp_path / "step-000000003.partial").mkdir()
    (tmp_path / "step-000000003.partial" / "state.json").write_text("")  # cut off while it was written
    _, other, _ = _train(tokenizer, tmp_path, 4, checkpoint_every=2, run="run-b", stop_at=1)
    assert min(other) == 1, "another run starts over"
    _, same, _ = _train(tokenizer, tmp_path, 4, checkpoint_every=2)
    assert min(same) == 3


def test_a_damaged_state_is_an_error_with_a_next_step(tokenizer, tmp_path):
    _train(tokenizer, tmp_path, 2, checkpoint_every=2)
    file = next(tmp_path.rglob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="delete it"):
        _train(tokenizer, tmp_path, 4)


def test_micro_batches_change_nothing_but_rounding(tokenizer, tmp_path):
    whole, _, _ = _train(tokenizer, tmp_path / "1", 3)
    split, _, _ = _train(tokenizer, tmp_path / "5", 3, objective=masked_objective(tokenizer, ALONE, num_parts=5))
    for a, b in zip(whole.parameters(), split.parameters(), strict=True):
        assert (a - b).abs().max() < 2e-4


def _together(tokenizer_folder, state, out, muon, stop):
    """Two processes up to a step; the weights go to `out`."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    job = ["-m", "tests.training.two_processes", str(tokenizer_folder), str(state), str(out), str(muon), str(stop)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *job], check=True, cwd=ROOT, env=environment, timeout=200)


@pytest.mark.parametrize(("muon", "stop"), [(0.0, 4), (0.01, 3)])
def test_two_processes_train_like_one_and_one_can_continue_them(tokenizer, tokenizer_folder, tmp_path, muon, stop):
    run_job(tokenizer_folder, tmp_path / "alone", tmp_path / "one.safetensors", muon, 4, ALONE)
    state, out = tmp_path / "together", tmp_path / "two.safetensors"
    _together(tokenizer_folder, state, out, muon, stop)
    if stop < 4:
        run_job(tokenizer_folder, state, out, muon, 4, ALONE)
    one, two = load_file(tmp_path / "one.safetensors"), load_file(out)
    start = tiny_model(tiny_vocab(tokenizer)).state_dict()
    assert one.keys() == two.keys()
    for key in one:
        moved, apart = (one[key] - start[key]).norm(), (one[key] - two[key]).norm()
        assert apart < 0.02 * moved, key


@pytest.mark.long
@pytest.mark.parametrize(("muon", "stop"), [(0.0, 3), (0.01, 2)])
def test_two_processes_that_are_resumed_end_with_the_same_bytes(tokenizer_folder, tmp_path, muon, stop):
    """After a step whose state was saved, and after one whose was not."""
    for name, stops in (("undisturbed", (4,)), ("resumed", (stop, 4))):
        for stop_after in stops:
            _together(tokenizer_folder, tmp_path / name, tmp_path / f"{name}.safetensors", muon, stop_after)
    undisturbed, resumed = (load_file(tmp_path / f"{name}.safetensors") for name in ("undisturbed", "resumed"))
    assert undisturbed.keys() == resumed.keys()
    assert all(torch.equal(undisturbed[key], resumed[key]) for key in undisturbed)


@pytest.mark.parametrize("muon", [0.0, 0.02])
def test_gains_and_embedding_do_not_decay_and_every_weight_is_moved_once(tokenizer, muon):
    model = tiny_model(tiny_vocab(tokenizer))
    options = {"learning_rate": 1e-3, "weight_decay": 0.1, "betas": (0.9, 0.99)}
    optimisers = make_optimisers(model, muon_learning_rate=muon, **options)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, kept = ([names[id(p)] for p in group["params"]] for group in optimisers[0].param_groups)
    assert optimisers[0].param_groups[1]["weight_decay"] == 0
    assert all("norm" in name or "ln_f" in name or "wte" in name for name in kept)
    moved = [names[id(p)] for o in optimisers for group in o.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(names.values())
    assert len(optimisers) == (2 if muon else 1)
    assert ("model.transformer.blocks.0.q_proj.weight" in decayed) == (not muon)


def test_the_learning_rate_warms_up_and_reaches_its_minimum():
    rates = [learning_rate(s, peak=1.0, minimum=0.1, warmup_steps=10, max_steps=100) for s in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert math.isclose(rates[54], 0.1 + 0.45 * (1 + math.cos(math.pi * 44 / 89)))


def test_checkpoints_are_published_when_due_and_the_same_after_a_kill(tokenizer, tmp_path):
    straight, cut = {}, {}
    _train(tokenizer, tmp_path / "a", 6, published=straight, publish_every=2, checkpoint_every=3)
    assert sorted(straight) == [2, 4], "the last step is the stage's own output"
    _train(tokenizer, tmp_path / "b", 6, published=cut, publish_every=2, checkpoint_every=3, stop_at=5)
    _train(tokenizer, tmp_path / "b", 6, published=cut, publish_every=2, checkpoint_every=3)
    assert sorted(cut) == [2, 4]
    for step, weights in straight.items():
        assert all(torch.equal(weight, cut[step][name]) for name, weight in weights.items())
