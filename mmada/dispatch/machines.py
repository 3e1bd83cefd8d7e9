"""What the machine at hand has, or one that is only known by the name of its devices."""

import os
import shutil
from pathlib import Path
from typing import Final

import torch

from mmada.dispatch.capacity import Machine, check_fits, forecast
from mmada.model.weights import load_config
from mmada.numerics import ACCELERATORS, compute_device, peak_flops
from mmada.params_training import TrainingBlock
from mmada.training.job import Job

_FULL: Final = 0.95
"""Share of a device's memory that a job may fill; the rest is the driver's and the allocator's."""


def this_machine(folder: Path, processes: int) -> Machine:
    """What each of `processes` processes has here, and the free disk at `folder` (or the nearest one that exists)."""
    while not folder.exists():
        folder = folder.parent
    disk = shutil.disk_usage(folder).free
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // processes
    device = compute_device()
    if device.type == "cpu":
        return Machine(memory, memory, disk, None)
    on_device = int(_FULL * torch.cuda.get_device_properties(device).total_memory)
    return Machine(on_device, memory, disk, peak_flops(device))


def named_machine(name: str) -> Machine:
    """A machine with devices of a kind in `mmada.numerics.ACCELERATORS`; its host and disk are not known."""
    kind = ACCELERATORS[name]
    return Machine(int(_FULL * kind.memory), None, None, kind.flops)


def refuse_too_large(job: Job, folder: Path, *, world: int, beside: int) -> None:
    """Raise CapacityError for what cannot fit even with rows of one token (`mmada forecast` knows more).

    `folder`: what is written lies below it. `world`: processes of the job; `beside`: those on this machine.
    """
    machine = this_machine(folder, beside)
    block = TrainingBlock.model_validate(job.block)
    check_fits(forecast(load_config(Path(job.parent)), block, processes=world, length=1, flops=machine.flops), machine)
