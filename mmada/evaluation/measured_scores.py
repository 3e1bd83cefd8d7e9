"""What a score is of: model x items x verifier x decoding. Without all four it cannot be written down."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import polars as pl

from mmada.contracts.records import Schema
from mmada.errors import ContractError
from mmada.evaluation.metrics import Share, share, share_of_answers
from mmada.unit_store import unit_key

# One graded answer; what was generated is kept, so that a new verifier grades it without the model.
GRADED_ITEMS: Final[Schema] = {
    "item_id": pl.String,  # of the item; its second answer has ":2" behind it, and so on
    "category": pl.String,
    "prompt": pl.String,
    "reference": pl.String,  # gold answer, "" for drawings
    "prediction": pl.String,  # generated text; for drawings the thought, "" without one
    "answer": pl.String,  # final answer that was graded, "" if none was found
    "picture": pl.Binary,  # PNG of a drawing, empty otherwise
    "correct": pl.Boolean,
    "permuted_correct": pl.Boolean,  # with another item's picture (vqa) or output (others)
}


ITEM: Final = pl.col("item_id").str.split(":").list.first()
"""Id of the item that a graded answer is to (see `answer_id`)."""


@dataclass(frozen=True)
class ScoreIdentity:
    """The four parts. Raises ContractError when one is empty.

    `model`, `items`: ids of the artifacts; `verifier`: name and version of the grading; `decoding`: digest of
    sampling settings, seed, and the task that was asked for.
    """

    model: str
    items: str
    verifier: str
    decoding: str

    def __post_init__(self) -> None:
        absent = [name for name, value in asdict(self).items() if not value]
        if absent:
            raise ContractError(f"a score without {' and '.join(absent)} cannot be stored: nobody could repeat it")

    @property
    def id(self) -> str:
        """Digest of the four parts: equal ids mean the same measurement."""
        return unit_key("score", self.model, self.items, self.verifier, self.decoding)


@dataclass(frozen=True)
class MeasuredScore:
    """A graded benchmark beside its baselines, over all items and per category.

    `permuted`: the same model, with pictures (or prompts) permuted among items of a category. `constant`: the
    one answer per category that would be right most often, chosen with the answers known: the most favourable
    constant.
    """

    identity: ScoreIdentity
    kind: str
    overall: Share
    permuted: Share
    constant: Share
    categories: Mapping[str, tuple[Share, Share, Share]]
    """Category -> (score, permuted, constant)."""

    def to_json(self) -> dict[str, Any]:
        """What scores.json holds of one benchmark."""
        return {
            "kind": self.kind,
            "identity": {**asdict(self.identity), "id": self.identity.id},
            **_triple((self.overall, self.permuted, self.constant)),
            "categories": {name: _triple(shares) for name, shares in sorted(self.categories.items())},
        }


def measure(
    identity: ScoreIdentity, kind: str, graded: pl.DataFrame, constant_correct: Mapping[str, int]
) -> MeasuredScore:
    """The score of graded items (GRADED_ITEMS). `constant_correct`: category -> items that the best constant
    gets right.
    """
    categories = {
        str(category): _shares(rows, constant_correct[str(category)])
        for (category,), rows in graded.group_by(["category"], maintain_order=True)
    }
    return MeasuredScore(identity, kind, *_shares(graded, sum(constant_correct.values())), categories)


def _shares(graded: pl.DataFrame, constant_correct: int) -> tuple[Share, Share, Share]:
    items = by_item(graded)
    per_item = graded.height // items.height
    own, blind = (
        share_of_answers(items.get_column(name).to_list(), per_item) for name in ("correct", "permuted_correct")
    )
    return own, blind, share(constant_correct, items.height)


def answer_id(item_id: str, number: int) -> str:
    """`item_id` in GRADED_ITEMS of an item's answer, counted from 0."""
    return f"{item_id}:{number + 1}" if number else item_id


def by_item(graded: pl.DataFrame) -> pl.DataFrame:
    """Items (item_id) of GRADED_ITEMS in order of their ids: `answers`, and how many of them are `correct` and
    `permuted_correct`.
    """
    return (
        graded.group_by(ITEM)
        .agg(pl.len().alias("answers"), pl.col("correct", "permuted_correct").sum())
        .sort("item_id")
    )


def _triple(shares: Sequence[Share]) -> dict[str, Any]:
    score, permuted, constant = shares
    return {**score.to_json(), "permuted": permuted.to_json(), "constant": constant.to_json()}
