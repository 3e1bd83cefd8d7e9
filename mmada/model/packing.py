"""Several samples in one row of the network, so that little of it is padding, and none sees another.

Rotary positions are relative: a sample means the same wherever in a row it stands.
Shapes: B samples padded to L tokens, P rows of C places, D model width.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_GOOD_ENOUGH: Final = 0.05
"""Share of empty places from which more, shorter rows are preferred: attention costs their length squared."""


@dataclass(frozen=True)
class Packing:
    """Where the tokens of padded samples stand. `place`: index of each among all places (of pads: 0).

    `attendable`: True = the place of this query may attend to that key: both are tokens of one sample.
    """

    visible: Bool[Tensor, "B L"]
    place: Int[Tensor, "B L"]
    attendable: Bool[Tensor, "P C C"]

    def packed(self, ids: Int[Tensor, "B L"]) -> Int[Tensor, "P C"]:
        """The samples' ids in their places; 0 in empty ones, which nothing attends to."""
        rows = ids.new_zeros(self.attendable.shape[:2])
        rows.view(-1)[self.place[self.visible]] = ids[self.visible]
        return rows

    def unpacked(self, hidden: Float[Tensor, "P C D"]) -> Float[Tensor, "B L D"]:
        """Hidden states back at their tokens; pads get those of any place."""
        return hidden.flatten(0, 1)[self.place]


def pack(visible: Bool[Tensor, "B L"], *, max_length: int) -> Packing:
    """Pack samples whose tokens are `visible` (the others are pads, at either end) into rows of up to `max_length`."""
    lengths = visible.sum(1).tolist()
    rows = pack_lengths(lengths, max_length=max_length)
    width = max(sum(lengths[sample] for sample in row) for row in rows)
    owner = torch.full((len(rows), width), -1)
    first = torch.zeros(len(lengths), dtype=torch.long)
    for number, row in enumerate(rows):
        start = 0
        for sample in row:
            owner[number, start : start + lengths[sample]] = sample
            first[sample] = number * width + start
            start += lengths[sample]
    place = torch.where(visible, first[:, None] + visible.cumsum(1) - 1, 0)
    attendable = (owner[:, :, None] == owner[:, None, :]) & (owner >= 0)[:, None, :]
    return Packing(visible, place, attendable)


def pack_lengths(lengths: Sequence[int], *, max_length: int) -> list[list[int]]:
    """Indices of samples by row: the most rows with little padding, or else those with the least."""
    longest, total = max(lengths), sum(lengths)
    best: tuple[float, list[list[int]]] = (1.0, [[sample] for sample in range(len(lengths))])
    most = min(len(lengths), int(total / ((1 - _GOOD_ENOUGH) * longest)) + 1)
    for count in range(most, 0, -1):
        rows = _balanced(lengths, count)
        width = max(sum(lengths[sample] for sample in row) for row in rows)
        if width > max_length:
            break
        padding = 1 - total / (count * width)
        best = min(best, (padding, rows), key=lambda one: one[0])
        if padding <= _GOOD_ENOUGH:
            break
    return best[1]


def _balanced(lengths: Sequence[int], count: int) -> list[list[int]]:
    """Rows of about equal sums: each sample, longest first, goes to the emptiest."""
    rows: list[list[int]] = [[] for _ in range(count)]
    loads = [(0, number) for number in range(count)]
    for sample in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        load, number = heapq.heappop(loads)
        rows[number].append(sample)
        heapq.heappush(loads, (load + lengths[sample], number))
    return rows
