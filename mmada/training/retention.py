"""Which published checkpoints of a run stay, where disks are small."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan
from pathlib import Path
from typing import Final

from mmada.checkpoint_registry import REGISTRY_FILE, load_registry
from mmada.storage import atomic_write
from mmada.training.checkpoint_folders import remove_checkpoint
from mmada.unit_store import WORK_DIR

LEDGER: Final = "published.json"
"""File beside a run's resume states: what it has published."""


@dataclass(frozen=True)
class Retention:
    """A checkpoint stays when any of these holds; when all are 0, all stay.

    `last`: so many newest ones. `every`: those of steps that it divides. `best`: so many of the lowest training loss.
    """

    last: int
    every: int
    best: int


@dataclass(frozen=True)
class Published:
    """A published checkpoint, as its run's ledger has it.

    `loss`: mean training loss of the batches just before it, NaN where all were skipped. `is_dropped`: nothing
    keeps it, wherever a copy lies.
    """

    step: int
    folder: str
    loss: float
    is_dropped: bool = False


def superfluous(published: Sequence[Published], rule: Retention) -> list[Published]:
    """Those that nothing keeps, oldest first. `published`: in the order in which they were.

    A run that went on from before a step has published that step again: on a GPU with other bytes, and in place of
    the earlier ones.
    """
    if rule == Retention(0, 0, 0):
        return []
    in_order = sorted({one.step: one for one in published}.values(), key=lambda one: one.step)
    newest = in_order[len(in_order) - rule.last :]
    best = sorted(in_order, key=lambda one: (isnan(one.loss), one.loss, one.step))[: rule.best]
    regular = [one for one in in_order if rule.every and one.step % rule.every == 0]
    kept = [*newest, *best, *regular]
    return [one for one in sorted(published, key=lambda one: one.step) if one not in kept]


def retain(new: Published, ledger: Path, rule: Retention) -> None:
    """Note a checkpoint in the run's `ledger` and remove those that nothing keeps.

    A checkpoint that models.yaml registers stays: scores are to come, or name it.
    """
    earlier = _noted(ledger) if ledger.is_file() else []
    known = [one for one in earlier if one.folder != new.folder] + [new]
    registered = {entry.path for entry in load_registry().values()} if REGISTRY_FILE.is_file() else set()
    staying = [one for one in known if not one.is_dropped]
    dropped = [one for one in superfluous(staying, rule) if one.folder not in registered]
    # Noted before they go: a kill between the two leaves a checkpoint too many, never a note of one that is gone.
    notes = [replace(one, is_dropped=True) if one in dropped else one for one in known]
    atomic_write(ledger, json.dumps([asdict(one) for one in notes], sort_keys=True).encode())
    for one in dropped:
        remove_checkpoint(Path(one.folder))


def dropped_checkpoints(project: Path) -> set[str]:
    """Names of the checkpoint folders that runs which keep their states in `project` have dropped, and none keeps."""
    ledgers = (project / WORK_DIR / "units" / "training").glob(f"*/{LEDGER}")
    published = [one for ledger in ledgers for one in _noted(ledger)]
    kept = {Path(one.folder).name for one in published if not one.is_dropped}
    return {Path(one.folder).name for one in published} - kept


def _noted(ledger: Path) -> list[Published]:
    return [Published(**raw) for raw in json.loads(ledger.read_bytes())]
