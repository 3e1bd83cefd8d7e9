"""Drawing prompts in the categories of GenEval, graded by the recogniser that rewards use too."""

import json
from collections.abc import Sequence
from typing import Final

from mmada.evaluation.benchmarks.kinds import BenchmarkKind, Item, Produced
from mmada.pictures import PictureSpec, picture_is_correct

PICTURES_VERIFIER: Final = "picture_is_correct-1"
"""Raised when mmada.pictures gives another verdict."""

_CANDIDATES: Final = 6
"""Drawings of a category that are tried as the constant one (all of them would take longer than decoding)."""


def is_correct(item: Item, produced: Produced) -> bool:
    """Whether every clause of the item's specification holds in the picture."""
    assert produced.pixels is not None, "a drawing has a picture"
    return picture_is_correct(produced.pixels, PictureSpec.from_json(json.loads(item.spec)))


def constant_correct(items: Sequence[Item], produced: Sequence[Produced]) -> int:
    """Items that the best single drawing satisfies: one that the model made, or one made to the commonest
    request.
    """
    commonest = max(sum(item.spec == other.spec for other in items) for item in items)
    drawn = (sum(is_correct(item, candidate) for item in items) for candidate in produced[:_CANDIDATES])
    return max(commonest, *drawn)


KIND: Final = BenchmarkKind(
    verifier=PICTURES_VERIFIER,
    task=lambda think: "r2i" if think else "t2i",
    answer=lambda produced: "",
    is_correct=is_correct,
    constant_correct=constant_correct,
)
