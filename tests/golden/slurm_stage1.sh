#!/bin/bash
#SBATCH --job-name=mmada-stage1
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=mmada-stage1-%j.log
# Submit it from the project's root, a folder that all nodes share, with the environment active. 600 s before the
# time is over, and when the job is preempted, training saves its state and ends with 75 (or, before it has begun,
# by the signal itself: 138, 143): the job is put in the queue again and goes on. Slurm does that when a node fails.
set -euo pipefail
export MMADA_TRAIN_NODES=8 MMADA_TRAIN_PROCESSES=8
export SRUN_CPUS_PER_TASK=64  # srun has not taken it from the job since Slurm 22.05
MMADA_TRAIN_HEAD="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):29500"
export MMADA_TRAIN_HEAD

run=
trap '[ -z "$run" ] || kill -USR1 "$run" 2>/dev/null || true' USR1 TERM
mmada run train@stage1 &
run=$!
code=0
wait "$run" || code=$?
while kill -0 "$run" 2>/dev/null; do  # the signal ended the waiting, not the run
  code=0
  wait "$run" || code=$?
done
case "$code" in
  0) dvc commit --force train@stage1 ;;
  75 | 138 | 143) scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$code"
