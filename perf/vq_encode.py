"""Encoding of one 256-pixel picture by the full-size MAGVIT-v2, beside the straightforward encoder."""

import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmada.vq.magvit import MagvitSizes, MAGVITv2

SIDE = 256
ROUNDS = 5


def bench_vq_encode() -> dict[str, float]:
    """Seconds of both (best of some rounds in turn), with as many threads as torch has, and whether codes are equal.

    Processor time, of all threads, says what the algorithm saves on a machine that others use at the same time.
    """
    torch.manual_seed(0)
    model = MAGVITv2(MagvitSizes()).eval().requires_grad_(False)
    state = {key.removeprefix("encoder."): value for key, value in model.encoder.state_dict().items()}
    pixels = torch.from_numpy(np.random.default_rng(0).uniform(-1.0, 1.0, (1, 3, SIDE, SIDE)).astype(np.float32))
    model.encode(pixels)  # transforms the weights, once per process
    ours, plain = [], []
    for _ in range(ROUNDS):
        plain.append(_seconds(lambda: plain_latents(state, model.sizes, pixels)))
        ours.append(_seconds(lambda: model.latents(pixels)))
    (plain_s, plain_cpu_s), (ours_s, ours_cpu_s) = np.array(plain).T, np.array(ours).T
    latents, plainly = model.latents(pixels), plain_latents(state, model.sizes, pixels)
    return {
        "threads": torch.get_num_threads(),
        "plain_s": float(plain_s.min()),
        "ours_s": float(ours_s.min()),
        "ratio": float(plain_s.min() / ours_s.min()),
        "median_ratio": float(np.median(plain_s) / np.median(ours_s)),
        "processor_ratio": float(np.median(plain_cpu_s) / np.median(ours_cpu_s)),
        "different_bits": int(((latents > 0) != (plainly > 0)).sum()),
        "largest_difference_of_latents": float((latents - plainly).abs().max()),
    }


@torch.no_grad()
def plain_latents(state: dict[str, Tensor], sizes: MagvitSizes, pixels: Float[Tensor, "B 3 H W"]) -> Tensor:
    """The encoder written down operation by operation, contiguous and eager."""

    def conv(x: Tensor, name: str, stride: int = 1, padding: int = 1) -> Tensor:
        return functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding)

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.group_norm(x, 32, state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def activated(x: Tensor, name: str) -> Tensor:
        normed = norm(x, name)
        return normed * torch.sigmoid(normed)

    def block(x: Tensor, name: str) -> Tensor:
        change = conv(activated(x, f"{name}.norm1"), f"{name}.conv1")
        change = conv(activated(change, f"{name}.norm2"), f"{name}.conv2")
        is_widened = f"{name}.nin_shortcut.weight" in state
        return (conv(x, f"{name}.nin_shortcut", padding=0) if is_widened else x) + change

    def attention(x: Tensor, name: str) -> Tensor:
        normed = norm(x, f"{name}.norm")
        q, k, v = (conv(normed, f"{name}.{part}", padding=0).flatten(2) for part in "qkv")
        weights = torch.softmax(q.transpose(1, 2) @ k * q.shape[1] ** -0.5, dim=2)
        return x + conv((v @ weights.transpose(1, 2)).view_as(x), f"{name}.proj_out", padding=0)

    x = conv(pixels, "conv_in")
    for level, count in enumerate(sizes.num_res_blocks_encoder):
        for index in range(count):
            x = block(x, f"down.{level}.block.{index}")
        if level < len(sizes.num_res_blocks_encoder) - 1:
            x = conv(functional.pad(x, (0, 1, 0, 1)), f"down.{level}.downsample.conv", stride=2, padding=0)
    x = block(attention(block(x, "mid.block_1"), "mid.attn_1"), "mid.block_2")
    return conv(conv(activated(x, "norm_out"), "conv_out"), "quant_conv", padding=0)


def _seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Wall time, and processor time of all threads."""
    started, used = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - started, time.process_time() - used
