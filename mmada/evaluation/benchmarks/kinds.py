"""What the kinds of benchmarks have in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from mmada.contracts.sample import Task


@dataclass(frozen=True)
class Item:
    """A held-out item (contracts.benchmark_items). `spec`: JSON of a PictureSpec, for drawing prompts."""

    item_id: str
    prompt: str
    reference: str
    category: str
    spec: str
    image_sha256: str


@dataclass(frozen=True)
class Produced:
    """What a model made of an item: text, and for drawings the decoded picture."""

    text: str
    pixels: UInt8[np.ndarray, "H W 3"] | None = None


@dataclass(frozen=True)
class BenchmarkKind:
    """Pure functions that make a benchmark.

    `verifier`: name and version of the grading, part of a score's identity. `task`: what the model is asked
    to do, with thinking or without. `answer`: the graded part of a text. `is_correct`: the verdict.
    `constant_correct`: how many items of one category the best constant answers; `produced` are the
    candidates where references offer none. `permutes_pictures`: the blind baseline needs a second decoding,
    with other items' pictures; otherwise another item's output is graded.
    """

    verifier: str
    task: Callable[[bool], Task]
    answer: Callable[[Produced], str]
    is_correct: Callable[[Item, Produced], bool]
    constant_correct: Callable[[Sequence[Item], Sequence[Produced]], int]
    permutes_pictures: bool = False


def best_constants(kind: BenchmarkKind, items: Sequence[Item], produced: Sequence[Produced]) -> Mapping[str, int]:
    """Category -> how many of its items the most favourable constant answer gets right."""
    categories = sorted({item.category for item in items})
    chosen = {
        category: [place for place, item in enumerate(items) if item.category == category] for category in categories
    }
    return {
        category: kind.constant_correct([items[place] for place in places], [produced[place] for place in places])
        for category, places in chosen.items()
    }
