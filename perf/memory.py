"""How much memory a process took."""

import re
from pathlib import Path


def peak_bytes() -> int:
    """The most memory that this process held; `ru_maxrss` would begin with the peak of the one that started it."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None, "Linux says how much memory a process took"
    return int(peak[1]) * 1024
