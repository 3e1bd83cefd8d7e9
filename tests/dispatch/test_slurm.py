"""The batch script is the reviewed one, and does what it says when jobs end, fail or are preempted."""

import os
import random
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mmada.commands import training
from mmada.dispatch.slurm import SlurmJob, slurm_script
from mmada.errors import ParamsError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "slurm_stage1.sh"
JOB = SlurmJob(stage="stage1", nodes=8, gpus=8, cpus=64, time="24:00:00", notice=600)


def test_the_script_is_the_golden_one():
    if os.environ.get("MMADA_UPDATE_GOLDEN"):
        GOLDEN.write_text(slurm_script(JOB))
    assert slurm_script(JOB) == GOLDEN.read_text()


@pytest.mark.parametrize("time", ["90", "1:30", "24:00:00", "2-12", "2-12:00", "2-12:00:00", "UNLIMITED"])
def test_a_time_is_as_slurm_writes_it(time):
    assert f"#SBATCH --time={time}\n" in slurm_script(replace(JOB, time=time))


@pytest.mark.parametrize("time", ["5 hours", "", "1d", "24:00:00:00", "2-"])
def test_any_other_time_is_refused(time):
    """Of `5 hours` Slurm might take the 5, which are minutes."""
    with pytest.raises(ParamsError, match="is no time as Slurm writes it"):
        slurm_script(replace(JOB, time=time))


def test_a_job_whose_processes_would_be_idle_is_refused_before_it_queues(project, capsys):
    training.slurm("stage1", 1, 8, 64, "24:00:00", 600)
    assert "#SBATCH --gpus-per-node=8" in capsys.readouterr().out
    with pytest.raises(ParamsError, match=r"training\.stage1\.masked_prediction\.batch_size"):
        training.slurm("stage1", 100, 8, 64, "24:00:00", 600)


@pytest.fixture
def cluster(tmp_path):
    """Programs that stand for Slurm's, DVC's and ours; what they were asked is in `said`."""

    def program(name: str, body: str) -> None:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {tmp_path}/said\n{body}\n')
        path.chmod(0o755)

    program("scontrol", '[ "$1" = show ] && echo node1; true')
    program("dvc", "true")
    wait = 'trap "exit 75" USR1; touch ready; for i in {1..500}; do sleep 0.01; done'
    program("mmada", f'if [ "$END" = signal ]; then {wait}; fi\nexit "$END"')
    (tmp_path / "train.sh").write_text(slurm_script(JOB))
    return tmp_path


def _turn(cluster: Path, end: str) -> tuple[int, list[str]]:
    """One turn of the job: exit code, and what the programs were asked."""
    (cluster / "said").unlink(missing_ok=True)
    (cluster / "ready").unlink(missing_ok=True)
    environment = {
        "PATH": f"{cluster / 'bin'}:/usr/bin:/bin",
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "n",
        "END": end,
    }
    process = subprocess.Popen(["bash", "train.sh"], cwd=cluster, env=environment)
    while end == "signal" and not (cluster / "ready").exists():
        time.sleep(0.005)
    if end == "signal":
        process.send_signal(signal.SIGUSR1)
    return process.wait(30), (cluster / "said").read_text().splitlines()


def test_a_preempted_job_is_queued_again_a_finished_one_recorded_a_failed_one_neither(cluster):
    assert _turn(cluster, "signal") == (75, _said("scontrol requeue 7"))
    assert _turn(cluster, "75") == (75, _said("scontrol requeue 7"))
    assert _turn(cluster, "138") == (138, _said("scontrol requeue 7"))
    assert _turn(cluster, "0") == (0, _said("dvc commit --force train@stage1"))
    assert _turn(cluster, "2") == (2, _said())
    assert _turn(cluster, "137") == (137, _said())


def _said(*last: str) -> list[str]:
    return ["scontrol show hostnames n", "mmada run train@stage1", *last]


def test_random_sequences_of_preemptions_end_as_the_run_ends(cluster):
    """A stand-in for the queue: a job that asks for another turn gets one."""
    draw = random.Random(1)
    for _ in range(100):
        turns = [draw.choice(["signal", "75", "75", "138"]) for _ in range(draw.randrange(3))]
        turns.append(draw.choice(["0", "2"]))
        asked = 0
        for end in turns:
            code, said = _turn(cluster, end)
            asked += "scontrol requeue 7" in said
        assert asked == len(turns) - 1
        assert code == int(turns[-1])
        assert ("dvc commit --force train@stage1" in said) == (code == 0)
