"""Every way of writing a thought, read into one grammar: `<think>thought</think>answer`.

Curation, training, rewards and evaluation read responses here and nowhere else.
"""

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final, Literal

THINK_OPEN: Final = "<think>"
THINK_CLOSE: Final = "</think>"

Part = Literal["thought", "answer"]

_DIALECTS: Final = {  # begin and end of the thought, begin and end of the answer
    "think": (THINK_OPEN, THINK_CLOSE, "<answer>", "</answer>"),  # R1, MMaDA
    "thinking": ("<thinking>", "</thinking>", "<answer>", "</answer>"),
    "reasoning": ("<reasoning>", "</reasoning>", "<answer>", "</answer>"),  # d1
    "thought": ("<thought>", "</thought>", "<output>", "</output>"),  # Marco-o1, which writes <Thought> too
    "begin_of_thought": (  # Sky-T1
        *("<|begin_of_thought|>", "<|end_of_thought|>"),
        *("<|begin_of_solution|>", "<|end_of_solution|>"),
    ),
    "brackets": ("[think]", "[/think]", "<answer>", "</answer>"),  # Magistral
}


@dataclass(frozen=True)
class Tag:
    """A tag in a response: its place, what it begins or ends, and the dialects that write it so."""

    start: int
    end: int
    part: Part
    opens: bool
    dialects: frozenset[str]


@dataclass(frozen=True)
class Trajectory:
    """A response taken apart.

    `has_thought` tells an empty thought from a response that never began one; `is_closed` is False for a thought
    that never ends, and such a response has no answer.
    """

    thought: str
    answer: str
    has_thought: bool
    is_closed: bool


def _roles() -> dict[str, tuple[Part, bool, frozenset[str]]]:
    places: tuple[tuple[Part, bool], ...] = (("thought", True), ("thought", False), ("answer", True), ("answer", False))
    roles: dict[str, tuple[Part, bool, frozenset[str]]] = {}
    for dialect, tags in _DIALECTS.items():
        for tag, (part, opens) in zip(tags, places, strict=True):
            others = roles[tag][2] if tag in roles else frozenset()
            roles[tag] = (part, opens, others | {dialect})
    return roles


_ROLES: Final = _roles()
_TAG: Final = re.compile(r"[<\[](?i:" + "|".join(re.escape(tag[1:]) for tag in _ROLES) + ")")

THINK_REQUEST: Final = (
    "You should first think about the reasoning process in the mind and then provide the user with the answer. The "
    "reasoning process is enclosed within <think> </think> tags, i.e. <think> reasoning process here </think> answer "
    "here\n"
)
"""What the published models were taught to be asked with (arXiv:2505.15809 and its code)."""

CODE: Final = re.compile(r"```.*?```|`(?!\s)[^`\n]{1,200}(?<!\s)`", re.DOTALL)
"""Code in a text of Markdown: what stands there is quoted."""

_GOES_ON: Final = re.compile(r"(?:\s|<\|\w+\|>)*[^\s<]")
"""Text that is more than blanks and control tokens."""


def find_tags(response: str) -> list[Tag]:
    """The tags of all dialects that structure a response, in order; letter case does not count.

    Tags in code, and tags of the answer within the thought, are only spoken of.
    """
    found = []
    for match in _TAG.finditer(response):
        part, opens, dialects = _ROLES[match[0].lower()]
        found.append(Tag(match.start(), match.end(), part, opens, dialects))
    if found and "`" in response:
        found = _outside_code(found, response)
    thought = [tag for tag in found if tag.part == "thought"]
    if not thought:
        return found
    begin = thought[0].start if thought[0].opens else 0
    end = len(response) if thought[-1].opens else thought[-1].start
    return [tag for tag in found if tag.part == "thought" or not begin <= tag.start < end]


def _outside_code(tags: list[Tag], response: str) -> list[Tag]:
    """Tags that are not quoted as code. A block whose tags do not pair is one that nobody closed: it quotes nothing."""
    starts = [tag.start for tag in tags]
    quoted: set[Tag] = set()
    for code in CODE.finditer(response):
        held = tags[bisect_left(starts, code.start()) : bisect_left(starts, code.end())]
        if not code[0].startswith("```") or _do_pair(held):
            quoted.update(held)
    return [tag for tag in tags if tag not in quoted]


def _do_pair(tags: list[Tag]) -> bool:
    pairs = zip(tags[::2], tags[1::2], strict=False)
    return len(tags) % 2 == 0 and all(a.opens and not b.opens and a.part == b.part for a, b in pairs)


def parse_trajectory(response: str) -> Trajectory:
    """Thought and answer of a response in any dialect.

    The thought runs from the first opening tag to the last closing tag, so nested or repeated thoughts are one
    thought. A closing tag alone means that the template had already opened it.
    """
    tags = find_tags(response)
    thought_tags = [tag for tag in tags if tag.part == "thought"]
    if not thought_tags:
        return Trajectory("", _between(response, tags), has_thought=False, is_closed=True)
    first, last = thought_tags[0], thought_tags[-1]
    begin = first.end if first.opens else 0
    if last.opens:
        return Trajectory(_between(response, tags, begin), "", has_thought=True, is_closed=False)
    answer = _between(response, tags, last.end)
    if not answer and first.opens:
        answer = _between(response, tags, 0, first.start)
    return Trajectory(_between(response, tags, begin, last.start), answer, has_thought=True, is_closed=True)


def answer_section(response: str) -> str | None:
    """What follows the thought, or where answer tags open there, what the last of them hold; None without an end of
    the thought. An end of the answer that nothing began stands where the thought's should: the answer follows it.
    """
    tags = find_tags(response)
    thought_tags = [tag for tag in tags if tag.part == "thought"]
    if thought_tags and thought_tags[-1].opens:
        return None
    begin, end = thought_tags[-1].end if thought_tags else 0, len(response)
    is_open = False
    for tag in tags:
        if tag.part == "answer" and tag.start >= begin:
            if tag.opens or (not is_open and end == len(response) and _GOES_ON.match(response, tag.end)):
                begin, end = tag.end, len(response)
            elif is_open:
                end = tag.start
            is_open = tag.opens
    return _between(response, tags, begin, end)


def unified_response(response: str, *, with_thought: bool) -> str:
    """The response in the one grammar that training, rewards and evaluation share.

    Without its thought it is the answer alone. A response that has no thought stays as it is.
    """
    trajectory = parse_trajectory(response)
    if not trajectory.has_thought or not with_thought:
        return trajectory.answer if trajectory.has_thought else response
    return f"{THINK_OPEN}{trajectory.thought}{THINK_CLOSE}{trajectory.answer}"


def _between(response: str, tags: list[Tag], begin: int = 0, end: int | None = None) -> str:
    """A piece of the response without the tags that structure it."""
    end = len(response) if end is None else end
    inside = [tag for tag in tags if begin <= tag.start < end]
    starts, ends = [begin, *(tag.end for tag in inside)], [*(tag.start for tag in inside), end]
    return "".join(response[start:stop] for start, stop in zip(starts, ends, strict=True)).strip()
