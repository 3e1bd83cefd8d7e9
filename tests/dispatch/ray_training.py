"""A small job as `mmada run train@...` runs it; started by test_ray in processes of its own.

`python -m tests.dispatch.ray_training INPUTS FOLDER STEPS`
"""

import sys
from pathlib import Path

from mmada.dispatch.training import run_training
from mmada.errors import exit_explained
from tests.dispatch.small_job import make_job, read_inputs

if __name__ == "__main__":
    inputs, folder, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    with exit_explained():
        run_training(make_job(read_inputs(inputs), folder, steps=steps), folder)
