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


def cpu_multiplies_bf16() -> bool:
    """Whether this processor has instructions for bf16; without them a bf16 product takes 20 times that of fp32."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
