"""Rewards under a clock: responses are scored side by side in worker processes, each of which the kernel ends when its
time is up, also inside C code.
"""

import json
import math
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from mmada.errors import TrainingError
from mmada.processes import Processes, WorkerLostError
from mmada.rewards import REWARD_MODELS, Response, Reward, build_rewards

Scores = dict[str, float]
"""Reward -> what it gives, before any weight."""


@dataclass(frozen=True)
class Asked:
    """A response and the rewards that are to score it."""

    response: Response
    names: tuple[str, ...]


class Scorer(Protocol):
    """Scores responses: `RewardWorkers`, or any function in tests."""

    def __call__(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Scores | None]]:
        """(index in `asked`, scores) as they come; None where a response could not be scored in bounds."""
        ...


class RewardWorkers:
    """Up to `workers` processes that keep their reward models loaded. Close it when no more is to be scored.

    `folders`: of the reward models, by name. `seconds`: wall clock that one response may take, without the start of
    its worker. A response that takes longer, or kills its worker, has no scores; the next one gets a new worker.
    """

    def __init__(self, folders: Mapping[str, Path], seconds: float, workers: int) -> None:
        self._folders = tuple(sorted(folders.items()))
        self._seconds = seconds
        self._processes = Processes(_score, workers)
        # They live as long as the workers do: the kernel ends a worker with the thread that started it.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="reward")

    def __call__(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Scores | None]]:
        """(index, scores) as they come. Raises what a reward raises, and TrainingError when no worker can start."""
        futures = {self._threads.submit(self._one, one): index for index, one in enumerate(asked)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()

    def _one(self, asked: Asked) -> Scores | None:
        try:
            data = self._processes(_Task(asked.names, asked.response, self._folders, self._seconds))
        except WorkerLostError:
            self._start_another(asked.names)
            return None
        scores: Scores = json.loads(data)
        return scores if all(math.isfinite(value) for value in scores.values()) else None

    def load(self, names: Iterable[str]) -> None:
        """Have one worker load the models of these rewards, before answers are made for them. Raises what loading
        raises, and TrainingError when no worker can start.
        """
        if models := tuple(sorted(REWARD_MODELS.keys() & set(names))):
            self._threads.submit(self._start_another, models).result()

    def _start_another(self, names: tuple[str, ...]) -> None:
        """A lost worker is the response's fault only if one can start at all."""
        try:
            self._processes(_Task(names, None, self._folders, self._seconds))
        except WorkerLostError as error:
            raise TrainingError(
                f"reward workers cannot start: {error}. Models of {', '.join(names)} may need more memory than there "
                "is: set MMADA_WORKERS to fewer"
            ) from None

    def close(self) -> None:
        """End the workers."""
        self._processes.close()
        self._threads.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Task:
    """`response`: None only loads the models of the rewards."""

    names: tuple[str, ...]
    response: Response | None
    folders: tuple[tuple[str, Path], ...]
    seconds: float


def _score(task: _Task) -> bytes:
    """Body of a worker."""
    rewards = {name: _loaded(name, task.folders) for name in task.names}
    if task.response is None:
        return b""
    # The default action of SIGALRM ends the process in the kernel: also inside C code.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, task.seconds)
    try:
        return json.dumps({name: float(rewards[name](task.response)) for name in task.names}).encode()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@cache
def _loaded(name: str, folders: tuple[tuple[str, Path], ...]) -> Reward:
    """Once a worker, whichever tasks share it."""
    if name in REWARD_MODELS:
        import torch

        torch.set_num_threads(1)  # workers share the cores, and sums in another order would be other bytes
    return build_rewards([name], dict(folders))[name]
