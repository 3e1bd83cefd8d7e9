"""Run a training job on this machine: in this process, or in several that torchrun starts."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from mmada.dispatch.capacity import check_fits, forecast
from mmada.dispatch.machines import this_machine
from mmada.errors import MmadaError, PreemptedError
from mmada.model.weights import load_config
from mmada.params_training import TrainingBlock
from mmada.storage import exclusive
from mmada.training.checkpoints import Position, newest_position
from mmada.training.job import Job, run_job
from mmada.training.stopping import StopRequest

_GRACE_SECONDS: Final = 600
"""For processes that were asked to end, to finish their step and save."""


def run_training(job: Job, work_dir: Path) -> Position:
    """Run `job` to its end. MMADA_TRAIN_PROCESSES says in how many processes (torchrun, gloo or nccl); default 1.
    Within a Slurm allocation MMADA_TRAIN_NODES nodes run that many each, and meet at MMADA_TRAIN_HEAD (host:port).

    Returns where the run stands then. Raises CapacityError before the first step when it cannot fit, PreemptedError
    when it was asked to end by SIGTERM or SIGUSR1, and MmadaError when a process of a distributed job fails; the run
    continues from its last state when it is started again, with any number of processes.
    """
    # Two projects that share a unit store may want the very same run: the second waits, and finds it finished.
    with exclusive(Path(f"{job.state_dir}.lock")):
        processes = int(os.environ.get("MMADA_TRAIN_PROCESSES", "1"))
        if not Path(job.state_dir).exists():
            _check_start(job, processes)
        if processes * _nodes() == 1:
            run_job(job)
        else:
            _run_processes(job, work_dir, processes)
        return newest_position(Path(job.state_dir))


def _check_start(job: Job, processes: int) -> None:
    """Refuse before the first step what cannot fit even with rows of one token (`mmada forecast` knows more)."""
    block = TrainingBlock.model_validate(job.block)
    machine = this_machine(Path(job.state_dir).parent, processes)
    world = processes * _nodes()
    needs = forecast(load_config(Path(job.parent)), block, processes=world, length=1, flops=machine.flops)
    check_fits(needs, machine)


def _nodes() -> int:
    return int(os.environ.get("MMADA_TRAIN_NODES", "1"))


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
    head = os.environ["MMADA_TRAIN_HEAD"]
    meeting = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={head}"]
    return ["srun", f"--nodes={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1", *torchrun, *meeting]


def _run_processes(job: Job, work_dir: Path, processes: int) -> None:
    path = work_dir / f"{job.name}.json"
    job.write(path)
    process = subprocess.Popen([*_launcher(processes, _nodes()), "-m", "mmada.training.job", str(path)])
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
