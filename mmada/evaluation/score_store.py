"""Every evaluation that was made, by what was evaluated: nothing is measured twice, and nothing stale is believed.

A folder per evaluation, named by the evaluation's identity, holds the output of the stage `evaluate`; a file beside it
says of which checkpoint it is and what that checkpoint was made of.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mmada.errors import InputError, IntegrityError, one_line
from mmada.evaluation.compare import SCORES_FILE, Comparison, compare
from mmada.lineage.manifest import MANIFEST_NAME, Artifact, changed_files, read_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.params_training import Evaluation
from mmada.storage import atomic_write, exclusive, link_tree
from mmada.unit_store import unit_key

FAMILY_ERROR: Final = 0.05
"""Chance of one false alarm or more over a whole family of comparisons."""
PLANNED_CHECKPOINTS: Final = 10
"""Checkpoints that a family is planned for: a project that evaluates more spends more than FAMILY_ERROR."""
_ITEMS: Final = "items "  # the stage's inputs: "items <benchmark>"


@dataclass(frozen=True)
class Measurement:
    """All that an evaluation depends on but the checkpoint.

    `version`: of the stage `evaluate`. `magvit`, `items`: ids of the picture tokenizer and of each benchmark's items.
    `verifiers`: name and version of each benchmark's grading.
    """

    version: int
    evaluation: Evaluation
    resolution: int
    crop_policy: str
    magvit: str
    items: Mapping[str, str]
    verifiers: Mapping[str, str]

    def identity(self, name: str, model: Artifact) -> str:
        """Identity of the evaluation of `model`, registered as `name`: model x items x verifiers x decoding."""
        decoding = self.evaluation.decoding_for(name, model.key)
        return unit_key(
            "evaluation",
            self.version,
            model.id,
            self.magvit,
            dict(self.items),
            {one: self.verifiers[one] for one in self.items},
            {one: decoding.get(one, decoding["default"]).model_dump(mode="json") for one in self.items},
            (self.evaluation.batch_size, self.evaluation.seed, self.resolution, self.crop_policy),
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any], scores: Mapping[str, Any]) -> "Measurement":
        """What the stage `evaluate` measured, from its provenance and the body of its scores.json: older scores keep
        the verifier that graded them.
        """
        params, inputs = record["params"], record["inputs"]
        return cls(
            version=record["version"],
            evaluation=Evaluation.model_validate(params["evaluation"]),
            resolution=params["vq.resolution"],
            crop_policy=params["vq.crop_policy"],
            magvit=inputs["magvit"]["id"],
            items={name.removeprefix(_ITEMS): one["id"] for name, one in inputs.items() if name.startswith(_ITEMS)},
            verifiers={name: body["identity"]["verifier"] for name, body in scores["benchmarks"].items()},
        )


@dataclass(frozen=True)
class Entry:
    """One evaluation of one checkpoint.

    `name`: of the checkpoint where it was evaluated. `parent`: id of the model that it was trained from, "" when
    nothing says so. `step`: of its training run, None for a finished model.
    """

    identity: str
    checkpoint: str
    name: str
    parent: str
    step: int | None


@dataclass(frozen=True)
class Fall:
    """A benchmark on which a checkpoint is worse than its parent, beyond chance. `adjusted_p`: of the whole family."""

    benchmark: str
    comparison: Comparison
    adjusted_p: float


@dataclass(frozen=True)
class ScoreStore:
    """Evaluations below `root`."""

    root: Path

    def folder(self, identity: str) -> Path:
        """Where an evaluation lies, or would lie."""
        return self.root / identity[:16]

    def has(self, identity: str) -> bool:
        """Whether this evaluation was made."""
        return self._entry_file(identity).is_file()

    def add(self, scores: Path, identity: str, name: str, model: Artifact, provenance: ProvenanceStore) -> Entry:
        """Keep the output `scores` of an evaluation (links, where possible); what is there already stays."""
        records = provenance.records(model.id)
        parent = records[-1]["inputs"].get("parent", {"id": ""})["id"] if records else ""
        entry = Entry(identity, model.id, name, parent, model.metadata.get("step"))
        if not self.has(identity):
            with exclusive(self.root / ".lock"):  # a sweep and `mmada scores` find the same scores of the graph
                self._keep(scores, entry)
        return entry

    def _keep(self, scores: Path, entry: Entry) -> None:
        if self.has(entry.identity):
            return
        target = self.folder(entry.identity)
        shutil.rmtree(target, ignore_errors=True)  # of one that was killed here, or that lost its entry
        link_tree(scores, target)
        text = json.dumps(asdict(entry), indent=1, sort_keys=True) + "\n"
        atomic_write(self._entry_file(entry.identity), text.encode())

    def entries(self) -> list[Entry]:
        """All evaluations, in order of their identity. Raises IntegrityError naming a file that is damaged."""
        return [self._entry(file) for file in sorted(self.root.glob("*.json"))]

    def changes(self, entry: Entry, known: Sequence[Entry] | None = None) -> dict[str, tuple[Entry, Comparison]]:
        """Benchmark -> (the parent's evaluation, paired comparison: first is `entry`). `known`: `entries()`, where one
        asks of many and has read them.

        Only evaluations of the same items, by the same verifier and decoding, tell the checkpoint from its parent; the
        youngest of several counts. A benchmark on which the parent has none is left out.
        """
        known = self.entries() if known is None else known
        parents = sorted((one for one in known if one.checkpoint == entry.parent), key=self._age)
        wanted = self._measured(entry)
        found: dict[str, Entry] = {}
        for parent in parents:
            found |= {name: parent for name, how in self._measured(parent).items() if wanted.get(name) == how}
        return {name: (found[name], self._compare(entry, found[name], name)) for name in wanted if name in found}

    def scores(self, entry: Entry) -> dict[str, Any]:
        """The body of an evaluation's scores.json. Raises IntegrityError when it is gone or damaged."""
        file = self.folder(entry.identity) / SCORES_FILE
        try:
            body: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError) as error:
            raise _damaged(file, one_line(error), self._entry_file(entry.identity)) from None
        return body

    def _entry_file(self, identity: str) -> Path:
        return self.folder(identity).with_suffix(".json")

    def _entry(self, file: Path) -> Entry:
        try:
            return Entry(**json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise _damaged(file, one_line(error), file) from None

    def _age(self, entry: Entry) -> int:
        """Orders evaluations by when they came into the store, the oldest first."""
        return self._entry_file(entry.identity).stat().st_mtime_ns

    def _measured(self, entry: Entry) -> Mapping[str, tuple[str, str, str]]:
        """Benchmark -> what makes two of its scores comparable."""
        identities = {name: body["identity"] for name, body in self.scores(entry)["benchmarks"].items()}
        return {name: (one["items"], one["verifier"], one["decoding"]) for name, one in identities.items()}

    def _compare(self, entry: Entry, parent: Entry, benchmark: str) -> Comparison:
        try:
            return compare(self.folder(entry.identity), self.folder(parent.identity), benchmark)
        except (InputError, IntegrityError):
            for one in (entry, parent):
                self._check(one)
            raise

    def _check(self, entry: Entry) -> None:
        """Raises IntegrityError saying what to do when an evaluation's files are not those that were measured."""
        folder = self.folder(entry.identity)
        try:
            changed = changed_files(read_artifact(folder))
        except (InputError, IntegrityError):
            changed = [MANIFEST_NAME]
        if changed:
            raise _damaged(folder / changed[0], "not as it was measured", self._entry_file(entry.identity)) from None


def _damaged(file: Path, why: str, entry_file: Path) -> IntegrityError:
    return IntegrityError(
        f"{file} is gone or damaged ({why}), so that the score store cannot be read; delete {entry_file}: "
        "`mmada scores` takes what the graph evaluated in again, and `reevaluate` measures the rest anew"
    )


def falls_among(changes: Mapping[str, tuple[Entry, Comparison]]) -> list[Fall]:
    """Those of a checkpoint's changes from its parent (`ScoreStore.changes`) that are falls.

    One-sided exact McNemar tests of the items on which the two differ, corrected over benchmarks by Holm's method
    (Scandinavian Journal of Statistics 6, 1979) at FAMILY_ERROR / PLANNED_CHECKPOINTS.
    """
    one_sided = {name: one.p_value / 2 if one.side < 0 else 1.0 for name, (_, one) in changes.items()}
    return [Fall(name, changes[name][1], p_value) for name, p_value in significant(one_sided).items()]


def significant(p_values: Mapping[str, float]) -> dict[str, float]:
    """Those of one checkpoint's p-values that are significant in the whole family, with their adjusted values."""
    adjusted = {name: min(1.0, value * PLANNED_CHECKPOINTS) for name, value in holm(p_values).items()}
    return {name: value for name, value in adjusted.items() if value <= FAMILY_ERROR}


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm-adjusted p-values by name, in the order given: reject those <= alpha at family-wise error alpha."""
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, (name, p_value) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_value))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}
