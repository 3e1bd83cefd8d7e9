"""Which published checkpoints of a run stay, where disks are small."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmada.checkpoint_registry import REGISTRY_FILE, load_registry
from mmada.storage import atomic_write


@dataclass(frozen=True)
class Retention:
    """A checkpoint stays when any of these holds; when all are 0, all stay.

    `last`: so many newest ones. `every`: those of steps that it divides. `best`: so many of the lowest training loss.
    """

    last: int
    every: int
    best: int


@dataclass(frozen=True)
class Kept:
    """A published checkpoint. `loss`: mean training loss of the batches just before it."""

    step: int
    folder: str
    loss: float


def superfluous(published: Sequence[Kept], rule: Retention) -> list[Kept]:
    """Those that nothing keeps, oldest first."""
    if rule == Retention(0, 0, 0):
        return []
    in_order = sorted(published, key=lambda one: one.step)
    newest = in_order[len(in_order) - rule.last :]
    best = sorted(in_order, key=lambda one: (one.loss, one.step))[: rule.best]
    regular = [one for one in in_order if rule.every and one.step % rule.every == 0]
    return [one for one in in_order if one not in [*newest, *best, *regular]]


def retain(new: Kept, ledger: Path, rule: Retention) -> None:
    """Note a checkpoint in the run's `ledger` and remove those that nothing keeps.

    A checkpoint that models.yaml registers stays: scores are to come, or name it.
    """
    known = [Kept(**raw) for raw in json.loads(ledger.read_text())] if ledger.is_file() else []
    known = [one for one in known if one.step != new.step] + [new]
    registered = {entry.path for entry in load_registry().values()} if REGISTRY_FILE.is_file() else set()
    dropped = [one for one in superfluous(known, rule) if one.folder not in registered]
    # Noted before they go: a kill between the two leaves a checkpoint too many, never a note of one that is gone.
    left = [one for one in known if one not in dropped]
    atomic_write(ledger, json.dumps([asdict(one) for one in left], sort_keys=True).encode())
    for one in dropped:
        shutil.rmtree(one.folder, ignore_errors=True)
