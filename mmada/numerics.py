"""Where networks run, and the class of machines within which equal input gives equal bytes."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch

from mmada.errors import ParamsError


@dataclass(frozen=True)
class Accelerator:
    """A kind of CUDA device by its data sheet: dense bf16 operations per second, bytes of memory."""

    flops: float
    memory: int


ACCELERATORS: Final[Mapping[str, Accelerator]] = MappingProxyType(
    {
        "A100": Accelerator(312e12, 80 * 10**9),
        "H100": Accelerator(989e12, 80 * 10**9),
        "H200": Accelerator(989e12, 141 * 10**9),
    }
)
"""By a part of the device's name."""


def peak_flops(device: torch.device) -> float | None:
    """bf16 operations per second that a device can do at most; None where that is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((kind.flops for part, kind in ACCELERATORS.items() if part in name), None)


def compute_device(asked: str | None = None) -> torch.device:
    """What is asked for (`cpu`, `cuda`, `cuda:1`), else what MMADA_DEVICE names, else CUDA where there is one.

    Raises ParamsError for a device that this machine does not have.
    """
    asked = asked or os.environ.get("MMADA_DEVICE", "")
    has_cuda = torch.cuda.is_available()
    try:
        device = torch.device(asked or ("cuda" if has_cuda else "cpu"))
    except RuntimeError:
        device = None
    # Other kinds that torch knows (mps, xpu, meta) have no numerics class: their results would pass for a CPU's.
    if device is None or device.type not in {"cpu", "cuda"}:
        raise ParamsError(f"there is no device {asked!r} (MMADA_DEVICE); use cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ParamsError(
            f"device {asked!r} (MMADA_DEVICE): this machine has {torch.cuda.device_count()} CUDA devices; use cpu"
        )
    return device


def numerics_class(threads: int) -> str:
    """Name of this machine's numerics: processor kind, vector instructions, torch version, threads.

    Part of the key of every unit whose result is made with floating-point arithmetic. Across classes results agree
    closely but not bit for bit.
    """
    device = compute_device()
    if device.type == "cuda":
        return f"cuda/{torch.cuda.get_device_name(device)}/torch{torch.__version__}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"cpu/{platform.machine()}/{capability}/torch{torch.__version__}/threads{threads}"


def cpu_multiplies_bf16() -> bool:
    """Whether this processor has instructions for bf16; without them a bf16 product takes 20 times that of fp32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
