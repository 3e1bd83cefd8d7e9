"""Short training runs that tests of the loop share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmada.model.transformer import Transformer
from mmada.text_tokenizer import TextTokenizer
from mmada.training.loop import TrainResult, train
from mmada.training.objectives import Objective
from tests.tiny import tiny_model, tiny_vocab
from tests.training.jobs import ALONE, masked_objective, settings


@dataclass(frozen=True)
class Finished:
    """A run that has ended: its model, step -> metrics, and the result, None where it was stopped."""

    model: Transformer
    log: Mapping[int, Mapping[str, float]]
    result: TrainResult | None


def run(
    tokenizer: TextTokenizer,
    state_dir: Path,
    steps: int,
    *,
    stop_at: int | None = None,
    objective: Objective | None = None,
    published: dict[int, dict[str, torch.Tensor]] | None = None,
    at_step: Callable[[int], None] = lambda step: None,
    **change: Any,
) -> Finished:
    """Train a tiny model. `stop_at`: the step after which it is interrupted. `published`: gets what is published."""
    model = tiny_model(tiny_vocab(tokenizer))
    log: dict[int, Mapping[str, float]] = {}

    def on_metrics(run: str, step: int, values: Mapping[str, float]) -> None:
        log[step] = dict(values)
        at_step(step)
        if step == stop_at:
            raise KeyboardInterrupt

    def publish(position: Any) -> None:
        assert published is not None, "this run publishes"
        published[position.step] = {name: weight.clone() for name, weight in model.state_dict().items()}

    try:
        result = train(
            model,
            objective or masked_objective(tokenizer, ALONE),
            settings(steps, **change),
            state_dir=state_dir,
            world=ALONE,
            on_metrics=on_metrics,
            publish=publish,
            label="test",
        )
    except KeyboardInterrupt:
        result = None
    return Finished(model, log, result)


def same_weights(one: Transformer, other: Transformer) -> bool:
    """Whether all weights are equal, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
