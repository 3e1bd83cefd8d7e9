"""What a training block needs before it is started: memory of a device and of its host, disk, time.

By formula, from sizes alone: no weight is made. D model width, F feed-forward width, V ids.
"""

from dataclasses import dataclass
from typing import Final

from mmada.errors import CapacityError, ParamsError
from mmada.model.flops import Work, training_flops
from mmada.model.transformer import TransformerConfig
from mmada.params_training import TrainingBlock

_FP32: Final = 4
_MOST_SCORES: Final = 2**30
"""Scores of ids that the loss holds at once on CUDA (mmada.model.losses); more are made a tile at a time."""
_TILE: Final = 2**27
_UTILISATION: Final = 0.4
"""Share of a device's peak that training is assumed to reach."""


@dataclass(frozen=True)
class Machine:
    """What each process of a job has, and the job's disk. Bytes; None: not known, and not checked.

    `flops`: peak bf16 operations per second.
    """

    device_memory: int
    host_memory: int | None
    disk: int | None
    flops: float | None


@dataclass(frozen=True)
class Forecast:
    """What a job needs. Bytes; per process where nothing else is said."""

    device: dict[str, int]
    """What fills a device's memory at the worst moment of a step, by name."""
    host: int
    """The weights as they are read, later the copy of the state that is being written."""
    disk: int
    """Of the whole job: two resume states, the published checkpoints, the model."""
    flops: int
    """Of the whole job's training steps; sampling of rollouts is not in it."""
    seconds: float | None
    """At 40 % of the devices' peak; None where the peak is unknown."""

    @property
    def device_bytes(self) -> int:
        """Sum of `device`."""
        return sum(self.device.values())


def forecast(
    config: TransformerConfig, block: TrainingBlock, *, processes: int, length: int, flops: float | None
) -> Forecast:
    """Needs of a block on `processes` devices whose rows have `length` tokens, if every token is learned."""
    weights = num_weights(config)
    step_rows = rows_of_a_step(block)
    rows = -(-step_rows // (block.grad_accumulation * processes))
    muon = block.optimiser.muon_learning_rate > 0
    moments = 2 * weights - (config.n_layers * _block_matrices(config) if muon else 0)
    kept = weights + moments + (weights if block.ema_decay else 0)
    device = {
        "weights, moments, average": _FP32 * kept // processes,
        "gradients": _FP32 * weights // processes,
        "gathered for use": _gathered(config, block, processes),
        "activations": activation_bytes(config, block, rows * length),
        "scores": _score_bytes(config, rows * length),
    }
    if block.unigrpo is not None and block.unigrpo.kl_reference == "init":
        device["frozen reference"] = _FP32 * weights  # whole on every device
    tokens = block.max_steps * step_rows * length
    total = training_flops(config, Work(tokens, tokens, tokens * length, tokens * config.embedding_size))
    return Forecast(
        device=device,
        host=_FP32 * max(weights, kept // processes),
        disk=2 * _FP32 * kept + (_published(block) + 1) * _FP32 * weights,
        flops=total,
        seconds=None if flops is None else total / (processes * flops * _UTILISATION),
    )


def check_fits(needs: Forecast, machine: Machine) -> None:
    """Raises CapacityError that names every limit which a job exceeds, and by what."""
    parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in needs.device.items())
    limits = (
        ("a device's memory", needs.device_bytes, machine.device_memory, f" ({parts})"),
        (
            "the host's memory",
            needs.host,
            machine.host_memory,
            " (the weights as they are read, a state as it is saved)",
        ),
        ("the disk", needs.disk, machine.disk, " (two resume states, published checkpoints, the model)"),
    )
    lines = [
        f"{name}: needs {gigabytes(need)}{why}, has {gigabytes(has)}"
        for name, need, has, why in limits
        if has is not None and need > has
    ]
    if lines:
        raise CapacityError(
            "the job does not fit; use more processes, a smaller batch_size with more grad_accumulation, "
            "activation_checkpointing, or keep_published:\n  " + "\n  ".join(lines)
        )


def refuse_idle_processes(block: TrainingBlock, name: str, processes: int) -> None:
    """Raises ParamsError when some process would have no row in a micro-batch of a step."""
    where, parts, choices = f"training.{name}", block.grad_accumulation, block.unigrpo
    learning = block.masked_prediction
    if learning is not None and learning.batch_size < processes:
        raise ParamsError(
            f"{where}.masked_prediction.batch_size is {learning.batch_size}, rows of a micro-batch of all processes, "
            f"of which there are {processes}: use fewer processes, or less grad_accumulation and a larger batch_size"
        )
    if choices is not None and choices.prompts_per_iteration // processes * choices.group_size < parts:
        raise ParamsError(
            f"{where}.unigrpo: {choices.prompts_per_iteration} prompts_per_iteration and group_size "
            f"{choices.group_size} leave a process of {processes} fewer rollouts than grad_accumulation ({parts}) "
            "micro-batches: use fewer processes, more prompts, or less grad_accumulation"
        )


def rows_of_a_step(block: TrainingBlock) -> int:
    """Rows that move the weights once."""
    return block.samples_per_step * (block.unigrpo.group_size if block.unigrpo is not None else 1)


def num_weights(config: TransformerConfig) -> int:
    """Weights of a model."""
    gains = 2 * config.d_model
    return (
        config.n_layers * (_block_matrices(config) + gains)
        + 2 * config.embedding_size * config.d_model
        + config.d_model
    )


def activation_bytes(config: TransformerConfig, block: TrainingBlock, tokens: int) -> int:
    """What forward keeps for backward, with attention that keeps no scores (as CUDA's kernels)."""
    width, hidden = config.d_model, config.mlp_hidden_size
    if block.precision == "fp32":
        inside = _FP32 * (8 * width + 4 * hidden)  # norms in and out, q, k, v, attended; gate twice, up, product
    else:  # the residual stream and the norms stay fp32, every matrix keeps its own bf16 input
        inside = 4 * (3 * width) + 2 * (10 * width + 4 * hidden)
    if not block.activation_checkpointing:
        return tokens * (config.n_layers * (inside + _FP32 * width) + 2 * _FP32 * width)
    return tokens * (config.n_layers * _FP32 * width + inside + 2 * _FP32 * width)


def _published(block: TrainingBlock) -> int:
    """Published checkpoints that lie on the disk at the end."""
    if not block.publish_every:
        return 0
    made = -(-block.max_steps // block.publish_every) - 1
    keep = block.keep_published
    if not (keep.last or keep.best or keep.every):
        return made
    return min(made, keep.last + keep.best + (block.max_steps // keep.every if keep.every else 0))


def _block_matrices(config: TransformerConfig) -> int:
    return 4 * config.d_model**2 + 3 * config.d_model * config.mlp_hidden_size


def _gathered(config: TransformerConfig, block: TrainingBlock, processes: int) -> int:
    """Weights and gradients that stand whole on a device while they are used, and their bf16 copies."""
    ends = 2 * config.embedding_size * config.d_model
    layer = _block_matrices(config)
    whole = 0 if processes == 1 else _FP32 * (2 * ends + 3 * layer)  # FSDP2: the ends all along, a layer ahead
    if block.precision == "fp32":
        return whole
    copies = layer if block.activation_checkpointing else config.n_layers * layer
    return whole + 2 * (copies + ends // 2)


def _score_bytes(config: TransformerConfig, tokens: int) -> int:
    scores = tokens * config.embedding_size
    if scores <= _MOST_SCORES:
        return scores * (2 + 4 + 4 + 2)  # bf16, fp32, and the gradients of both
    return 2 * _FP32 * _TILE + _FP32 * config.embedding_size * config.d_model


def gigabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1e9:,.1f} GB"
