"""The class of machines within which equal input gives equal bytes."""

import platform

import torch


def numerics_class(threads: int) -> str:
    """Name of this machine's numerics: processor kind, vector instructions, torch version, threads.

    Part of the key of every unit whose result is made with floating-point arithmetic. Across classes results agree
    closely but not bit for bit.
    """
    if torch.cuda.is_available():
        return f"cuda/{torch.cuda.get_device_name()}/torch{torch.__version__}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"cpu/{platform.machine()}/{capability}/torch{torch.__version__}/threads{threads}"
