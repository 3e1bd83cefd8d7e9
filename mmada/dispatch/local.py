"""Run a training job on this machine: in this process, or in several that torchrun starts."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from mmada.dispatch.capacity import refuse_idle_processes
from mmada.dispatch.machines import refuse_too_large
from mmada.environment import whole_number
from mmada.errors import MmadaError, ParamsError, PreemptedError
from mmada.params_training import TrainingBlock
from mmada.processes import bound
from mmada.training.checkpoints import Position, newest_position
from mmada.training.job import Job, run_job
from mmada.training.stopping import StopRequest

_GRACE_SECONDS: Final = 600
"""For processes that were asked to end, to finish their step and save."""


def run_here(job: Job, work_dir: Path, processes: int) -> Position:
    """Run `job` to its end in `processes` processes (torchrun, gloo or nccl); see training.run_training.

    Within a Slurm allocation MMADA_TRAIN_NODES nodes run that many each, and meet at MMADA_TRAIN_HEAD (host:port).
    """
    world = processes * _nodes()
    refuse_idle_processes(TrainingBlock.model_validate(job.block), job.name, world)
    if not Path(job.state_dir).exists():
        refuse_too_large(job, Path(job.state_dir).parent, world=world, beside=processes)
    if world == 1:
        run_job(job)
    else:
        _run_processes(job, work_dir, processes)
    return newest_position(job.state_dir)


def _nodes() -> int:
    return whole_number("MMADA_TRAIN_NODES", default=1, least=1)


def _launcher(processes: int, nodes: int) -> list[str]:
    """torchrun, on each node of a Slurm allocation where there are several."""
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={processes}",
        f"--shutdown-timeout={_GRACE_SECONDS}",
    ]
    if nodes == 1:
        return [*torchrun, "--standalone"]
    head = os.environ.get("MMADA_TRAIN_HEAD")
    if not head:
        raise ParamsError(
            f"MMADA_TRAIN_NODES is {nodes}: several nodes need MMADA_TRAIN_HEAD (host:port, where they meet), as a "
            "script of `mmada dispatch slurm` sets it"
        )
    meeting = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={head}"]
    return ["srun", f"--nodes={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1", *torchrun, *meeting]


def _run_processes(job: Job, work_dir: Path, processes: int) -> None:
    path = work_dir / f"{job.name}.json"
    job.write(path)
    process = subprocess.Popen(bound([*_launcher(processes, _nodes()), "-m", "mmada.training.job", str(path)]))
    # torchrun passes SIGTERM on to its processes, and takes SIGUSR1 for its own end.
    with StopRequest(then=process.terminate) as stop:
        code = process.wait()
    if stop.asked and code != 0:
        raise PreemptedError(f"training {job.name} was asked to end; run the same command again to go on")
    if code != 0:
        raise MmadaError(
            f"training {job.name} on {processes} processes ended with code {code}; its messages are above. "
            "Run the same command again: it continues from its last state"
        )
