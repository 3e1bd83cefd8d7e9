"""Where a training job runs: on this machine, or on a Ray cluster."""

import os
from pathlib import Path

from mmada.dispatch.local import run_here
from mmada.environment import whole_number
from mmada.errors import ParamsError
from mmada.storage import exclusive
from mmada.training.checkpoints import Position
from mmada.training.job import Job


def run_training(job: Job, work_dir: Path) -> Position:
    """Run `job` to its end where MMADA_DISPATCH says (`local` or `ray`; default local), in MMADA_TRAIN_PROCESSES
    processes (default 1). `work_dir`: for files that are needed meanwhile.

    Returns where the run stands then. Raises CapacityError before the first step when it cannot fit, PreemptedError
    when it was asked to end by SIGTERM or SIGUSR1, and MmadaError when a process of the job fails; the run continues
    from its last state when it is started again, with any number of processes.
    """
    # Two projects that share a unit store may want the very same run: the second waits, and finds it finished.
    with exclusive(Path(f"{job.state_dir}.lock")):
        processes = whole_number("MMADA_TRAIN_PROCESSES", default=1, least=1)
        match os.environ.get("MMADA_DISPATCH", "local"):
            case "local":
                return run_here(job, work_dir, processes)
            case "ray":
                from mmada.dispatch.ray import run_on_ray

                return run_on_ray(job, work_dir, processes)
            case other:
                raise ParamsError(f"MMADA_DISPATCH is {other!r}; it may be `local` (this machine) or `ray`")
