"""The first two phases of an UniGRPO iteration, kept in a store: answers, then what they are worth.

Every group of answers and every score is stored as soon as it exists. A run that was killed finds all of them, makes
only what is missing, and asks for no reward twice; any iteration's rewards and advantages can be computed again later.
(The third phase is kept as resume states: mmada.training.checkpoints.)
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from jaxtyping import Int, UInt8

from mmada.contracts.sample import TASKS, Sample
from mmada.errors import ContractError
from mmada.model.sequences import Row
from mmada.params_section import DRAWING_TASKS
from mmada.rewards import TEXT_REWARDS, Response
from mmada.rewards.scoring import Asked, Scorer, Scores
from mmada.storage import open_storage
from mmada.training.rollouts import DecodePictures, Group, pack_group, place_of, unpack_group
from mmada.unit_store import WORK_DIR, UnitStore, unit_key

PHASES: Final = "phases"
"""Where a run keeps its answers and scores, below its states."""
_HERE: Final = WORK_DIR / "phases"
"""What a machine holds of a run whose states are in an object store."""


class Store(Protocol):
    """Where phases are kept: `mmada.unit_store.UnitStore`, or a dictionary in tests."""

    def get(self, key: str) -> bytes | None:
        """Bytes under `key`, None when absent."""

    def put(self, key: str, data: bytes) -> None:
        """Keep bytes under `key`."""

    def keys(self) -> Iterable[str]:
        """All keys, in no particular order."""


@dataclass(frozen=True)
class Phases:
    """Where the answers and the scores of a run are kept."""

    rollouts: Store
    rewards: Store


def open_phases(state_dir: Path | str) -> Phases:
    """Those of the run that keeps its state at `state_dir`, a folder or s3://bucket/prefix."""
    if str(state_dir).startswith("s3://"):
        store = UnitStore(_HERE / unit_key(str(state_dir))[:16], open_storage(f"{state_dir}/{PHASES}"))
    else:
        store = UnitStore(Path(state_dir) / PHASES)
    return Phases(store.group("rollouts"), store.group("rewards"))


@dataclass(frozen=True)
class RewardWeights:
    """Task -> reward -> weight; a corpus with weights of its own is scored by these alone."""

    by_task: Mapping[str, Mapping[str, float]]
    by_corpus: Mapping[str, Mapping[str, float]]

    def label(self, sample: Sample) -> str:
        """Name under which metrics show the sample's rewards: its corpus, or its task."""
        return _corpus_label(sample.corpus) if sample.corpus in self.by_corpus else sample.task

    def of(self, sample: Sample) -> Mapping[str, float]:
        """Raises ContractError when nothing rewards such a sample."""
        try:
            return self.labelled()[self.label(sample)]
        except KeyError:
            raise ContractError(
                f"sample {sample.key} of corpus {sample.corpus}: unigrpo.rewards has no entry for task {sample.task!r}"
            ) from None

    def labelled(self) -> dict[str, Mapping[str, float]]:
        """Label -> reward -> weight."""
        return {**self.by_task, **{_corpus_label(corpus): weights for corpus, weights in self.by_corpus.items()}}


def _corpus_label(corpus: str) -> str:
    """A corpus may be called like a task, whose other corpora have other rewards."""
    return f"corpus {corpus}" if corpus in TASKS else corpus


@dataclass(frozen=True)
class Reward:
    """What one answer is worth. `parts`: weighted, by reward; where it could not be scored in bounds, the worst of its
    group, and 0 at best.
    """

    parts: Mapping[str, float]
    is_scored: bool

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def answered(rows: Sequence[Row], sample: Callable[[Row], Group], phases: Phases) -> list[Group]:
    """Phase 1: the answers to every prompt, from the store or by `sample`."""
    groups = []
    for row in rows:
        key = _rollouts_key(row.sample.key, row.epoch)
        stored = phases.rollouts.get(key)
        group = sample(row) if stored is None else unpack_group(stored)
        if stored is None:
            phases.rollouts.put(key, pack_group(group))
        groups.append(group)
    return groups


def rewarded(
    groups: Sequence[Group], weights: RewardWeights, scorer: Scorer, phases: Phases, decode: DecodePictures | None
) -> list[list[Reward]]:
    """Phase 2: the reward of every answer of every group. Equal answers to equal prompts are scored once."""
    answers = {reward_key(group, number, weights): (group, number) for group, number in _answers(groups)}
    known = {key: phases.rewards.get(key) for key in answers}
    missing = [key for key, stored in known.items() if stored is None]
    for index, scores in scorer([_asked(*answers[key], weights, decode) for key in missing]):
        known[missing[index]] = data = json.dumps(scores, sort_keys=True).encode()
        phases.rewards.put(missing[index], data)
    found = [json.loads(known[reward_key(group, number, weights)] or b"null") for group, number in _answers(groups)]
    size = len(found) // len(groups)
    return [
        _rewards(found[first : first + size], weights.of(group.row.sample))
        for first, group in zip(range(0, len(found), size), groups, strict=True)
    ]


def kept_places(phases: Phases) -> list[tuple[int, str, int]]:
    """Iteration, sample and epoch of every group that a run, finished or not, has left, in this order."""
    stored = (phases.rollouts.get(key) for key in phases.rollouts.keys())  # noqa: SIM118  # a store is no dictionary
    return sorted(place_of(data) for data in stored if data is not None)  # None: damaged


def kept_groups(
    places: Iterable[tuple[int, str, int]], phases: Phases, weights: RewardWeights
) -> Iterator[tuple[Group, list[Reward]]]:
    """The groups of these places whose answers have all been scored, read when they are asked for: all of a run may
    not fit into memory.
    """
    for _, sample, epoch in places:
        if (stored := phases.rollouts.get(_rollouts_key(sample, epoch))) is None:
            continue
        group = unpack_group(stored)
        scores = [phases.rewards.get(reward_key(group, number, weights)) for number in range(len(group.texts))]
        known = [json.loads(data) for data in scores if data is not None]
        if len(known) == len(scores):
            yield group, _rewards(known, weights.of(group.row.sample))


def _rollouts_key(sample: str, epoch: int) -> str:
    return unit_key("rollouts", sample, epoch)


def _answers(groups: Sequence[Group]) -> Iterator[tuple[Group, int]]:
    """Every answer: its group, and its number in it."""
    return ((group, number) for group in groups for number in range(len(group.texts)))


def reward_key(group: Group, number: int, weights: RewardWeights) -> str:
    """Key of an answer's scores: all that they depend on."""
    sample = group.row.sample
    picture = picture_codes(group, number)
    seen = None if picture is None else [list(picture.shape), picture.tobytes().hex()]
    names = sorted(weights.of(sample))
    return unit_key("rewards", names, sample.task, sample.prompt, sample.reference, group.texts[number], seen)


def _rewards(of_group: Sequence[Scores | None], weights: Mapping[str, float]) -> list[Reward]:
    """What the answers to one prompt are worth."""
    parts = [scores and {name: weight * scores[name] for name, weight in weights.items()} for scores in of_group]
    # Among rewards below 0 a plain 0 would make an answer that nobody could score the best of its group.
    worst = {name: min([0.0, *(part[name] for part in parts if part)]) for name in weights}
    return [Reward(part or worst, is_scored=part is not None) for part in parts]


def _asked(group: Group, number: int, weights: RewardWeights, decode: DecodePictures | None) -> Asked:
    sample, names = group.row.sample, tuple(sorted(weights.of(group.row.sample)))
    # Decoding a picture, and sending it to a worker, costs far more than reading an answer.
    codes = None if TEXT_REWARDS.issuperset(names) else picture_codes(group, number)
    assert codes is None or decode is not None, "tasks with pictures need a picture decoder"
    response = Response(
        task=sample.task,
        prompt=sample.prompt,
        completion=group.texts[number],
        reference=sample.reference,
        pixels=None if codes is None or decode is None else decoded(codes, decode),
    )
    return Asked(response, names)


def picture_codes(group: Group, number: int) -> Int[np.ndarray, "h w"] | None:
    """The picture that an answer drew, or that its question is about."""
    sample = group.row.sample
    picture = group.pictures[number] if sample.task in DRAWING_TASKS else sample.codes
    return None if picture is None else np.ascontiguousarray(picture, dtype="<u2")


def decoded(codes: Int[np.ndarray, "h w"], decode: DecodePictures) -> UInt8[np.ndarray, "H W 3"]:
    """One picture at a time: its pixels then do not depend on which others are decoded."""
    pixels: UInt8[np.ndarray, "H W 3"] = decode(torch.from_numpy(codes.astype(np.int64))[None])[0]
    return pixels
