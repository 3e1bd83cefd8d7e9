"""Set the scores of checkpoints beside each other: paired where the items are the same, with intervals."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from mmada.contracts.tables import scan_columns
from mmada.errors import ContractError, IntegrityError, one_line
from mmada.evaluation.measured_scores import GRADED_ITEMS, by_item
from mmada.evaluation.metrics import Share, mcnemar, paired_interval
from mmada.lineage.manifest import open_artifact

SCORES_FILE: Final = "scores.json"
BASELINES: Final = ("untrained", "constant", "permuted")


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints on the same items. `difference`: first minus second; `low`, `high`: its 95 % interval.

    `only_first`, `only_second`: items that one of the two gets right, or right more often where several answers to each
    are sampled. `p_value`: exact McNemar test of these (then a sign test).
    """

    n: int
    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p_value: float

    @property
    def side(self) -> int:
        """1 where the first is better, -1 where it is worse: by its answers and by the items that it has the better of.
        0 where these contradict each other, as a few items answered far worse and many a little better do.
        """
        by_answers, by_items = np.sign(self.difference), np.sign(self.only_first - self.only_second)
        return int(by_items) if by_answers == by_items else 0


def compare(first: Path, second: Path, benchmark: str) -> Comparison:
    """Paired comparison of two score folders on one benchmark.

    Raises ContractError when they are not of the same items by the same verifier.
    """
    identities = [_scores(folder)["benchmarks"][benchmark]["identity"] for folder in (first, second)]
    for part in ("items", "verifier"):
        if identities[0][part] != identities[1][part]:
            raise ContractError(
                f"{benchmark}: {first} and {second} have different {part}; evaluate both again to compare"
            )
    a, b = (correct_by_item(folder, benchmark) for folder in (first, second))
    low, high = paired_interval(a - b)
    only_first, only_second = int((a > b).sum()), int((b > a).sum())
    return Comparison(
        n=len(a),
        only_first=only_first,
        only_second=only_second,
        difference=float((a - b).mean()),
        low=low,
        high=high,
        p_value=mcnemar(only_first, only_second),
    )


def correct_by_item(folder: Path, benchmark: str) -> Float[np.ndarray, "items"]:
    """Of each item, in order of their ids, the share of answers that were right, by a folder of scores."""
    verdicts = ("item_id", "correct", "permuted_correct")  # and not the drawings, which are nearly all of a table
    graded = scan_columns([folder / f"items-{benchmark}.parquet"], GRADED_ITEMS, verdicts, "graded items").collect()
    items = by_item(graded)
    return np.asarray(items["correct"] / items["answers"])


@dataclass(frozen=True)
class SummaryRow:
    """One checkpoint on one benchmark beside its baselines."""

    checkpoint: str
    benchmark: str
    kind: str
    score: Share
    baselines: dict[str, Share]
    """Name (of BASELINES) -> share; the untrained model's row has no `untrained`."""
    ceiling: Share | None
    """Of the picture tokenizer, for drawings."""

    @property
    def beaten(self) -> dict[str, bool]:
        """Baseline -> whether the score lies above it by more than the score's interval."""
        return {name: self.score.low > baseline.value for name, baseline in self.baselines.items()}


def summary(folders: Sequence[tuple[str, Path]], *, untrained: str) -> list[SummaryRow]:
    """Rows of all benchmarks and checkpoints (name, score folder), in order; `untrained` names the baseline
    checkpoint.
    """
    known = {name: _scores(folder) for name, folder in folders}
    rows = []
    for name, scores in known.items():
        ceiling = _share(scores["ceiling"]) if scores["ceiling"] else None
        for benchmark, body in sorted(scores["benchmarks"].items()):
            baselines = {"constant": _share(body["constant"]), "permuted": _share(body["permuted"])}
            before = known[untrained]["benchmarks"].get(benchmark) if untrained in known else None
            # Of other items, or graded otherwise, it is no baseline.
            if (
                name != untrained
                and before
                and all(before["identity"][part] == body["identity"][part] for part in ("items", "verifier"))
            ):
                baselines["untrained"] = _share(before)
            shown = ceiling if body["kind"] == "pictures" else None
            rows.append(SummaryRow(name, benchmark, body["kind"], _share(body), baselines, shown))
    return rows


def scores_of(folder: Path) -> dict[str, Any]:
    """The body of a folder's scores.json. Raises IntegrityError when it is gone or damaged."""
    file = folder / SCORES_FILE
    try:
        body: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise IntegrityError(
            f"{file} is gone or damaged ({one_line(error)}); bring back what was measured (`dvc checkout {folder}`) "
            "or delete the folder and evaluate again"
        ) from None
    return body


def _scores(folder: Path) -> dict[str, Any]:
    return scores_of(open_artifact(folder).path)


def _share(body: dict[str, Any]) -> Share:
    return Share(n=body["n"], correct=body["correct"], low=body["low"], high=body["high"])
