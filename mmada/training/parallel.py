"""Processes of one training job: joining them, sharding the model over them (FSDP2), summing over them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor

from mmada.model.transformer import Transformer
from mmada.numerics import compute_device

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


@dataclass(frozen=True)
class World:
    """This process among the processes of the job."""

    rank: int
    size: int

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes that torchrun started (gloo on CPU, nccl on CUDA); alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1)
        return
    on_gpu = compute_device().type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def shard_model(model: Transformer, world: World) -> None:
    """Shard parameters, gradients and optimiser state in place: each block a unit, the rest the root unit."""
    if world.size == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(compute_device().type, (world.size,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "hidden_states")  # training enters the model there, not by calling it


@contextmanager
def whole_weights(model: Transformer, world: World) -> Iterator[None]:
    """Every process holds all weights meanwhile, so that each may call the model as often as it needs: sampling
    differs in length. All processes must enter and leave together.
    """
    if world.size == 1:
        yield
        return
    sharded: list[Any] = [*model.blocks, model]
    for module in sharded:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in sharded:
            module.set_reshard_after_forward(module is not model, recurse=False)
            module.reshard()


def all_sum(values: Float[Tensor, "*shape"], world: World) -> Float[Tensor, "*shape"]:
    """Sum over all processes."""
    if world.size == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def all_max(value: int, world: World) -> int:
    """The largest of all processes' numbers."""
    if world.size == 1:
        return value
    largest = torch.tensor(value, device=compute_device())
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def barrier(world: World) -> None:
    """Wait until all processes are here."""
    if world.size > 1:
        dist.barrier()


def _as_sharded(tensor: Tensor) -> "DTensor | None":
    """The tensor where FSDP2 has sharded it. Only sharded jobs import the module that defines them, which takes 1 s."""
    if "torch.distributed.tensor" not in sys.modules:
        return None
    from torch.distributed.tensor import DTensor

    return tensor if isinstance(tensor, DTensor) else None


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a possibly sharded tensor, detached. Every process must call it."""
    sharded = _as_sharded(tensor)
    whole: Tensor = tensor if sharded is None else sharded.full_tensor()
    return whole.detach()


def local_rows(tensor: Tensor) -> Tensor:
    """The rows of a possibly sharded tensor that this process holds, detached."""
    sharded = _as_sharded(tensor)
    local: Tensor = tensor if sharded is None else sharded.to_local()
    return local.detach()


def first_row(tensor: Tensor) -> int:
    """Global index of the first row that this process holds."""
    sharded = _as_sharded(tensor)
    if sharded is None:
        return 0
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    _, offset = compute_local_shape_and_global_offset(sharded.shape, sharded.device_mesh, sharded.placements)
    return int(offset[0])


def full_state(model: Transformer) -> dict[str, Tensor]:
    """Whole weights by published name. Every process must call it."""
    return {name: gathered(tensor).cpu() for name, tensor in model.state_dict().items()}
