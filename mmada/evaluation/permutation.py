"""Pair every item with another one of its category: what a model scores on these pairs, it scores blind."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence


def partners(item_ids: Sequence[str], categories: Sequence[str], *, seed: int) -> list[int]:
    """For each item the position of its partner: a permutation within categories without fixed points.

    A category of one item has no other: its item is its own partner. A function of ids and seed, not of
    order.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, category in enumerate(categories):
        members[category].append(position)
    partner = list(range(len(item_ids)))
    for positions in members.values():
        shuffled = sorted(positions, key=lambda position: _rank(item_ids[position], seed))
        for position, successor in zip(shuffled, shuffled[1:] + shuffled[:1], strict=True):
            partner[position] = successor
    return partner


def _rank(item_id: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{item_id}".encode()).hexdigest()
