"""Drawing prompts in the categories of GenEval, graded by the recogniser that rewards use too."""

import json
from collections.abc import Sequence
from typing import Final

from mmada.evaluation.benchmarks.kinds import BenchmarkKind, Item, Produced
from mmada.pictures import PictureSpec, picture_is_correct, recognise, spec_score

PICTURES_VERIFIER: Final = "picture_is_correct-2"
"""Raised when mmada.pictures gives another verdict."""


def is_correct(item: Item, produced: Produced) -> bool:
    """Whether the picture shows what the item's specification asks for, and nothing else."""
    assert produced.pixels is not None, "a drawing has a picture"
    return picture_is_correct(produced.pixels, PictureSpec.from_json(json.loads(item.spec)))


def constant_correct(items: Sequence[Item], produced: Sequence[Produced]) -> int:
    """Items that the best single drawing satisfies: one that the model made, or one made to the commonest
    request.
    """
    commonest = max(sum(item.spec == other.spec for other in items) for item in items)
    specs = [PictureSpec.from_json(json.loads(item.spec)) for item in items]
    shown = [recognise(candidate.pixels) for candidate in produced if candidate.pixels is not None]
    return max(commonest, *(sum(spec_score(found, spec) == 1.0 for spec in specs) for found in shown))


KIND: Final = BenchmarkKind(
    verifier=PICTURES_VERIFIER,
    task=lambda think: "r2i" if think else "t2i",
    answer=lambda produced: "",
    is_correct=is_correct,
    constant_correct=constant_correct,
)
