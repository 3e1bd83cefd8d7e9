"""Every way of writing a thought, read into one grammar: `<think>thought</think>answer`.

Dialects: `<think>` (R1, MMaDA), `<|begin_of_thought|>`/`<|begin_of_solution|>` (Sky-T1),
`<Thought>`/`<Output>` (Marco-o1), `<reasoning>`/`<answer>` (d1).
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

Defect = Literal["thought_unclosed", "thought_empty"]

THINK_OPEN: Final = "<think>"
THINK_CLOSE: Final = "</think>"


@dataclass(frozen=True)
class Trajectory:
    """A response taken apart. `defect` names what is wrong with its thought; None: nothing, or there is none.

    `has_thought` tells an empty thought from a response that never began one.
    """

    thought: str
    answer: str
    has_thought: bool
    defect: Defect | None


_TAG_PAIRS: Final = (
    (THINK_OPEN, THINK_CLOSE),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<Thought>", "</Thought>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
)
_ANSWER_TAGS: Final = re.compile(r"</?(?:answer|Output|output)>|<\|(?:begin|end)_of_solution\|>")


def parse_trajectory(response: str) -> Trajectory:
    """Thought and answer of a response in any dialect.

    The thought runs from the first opening tag to the last closing tag of its dialect, so nested or repeated
    thoughts are one thought. A closing tag alone means that the template had already opened it.
    """
    for opening, closing in _TAG_PAIRS:
        if opening not in response and closing not in response:
            continue
        before, opened, rest = response.partition(opening)
        if not opened:
            before, rest = "", response
        thought, closed, answer = rest.rpartition(closing)
        if not closed:
            return Trajectory(rest.strip(), "", True, "thought_unclosed")
        if opening in answer:  # thinks again after the last closing tag and never ends
            return Trajectory((thought + answer).strip(), "", True, "thought_unclosed")
        thought = thought.replace(opening, "").replace(closing, "").strip()
        answer = _ANSWER_TAGS.sub("", answer if answer.strip() else before + answer).strip()
        return Trajectory(thought, answer, True, None if thought else "thought_empty")
    return Trajectory("", _ANSWER_TAGS.sub("", response).strip(), False, None)


def unified_response(response: str, *, with_thought: bool) -> str:
    """The response in the one grammar that training, rewards and evaluation share.

    Without its thought it is the answer alone. A response that has no thought stays as it is.
    """
    trajectory = parse_trajectory(response)
    if not trajectory.has_thought or not with_thought:
        return trajectory.answer if trajectory.has_thought else response
    return f"{THINK_OPEN}{trajectory.thought}{THINK_CLOSE}{trajectory.answer}"
