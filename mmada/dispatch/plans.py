"""What `mmada forecast` tells: the needs of one training block, from params.yaml alone."""

import sys
from pathlib import Path
from typing import Final

from mmada.dispatch.capacity import (
    Machine,
    check_fits,
    forecast,
    gigabytes,
    num_weights,
    refuse_idle_processes,
    rows_of_a_step,
)
from mmada.errors import ParamsError
from mmada.model.transformer import TransformerConfig
from mmada.model.weights import CONFIG, load_config
from mmada.params_schema import Params
from mmada.params_training import TrainingBlock

_HOUR: Final = 3600


def print_forecast(params: Params, stage: str, machine: Machine, *, processes: int, length: int | None) -> None:
    """Print what training `stage` takes; `length`: tokens of a row [default: the longest that the model takes].

    Raises CapacityError after that when it does not fit `machine`, ParamsError for an unknown stage.
    """
    config, block = _model_config(params), training_block(params, stage)
    refuse_idle_processes(block, stage, processes)
    length = config.max_sequence_length if length is None else length
    needs = forecast(config, block, processes=processes, length=length, flops=machine.flops)
    tokens = rows_of_a_step(block) * length
    lines = [
        f"{stage}: {num_weights(config):,} weights, {processes} processes, rows of {length:,} tokens, "
        f"{tokens:,} tokens a step, {block.max_steps:,} steps",
        f"  memory of each device  {gigabytes(needs.device_bytes)} of {gigabytes(machine.device_memory)}",
        *(f"    {name:<26} {gigabytes(size):>12}" for name, size in needs.device.items()),
        f"  memory of its host     {gigabytes(needs.host)}",
        f"  disk                   {gigabytes(needs.disk)}",
        f"  operations             {needs.flops:.3g}",
    ]
    if needs.seconds is not None:
        lines.append(f"  time                   {needs.seconds / _HOUR:,.1f} hours at 40 % of the devices' peak")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    check_fits(needs, machine)


def training_block(params: Params, stage: str) -> TrainingBlock:
    """The block of a training stage. Raises ParamsError that lists those there are."""
    if stage not in params.training:
        raise ParamsError(f"training in params.yaml has no {stage!r}; it has: {', '.join(params.training)}")
    return params.training[stage]


def _model_config(params: Params) -> TransformerConfig:
    """Of the base model where one is named and is here, else of the sizes in params.yaml."""
    if params.model.base and (Path(params.model.base) / CONFIG).is_file():
        return load_config(Path(params.model.base))
    sizes = params.model.model_dump(exclude={"base", "seed"})
    vocabulary = params.text_tokenizer.vocab_size + 2**params.vq.z_channels
    return TransformerConfig(**sizes, embedding_size=vocabulary)
