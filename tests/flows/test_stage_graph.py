"""How one stage's `dvc repro` is judged by its last lines."""

import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from flows import stage_graph
from flows.stage_graph import StageFailedError, _Done, read_stage_graph, repro
from mmada.errors import InputError, ParamsError

ROOT = Path(__file__).resolve().parents[2]

FAILED = "ERROR: failed to reproduce 'train@stage1': failed to run: exec mmada run train@stage1, exited with"


@pytest.fixture
def dvc(monkeypatch):
    """`dvc` that ends as it is told, turn by turn; returns how often it was run."""
    turns = []

    def script(*ends):
        answers = iter(ends)

        def run(project, arguments, log):
            turns.append(arguments)
            return next(answers)

        monkeypatch.setattr(stage_graph, "_run_dvc", run)
        monkeypatch.setattr(stage_graph, "get_run_logger", lambda: logging.getLogger("test"))
        return turns

    return script


def test_training_that_was_asked_to_end_goes_on_without_spending_a_retry(dvc):
    asked_to_end, finished = _Done(1, [f"{FAILED} 75"]), _Done(0, ["Running stage 'train@stage1':"])
    turns = dvc(asked_to_end, asked_to_end, finished)
    assert repro.fn("train@stage1", Path()) == "ran"
    assert len(turns) == 3


@pytest.mark.parametrize(("code", "by_user"), [(2, True), (1, False), (137, False)])
def test_other_ends_are_failures_and_only_users_errors_are_not_tried_again(dvc, code, by_user):
    turns = dvc(_Done(1, [f"{FAILED} {code}"]))
    with pytest.raises(StageFailedError) as failure:
        repro.fn("train@stage1", Path())
    assert failure.value.by_user == by_user
    assert len(turns) == 1


@pytest.mark.parametrize(
    ("folder", "target", "message"),
    [(ROOT, "nosuch", "Stage 'nosuch' not found"), (Path("/"), "select", "you are not inside of a DVC repository")],
)
def test_a_graph_that_dvc_cannot_read_is_named_with_its_words(folder: Path, target: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_stage_graph(folder, [target])


def test_the_command_refuses_what_a_user_can_mend_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows"],
        cwd=ROOT,
        env=os.environ | {"MMADA_STAGES": "two"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "mmada: MMADA_STAGES is 'two'; it is a whole number of 1 or more\n"


@pytest.mark.parametrize("wrong", ["two", "0"])
def test_a_wrong_number_of_stages_at_once_is_named(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("MMADA_STAGES", wrong)
    with pytest.raises(ParamsError, match=f"MMADA_STAGES is '{wrong}'; it is a whole number of 1 or more"):
        runpy.run_path(stage_graph.__file__)
