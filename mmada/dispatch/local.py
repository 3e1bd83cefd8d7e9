"""Run a training job on this machine: in this process, or in several that torchrun starts."""

import os
import subprocess
import sys
from pathlib import Path

from mmada.errors import MmadaError
from mmada.storage import exclusive
from mmada.training.job import Job, run_job


def run_training(job: Job, work_dir: Path) -> None:
    """Run `job` to its end. MMADA_TRAIN_PROCESSES says in how many processes (torchrun, gloo or nccl); default 1.

    Raises MmadaError when a process of a distributed job fails; the run continues from its last state when it is
    started again, with any number of processes.
    """
    # Two projects that share a unit store may want the very same run: the second waits, and finds it finished.
    with exclusive(Path(f"{job.state_dir}.lock")):
        _run(job, work_dir, processes=int(os.environ.get("MMADA_TRAIN_PROCESSES", "1")))


def _run(job: Job, work_dir: Path, *, processes: int) -> None:
    if processes == 1:
        run_job(job)
        return
    path = work_dir / f"{job.name}.json"
    job.write(path)
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
    ]
    code = subprocess.run([*launcher, "-m", "mmada.training.job", str(path)], check=False).returncode
    if code != 0:
        raise MmadaError(
            f"training {job.name} on {processes} processes ended with code {code}; its messages are above. "
            "Run the same command again: it continues from its last state"
        )
