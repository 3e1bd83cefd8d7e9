"""Log-probabilities over a large vocabulary without ever holding all logits.

Logits are made for a run of ids at a time, used and forgotten, in the forward pass and once more in the backward pass.
The fourth matrix product costs less than moving tensors of M x V numbers through memory several times.

Legend of shapes: M scored tokens, D width, V ids.
"""

from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

_TILE: Final = {"cpu": 2**23, "cuda": 2**27}
"""Logits of a tile per kind of device: few enough to be small, enough that threads seldom wait for each other."""


def tiled_log_probs(
    hidden: Float[Tensor, "M D"], weight: Float[Tensor, "V D"], targets: Int[Tensor, "M"]
) -> Float[Tensor, "M"]:
    """log softmax(hidden @ weight^T) at `targets`, fp32. Products are made in autocast's type where it is on."""
    kind = hidden.device.type
    product_type = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    with torch.autocast(kind, enabled=False):
        log_probs: Tensor = _TiledLogProbs.apply(hidden, weight, targets, product_type)  # type: ignore[no-untyped-call]
    return log_probs


class _TiledLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Float[Tensor, "M D"],
        weight: Float[Tensor, "V D"],
        targets: Int[Tensor, "M"],
        product_type: torch.dtype,
    ) -> Float[Tensor, "M"]:
        left = hidden.to(product_type)
        normaliser = torch.full((len(hidden),), -torch.inf, device=hidden.device)
        parts = _tiles(len(hidden), weight)
        buffer = _buffer(left, parts)
        for part in parts:
            logits = _product(left, part.to(product_type), buffer)
            highest = logits.amax(1)
            total = logits.sub_(highest[:, None]).exp_().sum(1)
            normaliser = torch.logaddexp(normaliser, highest + total.log())
        ctx.save_for_backward(hidden, weight, targets, normaliser)
        ctx.product_type = product_type
        chosen = (left.float() * weight[targets].to(product_type).float()).sum(1)
        return chosen - normaliser

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Float[Tensor, "M"]) -> tuple[Tensor, Tensor, None, None]:
        hidden, weight, targets, normaliser = ctx.saved_tensors
        product_type = ctx.product_type
        left = hidden.to(product_type)
        pulled = upstream[:, None] * hidden.float()
        scaled = pulled.to(product_type)
        expected = torch.zeros(hidden.shape, device=hidden.device)
        to_weight = torch.empty_like(weight)
        parts = _tiles(len(hidden), weight)
        buffer = _buffer(left, parts)
        for part, gradient in zip(parts, _tiles(len(hidden), to_weight), strict=True):
            right = part.to(product_type)
            probs = _product(left, right, buffer).sub_(normaliser[:, None]).exp_().to(product_type)
            expected += (probs @ right).float()
            torch.neg((probs.T @ scaled).to(weight.dtype), out=gradient)
        to_hidden = upstream[:, None] * (weight[targets].float() - expected)
        to_weight.index_add_(0, targets, pulled.to(weight.dtype))
        return to_hidden.to(hidden.dtype), to_weight, None, None


def _tiles(count: int, weight: Float[Tensor, "V D"]) -> tuple[Tensor, ...]:
    ids = max(1, _TILE.get(weight.device.type, _TILE["cuda"]) // max(count, 1))
    return torch.split(weight, ids)


def _buffer(left: Float[Tensor, "M D"], parts: tuple[Tensor, ...]) -> Tensor:
    """Memory for the logits of one tile: fresh memory for each would cost as much as the product."""
    return left.new_empty(len(left) * len(parts[0]))


def _product(left: Float[Tensor, "M D"], right: Float[Tensor, "v D"], buffer: Tensor) -> Float[Tensor, "M v"]:
    out = buffer[: len(left) * len(right)].view(len(left), len(right))
    return torch.mm(left, right.T, out=out).float()
