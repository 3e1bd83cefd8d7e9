"""A few of the answers that a run samples, among its reports, for people to read while it learns and afterwards."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mmada.storage import open_storage
from mmada.training.phases import Reward
from mmada.training.policy_gradient import Advantage
from mmada.training.rollouts import Group

ROLLOUTS: Final = "rollouts"
"""Folder of all runs' logs, beside their curves."""
_GROUPS: Final = 2
"""Groups of each task that are kept of an iteration."""


def log_place(curves: str, name: str) -> str:
    """Where the log of run `name` is, whose curves are in the file `curves` (a path, or s3://bucket/key)."""
    return f"{curves.rpartition('/')[0]}/{ROLLOUTS}/{name}"


def answer_records(group: Group, rewards: Sequence[Reward], advantage: Advantage) -> list[dict[str, Any]]:
    """What is known of each answer of a group, but for its picture."""
    advantages = advantage(np.array([[reward.total for reward in rewards]]))[0].tolist()
    sample = group.row.sample
    return [
        {
            "task": sample.task,
            "prompt": sample.prompt,
            "response": text,
            "reference": sample.reference,
            "reward": reward.total,
            "rewards": dict(reward.parts),
            "advantage": gained,
            "iteration": group.iteration,
            "number": number,
            "sample": sample.key,
            "row_id": sample.row_id,
            "corpus": sample.corpus,
        }
        for number, (text, reward, gained) in enumerate(zip(group.texts, rewards, advantages, strict=True))
    ]


@dataclass(frozen=True)
class RolloutLog:
    """Writes `iteration-000003.json` to `place` (a folder, or s3://bucket/prefix) every so many iterations; a run that
    begins clears it.
    """

    place: str
    every: int

    def __call__(self, groups: Sequence[Group], rewards: Sequence[Sequence[Reward]], advantage: Advantage) -> None:
        """Keep the first groups of each task of an iteration."""
        iteration, storage = groups[0].iteration, open_storage(self.place)
        if iteration == 0:
            for name in list(storage.names()):
                storage.delete(name)
        if iteration % self.every:
            return
        kept: dict[str, list[list[dict[str, Any]]]] = {}
        for group, own in zip(groups, rewards, strict=True):
            of_task = kept.setdefault(group.row.sample.task, [])
            if len(of_task) < _GROUPS:
                of_task.append(answer_records(group, own, advantage))
        text = json.dumps([group for of_task in kept.values() for group in of_task], ensure_ascii=False)
        storage.write(f"iteration-{iteration:06d}.json", text.encode())
