"""Resume states: everything that a killed run needs to continue, without a pickle.

A state is a folder `step-000000123` with `state.json` and one safetensors file per process, which holds that
process's rows of every weight and of the optimisers' moments. Any number of processes can read it: each picks the
rows it needs out of all files. torch.distributed.checkpoint is not used because its `.metadata` is a pickle.
Random numbers need no state: all noise is a function of (seed, sample, epoch) and the schedule one of the
step.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from mmada.errors import CheckpointError
from mmada.model.transformer import Transformer
from mmada.storage import atomic_write
from mmada.training.average import Average
from mmada.training.guard import SkippedBatch
from mmada.training.optimisers import owner, restore_state, state_tensors
from mmada.training.parallel import World, barrier, first_row, local_rows
from mmada.training.state_places import open_states

_PATIENCE_SECONDS: Final = 10.0
"""How long a run that has failed waits for other processes to complete the state that is being written."""


@dataclass(frozen=True)
class Position:
    """Where a run stands: `step` batches are behind it (the next one is batch `step`) and `tokens` were learned from.

    `run`: digest of everything that the run's result depends on; a state of another run is not continued.
    `skipped`: batches among those `step` that did not move the weights. `losses`, `norms`: losses and gradient norms of
    the last ones that did, as many as the guard looks back on.
    """

    step: int
    tokens: int
    run: str
    skipped: tuple[SkippedBatch, ...] = ()
    losses: tuple[float, ...] = ()
    norms: tuple[float, ...] = ()

    @property
    def recent_loss(self) -> float:
        """Mean of `losses`; NaN before the first."""
        return sum(self.losses) / len(self.losses) if self.losses else math.nan

    @property
    def updates(self) -> int:
        """How often the optimisers have moved the weights."""
        return self.step - len(self.skipped)

    def moved(self, *, tokens: int, loss: float, norm: float, window: int) -> "Position":
        """After one more batch."""
        losses, norms = (*self.losses, loss)[-window:], (*self.norms, norm)[-window:]
        return replace(self, step=self.step + 1, tokens=self.tokens + tokens, losses=losses, norms=norms)

    def without(self, batch: SkippedBatch) -> "Position":
        """After one more batch that was skipped."""
        return replace(self, step=self.step + 1, skipped=(*self.skipped, batch))


def newest_position(place: Path | str) -> Position:
    """Where the newest state at `place` (a folder, or s3://bucket/prefix) stands.

    Raises CheckpointError when there is none, or it is damaged.
    """
    states = open_states(place)
    newest = states.newest()
    if newest is None:
        raise CheckpointError(f"{place} holds no resume state; run the training again")
    with _damage_explained(f"{place}/{newest}"):
        return position_of(states.described(newest))


class ResumeStates:
    """The resume states of one process's part in a run, at `place` (state_places.open_states). Enter it while training.

    A save copies the tensors and returns; a thread writes them while training goes on. A state gets its name when all
    processes' files are whole, then older ones go: a kill at any moment leaves the newest whole state behind. Leaving
    waits for what is being written.
    """

    def __init__(
        self, place: Path | str, model: Transformer, optimisers: tuple[Optimizer, ...], average: Average, world: World
    ) -> None:
        self._place, self._states, self._world = place, open_states(place), world
        self._parts = partial(_parts, optimisers, average)
        self._model, self._optimisers = model, optimisers
        self._snapshot: dict[str, Tensor] = {}
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="resume-state")
        self._writing: Future[None] | None = None
        self._failed = Event()

    def __enter__(self) -> "ResumeStates":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
            barrier(self._world)
        else:
            self._failed.set()
        self._writer.shutdown()

    def wait(self) -> None:
        """Until this process's last save is whole; raises what its writing raised."""
        if self._writing is not None:
            self._writing.result()

    def save(self, position: Position) -> None:
        """Save the state of now. Waits for an earlier save that is still being written. A collective."""
        self.wait()
        name = f"step-{position.step:09d}"
        if self._world.is_first:
            self._states.begin(name)
        barrier(self._world)
        rows = self._copy()
        self._writing = self._writer.submit(self._write, name, rows, position)

    @torch.no_grad()
    def _copy(self) -> dict[str, int]:
        """Copy this process's rows of everything; returns the global index of each one's first row."""
        rows = {}
        for name, parameter in self._model.named_parameters():
            for part, tensor in self._parts(name, parameter).items():
                local, key = local_rows(tensor), f"{part}:{name}"
                if key not in self._snapshot:  # kept: fresh memory costs more than the copy itself
                    self._snapshot[key] = torch.empty(local.shape, dtype=local.dtype, pin_memory=local.is_cuda)
                self._snapshot[key].copy_(local)
                rows[key] = first_row(parameter)
        return rows

    def _write(self, name: str, rows: Mapping[str, int], position: Position) -> None:
        rank, folder = self._world.rank, self._states.folder(name)
        save_file(self._snapshot, folder / _file_name(rank))
        atomic_write(folder / _rows_name(rank), json.dumps(rows, sort_keys=True).encode())
        self._states.put(name, [_file_name(rank), _rows_name(rank)])
        if self._world.is_first:
            self._await_others(name)
            self._states.finish(name, {**asdict(position), "world_size": self._world.size})

    def _await_others(self, name: str) -> None:
        """Until all files are there. By looking, because a thread may not take part in collectives."""
        wanted = [_rows_name(rank) for rank in range(self._world.size)]
        patience = _PATIENCE_SECONDS
        while not self._states.holds(name, wanted):
            time.sleep(self._states.look_seconds)
            if self._failed.is_set():  # another process may have ended before it wrote
                patience -= self._states.look_seconds
            if patience < 0:
                raise CheckpointError(f"{self._place}/{name} lacks files of processes that have ended; run again")

    def load(self, *, run: str) -> Position | None:
        """Restore the newest state in place; None when there is none of this run.

        Raises CheckpointError when the state is damaged.
        """
        newest = self._states.newest()
        if newest is None:
            return None
        with _damage_explained(f"{self._place}/{newest}"):
            said = self._states.described(newest)
            position = position_of(said)
            if position.run != run:
                return None
            self._restore(self._states.opened(newest), said["world_size"], position.updates)
        return position

    @torch.no_grad()
    def _restore(self, folder: Path, files: int, updates: int) -> None:
        opened = [safe_open(folder / _file_name(rank), framework="pt") for rank in range(files)]
        first_rows = [json.loads((folder / _rows_name(rank)).read_text()) for rank in range(files)]
        for name, parameter in self._model.named_parameters():
            optimiser = owner(self._optimisers, parameter)
            parts = self._parts(name, parameter)
            for part, tensor in parts.items():
                key = f"{part}:{name}"
                local = local_rows(tensor)
                filled = 0
                for file, starts in zip(opened, first_rows, strict=True):
                    filled += _copy_overlap(file, key, starts[key], local, first_row(parameter))
                if filled != len(local):
                    raise ValueError(f"{key}: {filled} of {len(local)} rows found")
            restore_state(optimiser, parameter, parts, updates)


def _parts(optimisers: tuple[Optimizer, ...], average: Average, name: str, parameter: Tensor) -> dict[str, Tensor]:
    """What a state keeps of a parameter: the weight, the optimiser's tensors, the average where there is one."""
    return {"weight": parameter, **state_tensors(owner(optimisers, parameter), parameter), **average.part(name)}


def position_of(said: Mapping[str, Any]) -> Position:
    """The position whose fields these are."""
    skipped = tuple(SkippedBatch(one["step"], one["reason"], tuple(one["samples"])) for one in said["skipped"])
    return Position(said["step"], said["tokens"], said["run"], skipped, tuple(said["losses"]), tuple(said["norms"]))


@contextmanager
def _damage_explained(state: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"resume state {state} is damaged ({error}); delete it to start over") from error


def _file_name(rank: int) -> str:
    return f"state-{rank:05d}.safetensors"


def _rows_name(rank: int) -> str:
    return f"rows-{rank:05d}.json"


def _copy_overlap(file: safe_open, key: str, stored_first: int, local: Tensor, local_first: int) -> int:
    """Copy the rows of a stored piece that `local` needs; returns how many."""
    stored = file.get_slice(key)  # type: ignore[no-untyped-call]  # safetensors leaves it unannotated
    shape = stored.get_shape()
    if shape[1:] != list(local.shape[1:]):
        raise ValueError(f"{key} has shape {shape}, expected rows of {list(local.shape[1:])}")
    first = max(stored_first, local_first)
    last = min(stored_first + shape[0], local_first + len(local))
    if first >= last:
        return 0
    local[first - local_first : last - local_first] = stored[first - stored_first : last - stored_first]
    return int(last - first)
