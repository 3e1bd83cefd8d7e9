"""Whether a response has the form <think>thought</think>answer."""

import re
from typing import Final

from mmada.rewards.response import Response

_FORM: Final = re.compile(r"\s*<think>(?P<thought>.*?)</think>(?P<answer>.*)", re.DOTALL)


def think_format(response: Response) -> float:
    """1 when exactly one thought, not empty, opens the response and an answer (or the drawn picture) follows; else 0.

    Published weight 0.5 (arXiv:2505.15809).
    """
    completion = response.completion
    match = _FORM.fullmatch(completion)
    if match is None or completion.count("<think>") != 1 or completion.count("</think>") != 1:
        return 0.0
    answered = bool(match["answer"].strip()) or response.draws
    return float(answered and bool(match["thought"].strip()))
