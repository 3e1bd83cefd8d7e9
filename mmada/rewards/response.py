"""What a reward looks at."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import UInt8
from numpy import ndarray

from mmada.contracts.sample import Task
from mmada.cot_dialects import answer_section
from mmada.params_section import DRAWING_TASKS


@dataclass(frozen=True)
class Response:
    """One answer of the model.

    `reference`: the gold answer, or the specification of a picture; "" where there is none. `pixels`: the picture that
    was drawn, or that the question is about; None for tasks without one, and where no reward looks at it.
    """

    task: Task
    prompt: str
    completion: str
    reference: str
    pixels: UInt8[ndarray, "H W 3"] | None

    @property
    def draws(self) -> bool:
        """Whether the picture is the model's own."""
        return self.task in DRAWING_TASKS

    @property
    def statement(self) -> str:
        """The text of the answer, without its thought; "" where a thought never ends."""
        return answer_section(self.completion) or ""


Reward = Callable[[Response], float]
"""Scores one response. Raises an MmadaError where its use is a mistake of the configuration."""
