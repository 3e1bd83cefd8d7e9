"""Exponential moving average of the weights: what is published in their place, where a block asks for it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from mmada.model.transformer import Transformer
from mmada.training.parallel import local_rows


class Average:
    """average = decay * average + (1 - decay) * weights, after every step; sharded as the weights are.

    With `decay` 0 there is none: the weights themselves are published, and nothing is kept.
    """

    def __init__(self, model: Transformer, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(model.named_parameters()) if decay else {}
        self.tensors: Mapping[str, Tensor] = {name: one.detach().clone() for name, one in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        for name, tensor in self.tensors.items():
            local_rows(tensor).lerp_(local_rows(self._parameters[name]), 1 - self.decay)

    def part(self, name: str) -> dict[str, Tensor]:
        """What a resume state keeps of one parameter."""
        return {"average": self.tensors[name]} if self.tensors else {}

    @torch.no_grad()
    def replace_weights(self) -> None:
        """Give the model its averaged weights for good."""
        for name, tensor in self.tensors.items():
            local_rows(self._parameters[name]).copy_(local_rows(tensor))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with its averaged weights for the time being."""
        weights = {name: local_rows(self._parameters[name]).clone() for name in self.tensors}
        self.replace_weights()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in weights.items():
                    local_rows(self._parameters[name]).copy_(weight)
