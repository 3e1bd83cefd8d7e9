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


def with_thought(thought: str, answer: str) -> str:
    """A response of a thought that was published in a field of its own, and the answer; an answer that has one keeps
    it.
    """
    if not thought.strip() or _OPENING.search(answer):
        return answer
    return f"<think>{thought}</think>{answer}"
