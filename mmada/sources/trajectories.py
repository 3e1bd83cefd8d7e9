"""Reasoning traces as published for R1-like models: rows whose response is a thought and an answer."""

import re
from typing import Final

_OPENING: Final = re.compile(r"<think>|<thought>|<\|begin_of_thought\|>|<reasoning>", re.IGNORECASE)


def without_echo(response: str) -> str:
    """A response from its first opening tag of a thought on: dumps of a sampler repeat the prompt before
    it.
    """
    opening = _OPENING.search(response)
    return response[opening.start() :] if opening else response
