"""A training step on a GPU: seconds, memory, and the share of the device's peak that the model's own work reaches."""

from collections.abc import Callable
from typing import Any

import torch

from mmada.model.losses import token_log_probs
from mmada.model.transformer import TransformerConfig, compile_blocks
from perf.gpu_shapes import Shapes
from perf.measuring import Clock, num_parameters, random_model, release, reported

PEAK_BF16_TFLOPS = {"H100 PCIe": 756.0, "H100": 989.4, "H200": 989.4, "A100": 312.0}
"""Dense, from the vendor's data sheets; by a part of the device's name, the more special first."""


def train_part(shapes: Shapes, device: torch.device, clock: Clock, is_late: Callable[[], bool]) -> dict[str, Any]:
    """A whole step in bf16 autocast over fp32 weights: forward, loss at half of the tokens, backward, AdamW.

    MFU counts the model's products and attention, three times the forward's, and the output matrix at target
    tokens alone; what checkpointing computes again does not count.
    """
    config = shapes.train
    found: dict[str, Any] = {
        "shape": {**vars(config), "batch": shapes.train_batch, "tokens": shapes.train_length},
    }
    for compiled in (False, True):
        for checkpointing in (False, True):
            name = f"{'compiled' if compiled else 'eager'}{'_checkpointed' if checkpointing else ''}"
            found[name] = {"skipped": "out of time"}
            if not is_late():
                with reported(found, name):
                    found[name] = train_steps(shapes, device, clock, compiled, checkpointing)
            release(device)
    return found


def train_steps(
    shapes: Shapes, device: torch.device, clock: Clock, compiled: bool, checkpointing: bool
) -> dict[str, Any]:
    """Seconds of a step, its MFU and its memory."""
    torch._dynamo.reset()
    model = random_model(shapes.train, device, torch.float32, activation_checkpointing=checkpointing).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=device.type == "cuda")
    if compiled:
        compile_blocks(model)
    generator = torch.Generator(device).manual_seed(1)
    size = (shapes.train_batch, shapes.train_length)
    x0 = torch.randint(0, shapes.vocab.num_text, size, device=device, generator=generator)
    is_target = torch.arange(size[1], device=device).expand(size) % 2 == 0
    ids = x0.masked_fill(is_target, shapes.vocab.mask)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            hidden = model.hidden_states(ids)
            loss = -token_log_probs(model, hidden, x0, is_target, shapes.vocab, vocabulary="full").sum()
        (loss / is_target.sum()).backward()
        optimiser.step()
        optimiser.zero_grad()

    rounds = 5
    first, _, _ = clock(step)
    clock(step)
    seconds, peak_gb, _ = clock(lambda: [step() for _ in range(rounds)])
    tflops = train_flops(shapes.train, size, int(is_target.sum())) / (seconds / rounds) / 1e12
    return {
        "parameters": num_parameters(model),
        "step_s": seconds / rounds,
        "first_step_s": first,
        "tokens_per_s": size[0] * size[1] / (seconds / rounds),
        "tflops": tflops,
        "mfu": tflops / peak_tflops(device) if peak_tflops(device) else None,
        "peak_gb": peak_gb,
    }


def train_flops(config: TransformerConfig, size: tuple[int, int], targets: int) -> float:
    """Floating-point operations of forward and backward that the model itself asks for."""
    tokens, length = size[0] * size[1], size[1]
    matrices = config.n_layers * (4 * config.d_model**2 + 3 * config.d_model * config.mlp_hidden_size)
    attention = config.n_layers * 4 * length * config.d_model
    return 3.0 * (tokens * (2 * matrices + attention) + targets * 2 * config.d_model * config.embedding_size)


def peak_tflops(device: torch.device) -> float | None:
    """Of bf16 products; None for a device that the table does not know."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else ""
    return next((peak for part, peak in PEAK_BF16_TFLOPS.items() if part in name), None)
