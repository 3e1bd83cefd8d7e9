"""Resume states: everything that a killed run needs to continue, without a pickle.

A state is a folder `step-000000123` with `state.json` and one safetensors file per process, which holds that
process's rows of every weight and of the optimisers' moments. Any number of processes can read it: each picks the
rows it needs out of all files. torch.distributed.checkpoint is not used because its `.metadata` is a pickle.
Random numbers need no state: all noise is a function of (seed, sample, epoch) and the schedule one of the
step.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from mmada.errors import CheckpointError
from mmada.model.transformer import Transformer
from mmada.training.optimisers import owner, restore_state, state_tensors
from mmada.training.parallel import World, barrier, first_row, local_rows

STATE: Final = "state.json"


@dataclass(frozen=True)
class Position:
    """Where a run stands: `step` optimiser steps are done (the next batch is batch `step`) and `tokens` seen.

    `run`: digest of everything that the run's result depends on; a state of another run is not continued.
    """

    step: int
    tokens: int
    run: str


def save_state(
    folder: Path, model: Transformer, optimisers: tuple[Optimizer, ...], position: Position, world: World
) -> None:
    """Write the state below `folder`, drop older ones. A kill at any moment leaves a whole state behind."""
    target = folder / f"step-{position.step:09d}"
    partial = folder / f"{target.name}.partial"
    if world.is_first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    barrier(world)
    local, rows = _local_tensors(model, optimisers)
    save_file(local, partial / _file_name(world.rank))
    (partial / f"rows-{world.rank:05d}.json").write_text(json.dumps(rows, sort_keys=True))
    barrier(world)
    if world.is_first:
        (partial / STATE).write_text(json.dumps({**asdict(position), "world_size": world.size}, sort_keys=True))
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        for other in folder.glob("step-*"):
            if other != target:
                shutil.rmtree(other)
    barrier(world)


def load_state(folder: Path, model: Transformer, optimisers: tuple[Optimizer, ...], *, run: str) -> Position | None:
    """Restore the newest state below `folder` in place; None when there is none of this run.

    Raises CheckpointError when the state is damaged.
    """
    found = sorted(path for path in folder.glob("step-*") if (path / STATE).is_file())
    if not found:
        return None
    newest = found[-1]
    try:
        raw = json.loads((newest / STATE).read_text())
        position = Position(step=raw["step"], tokens=raw["tokens"], run=raw["run"])
        if position.run != run:
            return None
        _restore(newest, raw["world_size"], model, optimisers, position.step)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"resume state {newest} is damaged ({error}); delete it to start over") from error
    return position


def _file_name(rank: int) -> str:
    return f"state-{rank:05d}.safetensors"


def _local_tensors(model: Transformer, optimisers: tuple[Optimizer, ...]) -> tuple[dict[str, Tensor], dict[str, int]]:
    """This process's rows of weights and moments, and the global index of each one's first row."""
    tensors, rows = {}, {}
    for name, parameter in model.named_parameters():
        parts = {"weight": parameter, **state_tensors(owner(optimisers, parameter), parameter)}
        for part, tensor in parts.items():
            tensors[f"{part}:{name}"] = local_rows(tensor).contiguous()
            rows[f"{part}:{name}"] = first_row(parameter)
    return tensors, rows


@torch.no_grad()
def _restore(folder: Path, files: int, model: Transformer, optimisers: tuple[Optimizer, ...], step: int) -> None:
    opened = [safe_open(folder / _file_name(rank), framework="pt") for rank in range(files)]
    first_rows = [json.loads((folder / f"rows-{rank:05d}.json").read_text()) for rank in range(files)]
    for name, parameter in model.named_parameters():
        optimiser = owner(optimisers, parameter)
        state = {part: tensor.zero_() for part, tensor in state_tensors(optimiser, parameter).items()}
        for part, tensor in {"weight": parameter, **state}.items():
            key = f"{part}:{name}"
            local = local_rows(tensor)
            filled = 0
            for file, starts in zip(opened, first_rows, strict=True):
                filled += _copy_overlap(file, key, starts[key], local, first_row(parameter))
            if filled != len(local):
                raise ValueError(f"{key}: {filled} of {len(local)} rows found")
        restore_state(optimiser, parameter, state, step)


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
