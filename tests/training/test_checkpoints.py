"""Resume states are written beside training, whole or not at all, and a run that is asked to end leaves one."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

from mmada import cli
from mmada.errors import PreemptedError
from mmada.training import checkpoints, loop
from mmada.training.checkpoints import newest_position
from tests.tiny import tiny_tokenizer
from tests.training.runs import run, same_weights

ROOT = Path(__file__).resolve().parents[2]

KILLED_WHILE_IT_WRITES = """
import os, signal, sys
from pathlib import Path
from mmada.text_tokenizer import load_tokenizer
from mmada.training import checkpoints
from tests.training.runs import run

whole = checkpoints.save_file

def killed(tensors, path):
    if "step-000000004" in str(path):
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    whole(tensors, path)

checkpoints.save_file = killed
run(load_tokenizer(Path(sys.argv[1])), Path(sys.argv[2]), 6, checkpoint_every=2)
"""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


def test_training_goes_on_while_a_state_is_written(tokenizer, tmp_path, monkeypatch):
    whole, may_write = checkpoints.save_file, Event()

    def slow(tensors, path):
        assert may_write.wait(60), "the run waited for its state to be written"
        whole(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", slow)
    reached = []

    def at_step(step):
        reached.append(step)
        if step == 3:  # a step after the state of step 2 was taken
            may_write.set()

    finished = run(tokenizer, tmp_path / "slow", 4, checkpoint_every=2, at_step=at_step)
    straight = run(tokenizer, tmp_path / "straight", 4)
    assert reached == [1, 2, 3, 4]
    assert same_weights(finished.model, straight.model)


def test_what_is_written_is_the_state_of_its_step_not_of_later_ones(tokenizer, tmp_path, monkeypatch):
    whole, may_write = checkpoints.save_file, Event()
    monkeypatch.setattr(checkpoints, "save_file", lambda *state: may_write.wait(60) and whole(*state))
    options = {"checkpoint_every": 2, "stop_at": 3}
    run(tokenizer, tmp_path / "cut", 4, at_step=lambda step: step == 3 and may_write.set(), **options)
    assert newest_position(tmp_path / "cut").step == 2
    resumed = run(tokenizer, tmp_path / "cut", 4)
    assert same_weights(resumed.model, run(tokenizer, tmp_path / "straight", 4).model)


def test_a_failed_write_ends_the_run_and_the_state_before_it_stays(tokenizer, tmp_path, monkeypatch):
    whole = checkpoints.save_file

    def full_disk(tensors, path):
        if "step-000000004" in str(path):
            raise OSError(28, "No space left on device")
        whole(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        run(tokenizer, tmp_path, 6, checkpoint_every=2)
    assert newest_position(tmp_path).step == 2


def test_a_kill_inside_a_write_leaves_the_state_before_it(tokenizer, tmp_path_factory, tmp_path):
    folder = tmp_path_factory.getbasetemp() / "tokenizer"
    command = [sys.executable, "-c", KILLED_WHILE_IT_WRITES, str(folder), str(tmp_path / "cut")]
    done = subprocess.run(command, cwd=ROOT, check=False, timeout=200, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert newest_position(tmp_path / "cut").step == 2
    resumed = run(tokenizer, tmp_path / "cut", 6, checkpoint_every=2)
    assert min(resumed.log) == 3
    assert same_weights(resumed.model, run(tokenizer, tmp_path / "straight", 6).model)


def test_a_signal_within_a_step_ends_the_run_after_that_step(tokenizer, tmp_path, monkeypatch):
    gradients = loop._Run.gradients

    def signalled(self, step, stop):
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return gradients(self, step, stop)

    monkeypatch.setattr(loop._Run, "gradients", signalled)
    with pytest.raises(PreemptedError, match="step 2 of 6"):
        run(tokenizer, tmp_path, 6)
    assert newest_position(tmp_path).step == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_asked_to_end_saves_its_step_and_can_be_continued(tokenizer, tmp_path, number):
    before = signal.getsignal(number)

    def ask(step):
        if step == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(PreemptedError, match="step 4 of 6; its state is saved"):
        run(tokenizer, tmp_path / "cut", 6, at_step=ask)
    assert signal.getsignal(number) == before
    resumed = run(tokenizer, tmp_path / "cut", 6)
    assert list(resumed.log) == [5, 6]
    assert same_weights(resumed.model, run(tokenizer, tmp_path / "straight", 6).model)


def test_the_command_says_by_its_exit_code_that_a_run_can_be_continued(monkeypatch):
    def stopped():
        raise PreemptedError("asked to end")

    monkeypatch.setattr(cli, "app", stopped)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 75


def test_the_average_is_published_saved_and_continued(tokenizer, tmp_path):
    options = {"ema_decay": 0.5, "publish_every": 2, "checkpoint_every": 2, "muon_learning_rate": 0.02}
    weights, averages, cut = {}, {}, {}
    last = run(tokenizer, tmp_path / "plain", 4, published=weights, **options | {"ema_decay": 0.0, "publish_every": 1})
    averaged = run(tokenizer, tmp_path / "average", 4, published=averages, **options)
    run(tokenizer, tmp_path / "cut", 4, published=cut, stop_at=3, **options)
    resumed = run(tokenizer, tmp_path / "cut", 4, published=cut, **options)
    assert same_weights(averaged.model, resumed.model)
    again = run(tokenizer, tmp_path / "cut", 4, **options)
    assert same_weights(averaged.model, again.model), "a finished run gives its average once more"
    final = last.model.state_dict()
    for name, weight in averaged.model.state_dict().items():
        mean = 0.5 * final[name] + 0.25 * weights[3][name] + 0.125 * weights[2][name] + 0.0625 * weights[1][name]
        start = 16 * (averages[2][name] / 4 - weights[2][name] / 8 - weights[1][name] / 16)
        assert weight.allclose(mean + 0.0625 * start, atol=1e-6), name
        assert cut[2][name].equal(averages[2][name])
