"""Processes of one training job: joining them, sharding the model over them (FSDP2), summing over them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from mmada.model.transformer import Transformer
from mmada.numerics import compute_device


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
    mesh = init_device_mesh(compute_device().type, (world.size,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    register_fsdp_forward_method(model, "hidden_states")  # training enters the model there, not by calling it


def all_sum(values: Float[Tensor, "*shape"], world: World) -> Float[Tensor, "*shape"]:
    """Sum over all processes."""
    if world.size == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


def barrier(world: World) -> None:
    """Wait until all processes are here."""
    if world.size > 1:
        dist.barrier()


def gathered(tensor: Tensor) -> Tensor:
    """The whole of a possibly sharded tensor, detached. Every process must call it."""
    whole: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach()


def local_rows(tensor: Tensor) -> Tensor:
    """The rows of a possibly sharded tensor that this process holds, detached."""
    local: Tensor = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return local.detach()


def first_row(tensor: Tensor) -> int:
    """Global index of the first row that this process holds."""
    if not isinstance(tensor, DTensor):
        return 0
    _, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return int(offset[0])


def full_state(model: Transformer) -> dict[str, Tensor]:
    """Whole weights by published name. Every process must call it."""
    return {name: gathered(tensor).cpu() for name, tensor in model.state_dict().items()}
