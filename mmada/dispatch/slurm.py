"""A batch script for Slurm that trains one stage, and comes back when the scheduler wants its machines for others."""

import re
from dataclasses import dataclass
from string import Template
from typing import Final

from mmada.errors import ParamsError, PreemptedError

_PORT: Final = 29500
_TIME: Final = re.compile(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}|UNLIMITED|INFINITE", re.ASCII)

_SCRIPT: Final = Template("""\
#!/bin/bash
#SBATCH --job-name=mmada-$stage
#SBATCH --nodes=$nodes
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=$gpus
#SBATCH --cpus-per-task=$cpus
#SBATCH --time=$time
#SBATCH --signal=B:USR1@$notice
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=mmada-$stage-%j.log
# Submit it from the project's root, a folder that all nodes share, with the environment active. $notice s before the
# time is over, and when the job is preempted, training saves its state and ends with $resume (or, before it has begun,
# by the signal itself: 138, 143): the job is put in the queue again and goes on. Slurm does that when a node fails.
set -euo pipefail
export MMADA_TRAIN_NODES=$nodes MMADA_TRAIN_PROCESSES=$gpus
export SRUN_CPUS_PER_TASK=$cpus  # srun has not taken it from the job since Slurm 22.05
MMADA_TRAIN_HEAD="$$(scontrol show hostnames "$$SLURM_JOB_NODELIST" | head -n 1):$port"
export MMADA_TRAIN_HEAD

run=
trap '[ -z "$$run" ] || kill -USR1 "$$run" 2>/dev/null || true' USR1 TERM
mmada run train@$stage &
run=$$!
code=0
wait "$$run" || code=$$?
while kill -0 "$$run" 2>/dev/null; do  # the signal ended the waiting, not the run
  code=0
  wait "$$run" || code=$$?
done
case "$$code" in
  0) dvc commit --force train@$stage ;;
  $resume | 138 | 143) scontrol requeue "$$SLURM_JOB_ID" ;;
esac
exit "$$code"
""")


@dataclass(frozen=True)
class SlurmJob:
    """What a batch script asks Slurm for. `time`: as Slurm writes it. `notice`: seconds to save before the end."""

    stage: str
    nodes: int
    gpus: int
    cpus: int
    time: str
    notice: int


def slurm_script(job: SlurmJob) -> str:
    """The script; `sbatch FILE` submits it. Raises ParamsError for a time that Slurm would misread."""
    if not _TIME.fullmatch(job.time):
        raise ParamsError(
            f"{job.time!r} is no time as Slurm writes it: minutes, hours:minutes:seconds, days-hours, or "
            "days-hours:minutes:seconds, for example 24:00:00"
        )
    return _SCRIPT.substitute(vars(job), port=_PORT, resume=PreemptedError.exit_code)
