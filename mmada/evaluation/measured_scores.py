"""What a score is of: model x items x verifier x decoding. Without all four it cannot be written down."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import polars as pl

from mmada.contracts.records import Schema
from mmada.errors import ContractError
from mmada.evaluation.metrics import Share, share
from mmada.unit_store import unit_key

# One graded item; what was generated is kept, so that a new verifier grades it without the model.
GRADED_ITEMS: Final[Schema] = {
    "item_id": pl.String,
    "category": pl.String,
    "prompt": pl.String,
    "reference": pl.String,  # gold answer, "" for drawings
    "prediction": pl.String,  # generated text; for drawings the thought, "" without one
    "answer": pl.String,  # final answer that was graded, "" if none was found
    "picture": pl.Binary,  # PNG of a drawing, empty otherwise
    "correct": pl.Boolean,
    "permuted_correct": pl.Boolean,  # with another item's picture (vqa) or output (others)
}


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
    categories = {}
    for (category,), rows in graded.group_by(["category"], maintain_order=True):
        name = str(category)
        categories[name] = (
            share(_true(rows, "correct"), rows.height),
            share(_true(rows, "permuted_correct"), rows.height),
            share(constant_correct[name], rows.height),
        )
    totals = [share(sum(s[part].correct for s in categories.values()), graded.height) for part in range(3)]
    return MeasuredScore(identity, kind, totals[0], totals[1], totals[2], categories)


def _true(rows: pl.DataFrame, column: str) -> int:
    return int(rows.get_column(column).sum())


def _triple(shares: Sequence[Share]) -> dict[str, Any]:
    score, permuted, constant = shares
    return {**score.to_json(), "permuted": permuted.to_json(), "constant": constant.to_json()}
