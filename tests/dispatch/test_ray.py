"""Training on a Ray cluster whose machines share no disk: a machine is lost, a run is cancelled."""

import importlib.util
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mmada.dispatch.away import sent_away
from mmada.errors import PreemptedError
from mmada.lineage.manifest import open_artifact, read_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.training.checkpoints import newest_position
from mmada.training.job import Job, run_job
from mmada.training.state_places import open_states
from tests.absent import absent
from tests.dispatch.small_job import make_inputs, make_job, read_inputs
from tests.ray_cluster import private_cluster
from tests.services import S3Server

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
STEPS = 8


@dataclass
class Cluster:
    """Two machines of one processor each, an object store, and a job's inputs in this project."""

    inputs: Path
    store: str
    machines: "subprocess.Popen[str]"
    variables: dict[str, str]

    @property
    def log(self) -> Path:
        """What the last job printed."""
        return self.inputs / "log"

    def ask(self, line: str) -> None:
        """`add NAME` or `kill NAME`."""
        assert self.machines.stdin is not None
        assert self.machines.stdout is not None
        self.machines.stdin.write(f"{line}\n")
        self.machines.stdin.flush()
        assert self.machines.stdout.readline() == "done\n"

    def train(self, job: Job, folder: Path, processes: int) -> "subprocess.Popen[bytes]":
        """Start a job that `make_job` made for the folder."""
        steps = str(job.block["max_steps"])
        command = [sys.executable, "-m", "tests.dispatch.ray_training", str(self.inputs), str(folder), steps]
        environment = os.environ | self.variables | {"MMADA_TRAIN_PROCESSES": str(processes)}
        with self.log.open("w") as log:
            return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)

    def job(self, folder: Path, steps: int) -> Job:
        """A job that puts what it makes below `folder`."""
        return make_job(read_inputs(self.inputs), folder, steps=steps)

    def await_state(self, job: Job, step: int) -> None:
        """Until a state of this step or a later one is in the store."""
        states = open_states(sent_away(job, self.store).state_dir)
        deadline = time.monotonic() + 300
        while (states.newest() or "") < f"step-{step:09d}":
            assert time.monotonic() < deadline, f"the job does not get on: {self.log.read_text()}"
            time.sleep(0.1)

    def processes(self) -> list[int]:
        """Those that train."""
        commands = {process.pid: process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])}
        return [pid for pid, words in commands.items() if {"mmada.dispatch.away", self.store} <= set(words)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Cluster]:
    if importlib.util.find_spec("ray") is None:
        absent("Ray", "pip install -c constraints.txt '.[ray]'")
    folder = tmp_path_factory.mktemp("ray")
    store = s3_server.make_bucket(f"training-{secrets.token_hex(4)}")
    make_inputs(folder)
    variables = {**s3_server.variables, **private_cluster()}
    command = [sys.executable, "-m", "tests.dispatch.ray_machines", str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, **pipes) as machines:
        address = machines.stdout.readline().strip()
        variables |= {"MMADA_DISPATCH": "ray", "RAY_ADDRESS": address, "MMADA_TRAIN_STORE": store}
        made = Cluster(folder, store, machines, variables)
        made.ask("add machine0")
        made.ask("add machine1")
        yield made
        machines.stdin.close()


@pytest.fixture(autouse=True)
def _store_is_known(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_server.variables.items():
        monkeypatch.setenv(name, value)


def test_a_job_that_loses_its_machine_ends_with_the_bytes_of_one_that_does_not(
    cluster: Cluster, tmp_path: Path
) -> None:
    job = cluster.job(tmp_path / "away", STEPS)
    process = cluster.train(job, tmp_path / "away", 1)
    cluster.await_state(job, 2)
    (used,) = cluster.inputs.glob("machine*/mmada/jobs")
    cluster.ask(f"kill {used.parts[-3]}")
    code, printed = process.wait(300), cluster.log.read_text()
    assert code == 0, printed[-5000:]
    assert "was lost; it goes on from step-" in printed
    assert len(list(cluster.inputs.glob("machine*/mmada/jobs"))) == 2
    here = cluster.job(tmp_path / "here", STEPS)
    run_job(here)
    for folder in ("model", "checkpoints"):
        files = {path.relative_to(tmp_path / "here") for path in (tmp_path / "here" / folder).rglob("*.*")}
        assert files
        for file in files:
            assert (tmp_path / "away" / file).read_bytes() == (tmp_path / "here" / file).read_bytes(), file
    (published,) = (tmp_path / "away/checkpoints").iterdir()
    (record,) = ProvenanceStore(tmp_path / "away/provenance").records(open_artifact(published).id)
    assert record["inputs"]["shards"]["id"] == read_artifact(cluster.inputs / "shards").id
    curves = [json.loads(line) for line in (tmp_path / "away/curves.jsonl").read_text().splitlines()]
    assert [values["step"] for values in curves] == list(range(1, STEPS + 1))


def test_a_job_that_is_asked_to_end_saves_its_state_and_goes_on_from_it_when_it_is_run_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    steps = 5 * STEPS
    job = cluster.job(tmp_path / "away", steps)
    process = cluster.train(job, tmp_path / "away", 1)
    cluster.await_state(job, 2)
    process.terminate()
    assert process.wait(60) == PreemptedError.exit_code, cluster.log.read_text()[-5000:]
    assert not cluster.processes()
    assert not (tmp_path / "away" / "model").exists()
    reached = newest_position(sent_away(job, cluster.store).state_dir).step
    assert 2 <= reached < steps
    again = cluster.train(job, tmp_path / "away", 1)
    assert again.wait(300) == 0, cluster.log.read_text()[-5000:]
    assert f"{reached} of {steps} steps" in cluster.log.read_text()
    here = cluster.job(tmp_path / "here", steps)
    run_job(here)
    for file in (tmp_path / "here" / "model").iterdir():
        assert (tmp_path / "away" / "model" / file.name).read_bytes() == file.read_bytes(), file.name


def test_a_cancelled_job_of_two_machines_is_gone_within_ten_seconds(cluster: Cluster, tmp_path: Path) -> None:
    cluster.ask("add machine2")  # in place of the one that was lost
    job = cluster.job(tmp_path, 1000)
    process = cluster.train(job, tmp_path, 2)
    cluster.await_state(job, 1)
    assert len(cluster.processes()) == 2
    process.kill()
    process.wait()
    killed = time.monotonic()
    while cluster.processes():
        assert time.monotonic() < killed + 10
        time.sleep(0.05)
