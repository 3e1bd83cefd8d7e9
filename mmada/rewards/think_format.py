"""Whether a response has the form <think>thought</think>answer."""

import re
from typing import Final

from jaxtyping import UInt8
from numpy import ndarray

_FORM: Final = re.compile(r"\s*<think>(?P<thought>.*?)</think>(?P<answer>.*)", re.DOTALL)


def think_format(*, prompt: str, completion: str, reference: str, pixels: UInt8[ndarray, "H W 3"] | None) -> float:
    """1 when exactly one thought, not empty, opens the response and an answer (or a picture) follows; else 0.

    Published weight 0.5 (arXiv:2505.15809).
    """
    match = _FORM.fullmatch(completion)
    if match is None or completion.count("<think>") != 1 or completion.count("</think>") != 1:
        return 0.0
    answered = bool(match["answer"].strip()) or pixels is not None
    return float(answered and bool(match["thought"].strip()))
