"""The processes that run units (mmada.processes), as the rest of the machine sees them."""

import psutil


def is_worker(process: psutil.Process) -> bool:
    """Whether it runs units."""
    try:
        return "mmada.processes import _serve" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has just ended, and may not have been waited for yet
        return False
