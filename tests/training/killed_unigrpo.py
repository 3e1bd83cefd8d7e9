"""Kills a small UniGRPO run inside its phases, again and again, and compares it with an undisturbed one.

`python -m tests.training.killed_unigrpo FOLDER --kills 30 --seed 1`; FOLDER is new. Exits with 1 when the final weights
differ by a bit, or when an answer or a score was lost, or made again after it had been stored.
"""

import argparse
import collections
import os
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from mmada.rewards.scoring import Asked, Scores
from mmada.text_tokenizer import load_tokenizer, train_tokenizer
from mmada.unit_store import UnitStore
from tests.tiny import TEXTS
from tests.training.runs import run
from tests.training.toy_unigrpo import score, toy

PHASES = ("rollout", "reward call", "reward", "update")
STEPS = 6
"""Three iterations of two updates, a resume state after each iteration."""


@dataclass
class Watched:
    """A process that notes what it does, one line an event, and kills itself just before or after one of them.

    `fatal`: (phase, number of its event in this process, whether before it), or None to live.
    """

    journal: Path
    fatal: tuple[str, int, bool] | None

    def __post_init__(self) -> None:
        self.seen: collections.Counter[str] = collections.Counter()

    @contextmanager
    def event(self, phase: str, what: str) -> Iterator[None]:
        """Around an event."""
        self._die_if(phase, before=True)
        yield
        with self.journal.open("a") as stream:
            stream.write(f"{phase}\t{what}\n")
        self._die_if(phase, before=False)
        self.seen[phase] += 1

    def _die_if(self, phase: str, *, before: bool) -> None:
        if self.fatal == (phase, self.seen[phase], before):
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class WatchedStore:
    """A unit store whose writes are events."""

    store: UnitStore
    watched: Watched

    def get(self, key: str) -> bytes | None:
        return self.store.get(key)

    def put(self, key: str, data: bytes) -> None:
        with self.watched.event("rollout" if data.startswith(b"PK") else "reward", key):
            self.store.put(key, data)


def _train(folder: Path, tokenizer_folder: Path, fatal: tuple[str, int, bool] | None) -> None:
    """Train to the end and write the weights, unless killed."""
    torch.set_num_threads(1)
    watched = Watched(folder / "journal", fatal)

    def scorer(asked: Sequence[Asked]) -> Iterator[tuple[int, Scores | None]]:
        for one, (index, scores) in zip(asked, score(asked), strict=True):
            with watched.event("reward call", f"{one.names} {one.response.prompt!r} {one.response.completion!r}"):
                pass
            yield index, scores

    def at_step(step: int) -> None:
        with watched.event("update", str(step)):
            pass

    tokenizer = load_tokenizer(tokenizer_folder)
    objective = toy(tokenizer, WatchedStore(UnitStore(folder / "phases"), watched), scorer=scorer)
    finished = run(tokenizer, folder, STEPS, objective=objective, checkpoint_every=2, at_step=at_step)
    weights = torch.cat([parameter.detach().flatten() for parameter in finished.model.parameters()])
    (folder / "weights").write_bytes(weights.numpy().tobytes())


def _in_a_process(folder: Path, tokenizer_folder: Path, fatal: tuple[str, int, bool] | None) -> bool:
    """Whether a process of its own came to the end."""
    folder.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        try:
            _train(folder, tokenizer_folder, fatal)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("a run failed by itself")
    return os.WIFEXITED(status)


def _events(folder: Path) -> dict[str, collections.Counter[str]]:
    counts: dict[str, collections.Counter[str]] = {phase: collections.Counter() for phase in PHASES}
    for line in (folder / "journal").read_text().splitlines():
        phase, _, what = line.partition("\t")
        counts[phase][what] += 1
    return counts


def kill_rounds(folder: Path, kills: int, rng: random.Random) -> str:
    """Rounds of one run each, which is killed until it ends, until there were so many kills; returns what they were."""
    folder.mkdir(parents=True)
    tokenizer_folder = folder / "tokenizer"
    train_tokenizer(TEXTS * 20, tokenizer_folder, vocab_size=320)
    undisturbed = folder / "undisturbed"
    undisturbed.mkdir()
    _train(undisturbed, tokenizer_folder, None)  # in this process, so that its forks have imported everything
    expected = _events(undisturbed)
    killed: collections.Counter[str] = collections.Counter()
    rounds = 0
    while killed.total() < kills:
        own = folder / f"round-{rounds}"
        rounds += 1
        hits: collections.Counter[str] = collections.Counter()
        ended = False
        while not ended:
            phase = PHASES[(killed + hits).total() % len(PHASES)]
            ended = _in_a_process(own, tokenizer_folder, (phase, rng.randrange(4), rng.random() < 0.5))
            hits[phase] += not ended
        killed += hits
        _check(own, undisturbed, expected, hits)
    by_phase = ", ".join(f"{killed[phase]} at a {phase}" for phase in PHASES)
    return f"{killed.total()} kills ({by_phase}) in {rounds} rounds: equal weights, nothing lost, nothing made twice"


def main() -> None:
    """As the module's text says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    sys.stdout.write(kill_rounds(options.folder, options.kills, random.Random(options.seed)) + "\n")


def _check(
    folder: Path,
    undisturbed: Path,
    expected: dict[str, collections.Counter[str]],
    kills: collections.Counter[str],
) -> None:
    found = _events(folder)
    for phase in ("rollout", "reward"):
        if found[phase].keys() != expected[phase].keys() or max(found[phase].values()) > 1:
            sys.exit(f"{folder}: {phase}s were lost or stored twice: {found[phase] - expected[phase]}")
    # A score that a kill takes between the reward's return and its storing has to be asked for again.
    repeated = (found["reward call"] - expected["reward call"]).total()
    if repeated > kills["reward call"] + kills["reward"]:
        sys.exit(f"{folder}: {repeated} reward calls too many after {kills.total()} kills")
    if (folder / "weights").read_bytes() != (undisturbed / "weights").read_bytes():
        sys.exit(f"{folder}: the final weights differ after {kills.total()} kills")


if __name__ == "__main__":
    main()
