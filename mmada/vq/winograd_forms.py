"""Winograd's minimal filtering (arXiv:1509.09308) for kernels of 3: F(2, 3) and F(4, 3), to be nested over both axes.

A line is cut into tiles of `step` + 2 pixels that overlap by two. The transforms are sums of whole slices: the k-th
slice holds the k-th pixel of every tile. F(4, 3) multiplies less and rounds more; its points 0, 1, -1, 1/2, -2 round
less than the usual 0, 1, -1, 2, -2 (arXiv:1803.10986).
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_Transform = Callable[[Sequence[Tensor], Sequence[Tensor]], None]


class Form(NamedTuple):
    """A convolution of a line is `from_tiles(to_tiles(pixels) * (of_kernel @ kernel))`: A, B and G of the paper.

    The transforms write their second argument. Each pixel takes the product of index 1 exactly once.
    """

    step: int
    of_kernel: Float[Tensor, "step+2 3"]
    to_tiles: _Transform
    from_tiles: _Transform


def _to_tiles_2(d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    torch.sub(d[0], d[2], out=out[0])
    torch.add(d[1], d[2], out=out[1])
    torch.sub(d[2], d[1], out=out[2])
    torch.sub(d[1], d[3], out=out[3])


def _from_tiles_2(m: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    torch.add(m[0], m[1], out=out[0]).add_(m[2])
    torch.sub(m[1], m[2], out=out[1]).sub_(m[3])


def _to_tiles_4(d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    even = torch.sub(d[4], d[2], out=out[1])
    odd = torch.sub(d[3], d[1], out=out[2])
    torch.sub(d[0], d[2], out=out[0]).add_(even).add_(odd, alpha=1.5)
    torch.add(even, odd, alpha=2.0, out=out[3])
    torch.sub(even, odd, alpha=0.5, out=out[4])
    torch.sub(d[5], d[3], out=out[5]).add_(even, alpha=1.5).sub_(odd)
    even.add_(d[3], alpha=1.5)
    odd.add_(d[2], alpha=1.5)
    out[1].add_(odd)  # even + odd
    torch.sub(out[1], odd, alpha=2.0, out=out[2])  # even - odd


def _from_tiles_4(m: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    torch.add(m[1], m[2], out=out[2])
    torch.sub(m[1], m[2], out=out[3])
    torch.add(m[0], out[2], out=out[0]).add_(m[3]).add_(m[4])
    torch.add(out[3], m[3], alpha=0.5, out=out[1]).sub_(m[4], alpha=2.0)
    out[2].add_(m[3], alpha=0.25).add_(m[4], alpha=4.0)
    out[3].add_(m[3], alpha=0.125).sub_(m[4], alpha=8.0).add_(m[5])


def _of_kernel(rows: Sequence[Sequence[float]], divisors: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64) / torch.tensor(divisors, dtype=torch.float64)[:, None]


F2: Final = Form(2, _of_kernel([[1, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 1]], [1, 2, 2, 1]), _to_tiles_2, _from_tiles_2)
F4: Final = Form(
    4,
    _of_kernel([[1, 0, 0], [1, 1, 1], [1, -1, 1], [4, 2, 1], [1, -2, 4], [0, 0, 1]], [1, 3, -3, -3.75, 15, 1]),
    _to_tiles_4,
    _from_tiles_4,
)
