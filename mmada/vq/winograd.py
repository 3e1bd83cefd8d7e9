"""Residual blocks of one picture by Winograd's convolutions, group norm and swish in the same pass.

On a CPU a wide 3x3 convolution is bound by its multiplications. F(4x4, 3x3) needs 2.25 a pixel and F(2x2, 3x3) 4, where
the direct one needs 9. The picture is worked on in bands of rows that stay in the cache, with the norm and the swish
applied on the way.

Legend of shapes: H W height and width, h w of the result, C channels in, D channels out, n rows of a band, r rows of a
band and its margin that lie in the picture, k side of a tile.
"""

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmada.vq.winograd_forms import F2, F4, Form

ResultT = TypeVar("ResultT")

LEAST_WIDTH: Final = 128
_LEAST_PIXELS: Final = 256
_LEAST_PIXELS_OF_F4: Final = 4096
"""Below, F2 takes less time: with few tiles the weights, 2.25 times as many with F4, come from memory for each."""
_BAND: Final = 2**16
"""Tiles times channels of a band: its 16 or 36 products per tile are 4 or 9 MB. The cache holds them, and they are many
enough for matrix products at full speed."""
_STATISTICS_ROWS: Final = 1024

Layer = tuple[nn.GroupNorm, nn.Conv2d]
"""conv(swish(norm(x))), for a 3x3 convolution that keeps the size."""

_Transformed = tuple[tuple[int, int], Float[Tensor, "k k C D"]]
_transformed: "WeakKeyDictionary[nn.Conv2d, dict[int, _Transformed]]" = WeakKeyDictionary()
"""Per convolution and step: which weights were transformed (address, version of their content) and what came out."""


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
    """Whether the functions below can take the place of the convolution, and are worth it: one fp32 picture on a CPU,
    wide and large enough.
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


def add_residual(
    first: Layer, second: Layer, x: Float[Tensor, "1 C H W"], shortcut: Float[Tensor, "1 D H W"]
) -> Float[Tensor, "1 D H W"]:
    """shortcut + second(first(x)). The result lies channels last; it overwrites a `shortcut` that does so too.

    No gradients. Only where the convolution of `first` `applies`.
    """
    total = _channels_last(shortcut)
    # Scratch, and a sum in place: the page faults of a fresh picture of 32 MB take a tenth of a convolution's time.
    hidden = _present().scratch.empty("hidden", *total.shape)
    _convolve(first, _channels_last(x), hidden, adds=False)
    _convolve(second, hidden, total, adds=True)
    return total.permute(2, 0, 1)[None]


def _channels_last(x: Float[Tensor, "1 C H W"]) -> Float[Tensor, "H W C"]:
    return x[0].permute(1, 2, 0).contiguous()


def _convolve(layer: Layer, pixels: Float[Tensor, "H W C"], out: Float[Tensor, "H W D"], *, adds: bool) -> None:
    """Write, or add, the layer of these pixels to `out`."""
    norm, conv = layer
    height, width, channels = pixels.shape
    form = F4 if height % 4 == width % 4 == 0 and height * width >= _LEAST_PIXELS_OF_F4 else F2
    affine, weights, bias, scratch = _affine(norm, pixels), _weights(conv, form), _bias(conv), _present().scratch
    rows = form.step * _band_rows(height // form.step, width // form.step * channels)

    def work(top: int) -> None:
        part = slice(top, top + rows)
        padded, inside, target = _padded_band(pixels, part, scratch)
        scale, shift = affine
        functional.silu(torch.addcmul(shift, inside, scale, out=target), inplace=True)
        band = scratch.empty("band", *out[part].shape) if adds else out[part]
        _convolved_band(form, padded, weights, bias, band, scratch)
        if adds:
            out[part] += band

    _side_by_side(work, range(0, height, rows))


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


def in_bands(conv: nn.Conv2d, x: Float[Tensor, "1 C H W"]) -> Float[Tensor, "1 D h w"]:
    """A 3x3 convolution by definition; one of stride 2 has zeros below and to the right only. Channels last.

    Nine products, one for each place of the kernel, round less than one long sum does.
    """
    pixels, bias, stride, scratch = _channels_last(x), _bias(conv), conv.stride[0], _present().scratch
    height, width = pixels.shape[0] // stride, pixels.shape[1] // stride
    out = x.new_empty(height, width, conv.out_channels)
    rows = _band_rows(height, out[0].numel())
    weights = conv.weight.permute(2, 3, 1, 0).contiguous()

    def work(first: int) -> None:
        padded, inside, target = _padded_band(pixels, slice(first * stride, (first + rows) * stride), scratch)
        target.copy_(inside)
        sums = out[first : first + rows].view(-1, conv.out_channels)
        sums.copy_(bias.expand_as(sums))
        for i, j in itertools.product(range(3), repeat=2):
            place = padded[i + stride - 1 :: stride, j + stride - 1 :: stride][:rows, :width]
            sums.addmm_(place.reshape(-1, conv.in_channels), weights[i, j])

    _side_by_side(work, range(0, height, rows))
    return out.permute(2, 0, 1)[None]


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


def _weights(conv: nn.Conv2d, form: Form) -> Float[Tensor, "k k C D"]:
    """G w G^T of each pair of channels, kept until the weights change."""
    which = (conv.weight.data_ptr(), conv.weight._version)
    known = _transformed.setdefault(conv, {})
    if form.step not in known or known[form.step][0] != which:
        wide = torch.einsum("ai,dcij,bj->abcd", form.of_kernel, conv.weight.double(), form.of_kernel)
        known[form.step] = which, wide.float().contiguous()
    return known[form.step][1]


def _bias(conv: nn.Conv2d) -> Float[Tensor, "D"]:
    assert conv.bias is not None, "every convolution of this network has one"
    return conv.bias


def _padded_band(
    pixels: Float[Tensor, "H W C"], part: slice, scratch: _Scratch
) -> tuple[Float[Tensor, "n+2 W+2 C"], Float[Tensor, "r W C"], Float[Tensor, "r W C"]]:
    """Room for these rows with a margin of one pixel; the rows of them and of the margin that lie in the picture; and
    their place in that room, which the caller fills. Outside of the picture are zeros.
    """
    height, width, channels = pixels.shape
    top, bottom = part.start - 1, part.stop + 1
    padded = scratch.empty("padded", bottom - top, width + 2, channels)
    rows = slice(max(top, 0), min(bottom, height))
    for margin in (padded[:, 0], padded[:, -1], padded[: rows.start - top], padded[rows.stop - top :]):
        margin.zero_()
    return padded, pixels[rows], padded[rows.start - top : rows.stop - top, 1:-1]


def _convolved_band(
    form: Form,
    padded: Float[Tensor, "n+2 W+2 C"],
    weights: Float[Tensor, "k k C D"],
    bias: Float[Tensor, "D"],
    out: Float[Tensor, "n W D"],
    scratch: _Scratch,
) -> None:
    (side, _, channels, wide), (height, width, _), step = weights.shape, out.shape, form.step
    grid = (height // step, width // step)
    by_row = scratch.empty("by_row", side, grid[0], width + 2, channels)
    tiles = scratch.empty("tiles", side, side, *grid, channels)
    products = scratch.empty("products", side, side, *grid, wide)
    sums = scratch.empty("sums", step, side, *grid, wide)
    form.to_tiles([padded[i : i + height : step] for i in range(side)], by_row.unbind(0))
    form.to_tiles([by_row[:, :, j : j + width : step] for j in range(side)], tiles.unbind(1))
    torch.bmm(tiles.view(side**2, -1, channels), weights.flatten(0, 1), out=products.view(side**2, -1, wide))
    products[1, 1] += bias  # of the products the one that each pixel takes once
    form.from_tiles(products.unbind(0), sums.unbind(0))
    pixels = out.view(grid[0], step, grid[1], step, wide)
    for i in range(step):
        form.from_tiles(sums[i].unbind(0), pixels[:, i].unbind(2))
