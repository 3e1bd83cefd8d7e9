"""Workers that score under a clock: nothing that a model writes can hold them up, and none is lost for good."""

import signal
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from mmada.errors import ContractError, TrainingError
from mmada.rewards import Response, scoring
from mmada.rewards.scoring import Asked, RewardWorkers
from tests.worker_processes import is_worker

SECONDS = 0.6
ENDLESS = r"\boxed{\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)} - 4\right)} - 5}{16}}"
"""Symbolic comparison never ends on it; its own clock would stop it after 3 s."""


def _asked(completion, reference="7", names=("correctness",), task="chat"):
    return Asked(Response(task, "p", completion, reference, None), names)


@pytest.fixture(scope="module")
def workers():
    with closing(RewardWorkers({}, SECONDS, workers=2)) as pool:
        list(pool([_asked("7"), _asked("8")]))  # they have started
        yield pool


def test_scores_come_by_name_for_every_response(workers):
    asked = [_asked(f"<think>a</think>{n}", names=("correctness", "think_format")) for n in range(5, 10)]
    found = dict(workers(asked))
    assert found == {n: {"correctness": float(n == 2), "think_format": 1.0} for n in range(5)}


def test_endless_responses_end_in_time_and_the_pool_stays_as_it_was(workers):
    mix = [_asked(ENDLESS if n % 4 == 0 else "7", reference="17" if n % 4 == 0 else "7") for n in range(12)]
    began = time.monotonic()
    found = dict(workers(mix))
    seconds = time.monotonic() - began
    assert [n for n in found if found[n] is None] == [n for n in found if n % 4 == 0]
    assert all(found[n] == {"correctness": 1.0} for n in found if n % 4)
    assert seconds < 60, "an endless one costs its time and the start of a worker"
    again = dict(workers([_asked("7") for _ in range(8)]))
    assert all(scores == {"correctness": 1.0} for scores in again.values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_asked_to_end_still_gets_the_scores_of_its_iteration(number):
    with closing(RewardWorkers({}, SECONDS, workers=1)) as pool:
        list(pool([_asked("7")]))
        started = [child for child in psutil.Process().children(recursive=True) if is_worker(child)]
        for worker in started:  # as `timeout` and Slurm do, which signal all processes of a command
            worker.send_signal(number)
        assert dict(pool([_asked("7"), _asked("8")])) == {0: {"correctness": 1.0}, 1: {"correctness": 0.0}}
        assert {worker for worker in started if worker.is_running()} == set(started)


def test_workers_that_cannot_start_end_the_run_instead_of_scoring_nothing(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with closing(RewardWorkers({}, SECONDS, workers=1)) as pool, pytest.raises(TrainingError, match="cannot start"):
        list(pool([_asked("7")]))


def test_a_worker_loads_a_model_once_whichever_rewards_are_asked_for_with_it(monkeypatch):
    loaded = []
    monkeypatch.setattr(scoring, "REWARD_MODELS", {"clip": None})
    monkeypatch.setattr(scoring, "build_rewards", lambda names, folders: loaded.extend(names) or {names[0]: len})
    for names in (("clip",), ("clip", "correctness"), ("clip", "image_reward")):
        scoring._score(scoring._Task(names, None, (("clip", Path("a folder of this test")),), SECONDS))
    assert loaded == ["clip", "correctness", "image_reward"]


def test_what_a_reward_cannot_judge_ends_the_run_with_its_message(workers):
    with pytest.raises(ContractError, match="task that draws"):
        list(workers([_asked("", names=("picture",), task="t2i")]))
