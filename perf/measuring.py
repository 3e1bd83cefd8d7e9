"""What the measurements of models share: a clock, random models, and parts that fail alone."""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mmada.model.transformer import Transformer, TransformerConfig


class Clock:
    """Seconds on one device, and its peak memory; queued kernels are waited for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wait(self) -> float:
        """Now, when all work is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def __call__(self, work: Callable[[], Any]) -> tuple[float, float, Any]:
        """Seconds that `work` takes, the peak of allocated memory in GB, and what it gives."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = self.wait()
        value = work()
        seconds = self.wait() - started
        peak = torch.cuda.max_memory_allocated() / 1e9 if self.device.type == "cuda" else 0.0
        return seconds, round(peak, 2), value


def random_model(config: TransformerConfig, device: torch.device, dtype: torch.dtype, **options: bool) -> Transformer:
    """A model with normal weights of variance 1/fan_in, made where it runs."""
    with torch.device("meta"):
        model = Transformer(config, **options).to(dtype)
    model.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                parameter.normal_(0, 1 / math.sqrt(parameter.shape[1]), generator=generator)
    return model


def num_parameters(model: Transformer) -> int:
    """All weights, embeddings included."""
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def reported(found: dict[str, Any], name: str) -> Iterator[None]:
    """A part that fails says so in the results, and the others go on."""
    try:
        yield
    except Exception as error:  # any failure of one part, out of memory above all
        found[name] = {"error": f"{type(error).__name__}: {error}"[:500]}
        sys.stdout.write(f"{name} failed: {found[name]['error']}\n")


def release(device: torch.device) -> None:
    """Give memory back between parts."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
