"""Pair every item with another one of its category: what a model scores on these pairs, it scores blind."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence


def partners(item_ids: Sequence[str], categories: Sequence[str], contents: Sequence[str], *, seed: int) -> list[int]:
    """For each item the position of its partner: a permutation within categories that gives no item its own content
    (what is permuted: a picture, of which many things may be asked, or the item itself).

    Where more than half of a category share one content, some of them keep it. A function of ids, contents and seed,
    not of order.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, category in enumerate(categories):
        members[category].append(position)
    ranks = [_rank(item_id, seed) for item_id in item_ids]
    partner = list(range(len(item_ids)))
    for positions in members.values():
        first: dict[str, str] = {}  # content -> lowest rank of its items
        for position in positions:
            first[contents[position]] = min(ranks[position], first.get(contents[position], ranks[position]))
        shuffled = sorted(positions, key=lambda position: (first[contents[position]], ranks[position]))
        # Items of one content stand together: that many places further there is another one.
        most = max(Counter(contents[position] for position in positions).values())
        for place, position in enumerate(shuffled):
            partner[position] = shuffled[(place + most) % len(shuffled)]
    return partner


def _rank(item_id: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}:{item_id}".encode()).hexdigest()
