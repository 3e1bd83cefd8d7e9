"""Group norm, swish and a 3x3 convolution of one picture in one pass, by Winograd's F(2x2, 3x3) (arXiv:1509.09308).

On a CPU a wide 3x3 convolution is bound by its multiplications; this form needs 16 where the direct one needs 36, and
its sums are shorter, so that it is also nearer to the exact result. The picture is worked on in bands of rows that
stay in the cache, with the norm and the swish applied on the way.

Legend of shapes: H W height and width, C channels in, D channels out, G groups of channels, n tile rows of a band,
t tiles of a band (each gives 2x2 pixels).
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

ResultT = TypeVar("ResultT")

LEAST_WIDTH: Final = 128
_LEAST_PIXELS: Final = 256
_BAND: Final = 2**16
"""Tiles times channels of a band: its 16 products per tile are 4 MB, which the cache holds."""
_STATISTICS_ROWS: Final = 1024

_G: Final = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]], dtype=torch.float64)

_Transformed = tuple[tuple[int, int], Float[Tensor, "16 C D"]]
_transformed: "WeakKeyDictionary[nn.Conv2d, _Transformed]" = WeakKeyDictionary()
"""Per convolution: which weights were transformed (address, version of their content) and what came out."""


class _Scratch(threading.local):
    """Buffers of a thread that the next band uses again: fresh memory costs as much as the sums written into it."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def empty(self, name: str, *shape: int) -> Tensor:
        """An uninitialised fp32 tensor; what it holds lasts until the thread asks for `name` again."""
        size = math.prod(shape)
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = torch.empty(size)
        return self._buffers[name][:size].view(shape)


class _Workers(NamedTuple):
    pool: ThreadPoolExecutor
    scratch: _Scratch


_workers: ContextVar[_Workers | None] = ContextVar("_workers", default=None)


@contextmanager
def band_threads() -> Iterator[None]:
    """Within it `applies` may say yes, and bands are worked on side by side by as many threads as torch has.

    Each of them computes alone: torch's own threads wait for each other after every operation, which costs a busy
    machine dearly, and the sums of a matrix product depend on their number. Results do not depend on it here.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # before the workers start: a thread takes this number over at its first operation
    with ThreadPoolExecutor(threads) as pool:
        token = _workers.set(_Workers(pool, _Scratch()))
        try:
            yield
        finally:
            _workers.reset(token)
            torch.set_num_threads(threads)


def applies(conv: nn.Conv2d, x: Float[Tensor, "B C H W"]) -> bool:
    """Whether `convolve` can take the place of the convolution, and is worth it: one fp32 picture on a CPU, wide and
    large enough.
    """
    height, width = x.shape[2:]
    return (
        _workers.get() is not None
        and x.device.type == "cpu"
        and x.dtype == conv.weight.dtype == torch.float32
        and len(x) == 1
        and min(conv.in_channels, conv.out_channels) >= LEAST_WIDTH
        and height % 2 == width % 2 == 0
        and height * width >= _LEAST_PIXELS
    )


def convolve(
    norm: nn.GroupNorm, conv: nn.Conv2d, x: Float[Tensor, "1 C H W"], beside: Float[Tensor, "1 D H W"] | None = None
) -> Float[Tensor, "1 D H W"]:
    """conv(swish(norm(x))) + beside, for a 3x3 convolution that keeps the size. The result lies channels last.

    No gradients. Only where `applies`.
    """
    pixels = x[0].permute(1, 2, 0).contiguous()
    height, width = pixels.shape[:2]
    affine, weights, bias, scratch = _affine(norm, pixels), _weights(conv), conv.bias, _present().scratch
    assert bias is not None, "every convolution of this network has one"
    out = pixels.new_empty(height, width, conv.out_channels)
    rows = _band_rows(height // 2, pixels[0].numel() // 2)
    added = None if beside is None else beside[0].permute(1, 2, 0)

    def work(first: int) -> None:
        part = slice(2 * first, 2 * (first + rows))
        padded = _activated_band(pixels, first, rows, affine, scratch)
        _convolved_band(padded, weights, bias, out[part], scratch)
        if added is not None:
            out[part] += added[part]

    _side_by_side(work, range(0, height // 2, rows))
    return out.permute(2, 0, 1)[None]


def _side_by_side(work: Callable[[int], ResultT], bands: Iterable[int]) -> list[ResultT]:
    grad = torch.is_grad_enabled()  # is kept per thread

    def without_gradient(band: int) -> ResultT:
        with torch.set_grad_enabled(grad):
            return work(band)

    return list(_present().pool.map(without_gradient, bands))


def _present() -> _Workers:
    workers = _workers.get()
    assert workers is not None, "bands are worked on within band_threads"
    return workers


def in_bands(conv: nn.Conv2d, x: Float[Tensor, "1 C H W"], before: int) -> Float[Tensor, "1 D h w"]:
    """A convolution as it is, band by band, with `before` zeros above and to the left of the picture, one elsewhere."""
    (height, width), stride, kernel = x.shape[2:], conv.stride[0], conv.kernel_size[0]
    out_height, out_width = ((side + before + 1 - kernel) // stride + 1 for side in (height, width))
    out = x.new_empty(out_height, out_width, conv.out_channels).permute(2, 0, 1)[None]
    rows = _band_rows(out_height, out_width * conv.out_channels)

    def work(first: int) -> None:
        top = first * stride - before
        bottom = top + (rows - 1) * stride + kernel
        inside = slice(max(top, 0), min(bottom, height))
        band = functional.pad(x[:, :, inside], (before, 1, inside.start - top, bottom - inside.stop))
        out[:, :, first : first + rows] = functional.conv2d(band, conv.weight, conv.bias, stride)

    _side_by_side(work, range(0, out_height, rows))
    return out


def _band_rows(height: int, row_size: int) -> int:
    """The largest number of rows that divides the height into bands, two at least, that are small enough."""
    most = max(1, min(_BAND // row_size, height // 2))
    return max(rows for rows in range(1, most + 1) if height % rows == 0)


def _affine(norm: nn.GroupNorm, pixels: Float[Tensor, "H W C"]) -> tuple[Float[Tensor, "C"], Float[Tensor, "C"]]:
    """Factor and summand per channel that are the group norm of this picture; sums of parts add up in fp64."""
    parts = torch.split(pixels.flatten(0, 1), _STATISTICS_ROWS)
    sums = _side_by_side(lambda index: _sums(parts[index]), range(len(parts)))
    total, squares = torch.stack(sums).double().sum(0).view(2, norm.num_groups, -1).sum(2, keepdim=True)
    count = pixels.numel() // norm.num_groups
    mean = total / count
    spread = ((squares / count - mean.square()).clamp(min=0.0) + norm.eps).rsqrt()
    scale = norm.weight.double().view(norm.num_groups, -1) * spread
    shift = norm.bias.double().view(norm.num_groups, -1) - mean * scale
    return scale.flatten().float(), shift.flatten().float()


def _sums(rows: Float[Tensor, "n C"]) -> Float[Tensor, "2 C"]:
    return torch.stack([rows.sum(0), rows.square().sum(0)])


def _weights(conv: nn.Conv2d) -> Float[Tensor, "16 C D"]:
    """G w G^T of each pair of channels, kept until the weights change."""
    which = (conv.weight.data_ptr(), conv.weight._version)
    known = _transformed.get(conv)
    if known is None or known[0] != which:
        wide = torch.einsum("ai,dcij,bj->abcd", _G, conv.weight.double(), _G)
        known = which, wide.flatten(0, 1).float().contiguous()
        _transformed[conv] = known
    return known[1]


def _activated_band(
    pixels: Float[Tensor, "H W C"],
    first: int,
    rows: int,
    affine: tuple[Float[Tensor, "C"], Float[Tensor, "C"]],
    scratch: _Scratch,
) -> Float[Tensor, "2n+2 W+2 C"]:
    """Tile rows `first` to `first + rows` normalised and activated, with a margin of one pixel; outside of the
    picture are zeros.
    """
    height, width, channels = pixels.shape
    scale, shift = affine
    padded = scratch.empty("padded", 2 * rows + 2, width + 2, channels)
    top, bottom = 2 * first - 1, 2 * (first + rows) + 1
    inside = slice(max(top, 0), min(bottom, height))
    target = padded[inside.start - top : inside.stop - top, 1:-1]
    functional.silu(torch.addcmul(shift, pixels[inside], scale, out=target), inplace=True)
    for margin in (padded[:, 0], padded[:, -1], padded[: inside.start - top], padded[inside.stop - top :]):
        margin.zero_()
    return padded


def _convolved_band(
    padded: Float[Tensor, "2n+2 W+2 C"],
    weights: Float[Tensor, "16 C D"],
    bias: Float[Tensor, "D"],
    out: Float[Tensor, "2n W D"],
    scratch: _Scratch,
) -> None:
    (_, channels, wide), rows, width = weights.shape, out.shape[0] // 2, out.shape[1]
    grid = (rows, width // 2)
    by_row = scratch.empty("by_row", 4, rows, width + 2, channels)
    tiles = scratch.empty("tiles", 4, 4, *grid, channels)
    products = scratch.empty("products", 4, 4, *grid, wide)
    sums = scratch.empty("sums", 2, 4, *grid, wide)
    _to_tiles([padded[i : i + 2 * rows : 2] for i in range(4)], by_row.unbind(0))
    _to_tiles([by_row[:, :, j : j + width : 2] for j in range(4)], tiles.unbind(1))
    torch.bmm(tiles.view(16, -1, channels), weights, out=products.view(16, -1, wide))
    products[1, 1] += bias  # of the 16 products the one that each of the 4 pixels takes once
    _from_tiles(products.unbind(0), sums.unbind(0))
    pixels = out.view(rows, 2, width // 2, 2, wide)
    for i in range(2):
        _from_tiles(sums[i].unbind(0), pixels[:, i].unbind(2))


def _to_tiles(d: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """B^T d of the paper: four overlapping slices to four."""
    torch.sub(d[0], d[2], out=out[0])
    torch.add(d[1], d[2], out=out[1])
    torch.sub(d[2], d[1], out=out[2])
    torch.sub(d[1], d[3], out=out[3])


def _from_tiles(m: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """A^T m of the paper: four slices to two."""
    torch.add(m[0], m[1], out=out[0]).add_(m[2])
    torch.sub(m[1], m[2], out=out[1]).sub_(m[3])
