"""Final values that an answer states and that contradict each other."""

import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Final

from mmada.answers import answers_match, normalise_answer
from mmada.constants import constant_value
from mmada.cot_dialects import CODE, find_tags
from mmada.final_answer import boxed_answers, marked_answer

_PART: Final = re.compile(
    r"^[ \t>*_#]*(?:\(?(?:[a-z]|[ivx]{1,4}|\d{1,2})[.)]|(?:part|question|problem|case|example|exercise|option)\b)",
    re.IGNORECASE | re.MULTILINE,
)
"""Beginning of a part of an answer: its values are those of other questions."""
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+(?=\S)|\n+")
_END_MARK: Final = re.compile(r"(?<=[.!?])\s+(?=\S)")
_STATEMENT: Final = re.compile(
    r"[\s*_#]*(?:(?:so|thus|therefore|hence|then|and|but|no|wait|actually|sorry|we conclude that)\b[,;:]?\s*){0,3}"
    r"(?:(?:the|my|our)\s+)?(?:(?:final|correct|right|best)\s+)?answer\b(?:\s+choice|\s+option)?[\s*_]{0,4}(?:is|:|=)"
    r"|####[^#]|[\s$*]*\\f?box",
    re.IGNORECASE,
)
"""What states the final value as such, and not somebody else's, a supposed one, or one of several."""
_RETRACTION: Final = re.compile(r"\W*(?:no|wait|actually|sorry|hmm|correction)\b.{0,40}", re.IGNORECASE)
_MENTION: Final = re.compile(r"[Aa]nswer|ANSWER|####|\\f?box")
_SUPPOSED: Final = re.compile(r"\b(?:if|whether|suppose|unless|when|would|could|might)\b", re.IGNORECASE)
_DOUBT: Final = re.compile(r"\b(?:wait|actually|hmm|however|but|instead|mistake|wrong|sorry|no[,.!])", re.IGNORECASE)
_CONCLUSION_CHARS: Final = 400
"""End of a thought in which it says what it has found."""
_VALUE_WORDS: Final = 4
"""A statement of more words derives its value ("the answer is 15 gallons * 8 pints / gallon"), or says more of it."""
_MOST_STATED: Final = 50
"""Values looked at from the end: a loop states thousands."""
_DECIMAL: Final = re.compile(r"[-+]?\d*\.?(\d*)")
_COUNTED: Final = re.compile(r"([-+]?\d+(?:\.\d+)?) ?([a-z]+)")


def contradiction(response: str, answer: str, *, seconds: float) -> tuple[str, str] | None:
    """Two final values of the answer part of a response that are surely unequal; None without any.

    Several boxes of one sentence are a list, and so one value. `seconds`: wall clock of one comparison.
    """
    for pair in combinations(_tagged(response), 2):
        if _are_surely_unequal(*pair):
            return pair
    if not _MENTION.search(answer):
        return None
    prose = CODE.sub("", answer)
    starts = [0, *(part.start() for part in _PART.finditer(prose)), len(prose)]
    for begin, end in pairwise(starts):
        boxed = _boxed(prose[begin:end])
        for value in boxed[:-1]:
            if not answers_match(value, boxed[-1], seconds=seconds):
                return value, boxed[-1]
        for value, other in _said_again(prose[begin:end]):
            if _are_surely_unequal(value, other):
                return value, other
    return None


def against_thought(thought: str, answer: str) -> tuple[str, str] | None:
    """The final value in which a thought ends and that of the answer, where they are surely unequal; None otherwise.

    answer: as final_answer.extract_answer finds it.
    """
    for sentence in reversed(_SENTENCE.split(thought[-_CONCLUSION_CHARS:])):
        if _DOUBT.search(sentence):
            return None
        concluded = marked_answer(sentence)
        if concluded is not None:
            is_unequal = not _SUPPOSED.search(sentence) and _are_surely_unequal(concluded, answer)
            return (concluded, answer) if is_unequal else None
    return None


def _tagged(response: str) -> list[str]:
    """Different values in the tags of the answer."""
    tags = [tag for tag in find_tags(response) if tag.part == "answer"]
    held = [response[tag.end : end.start].strip() for tag, end in pairwise(tags) if tag.opens and not end.opens]
    return list(dict.fromkeys(marked_answer(text) or text for text in held))[-_MOST_STATED:]


def _boxed(text: str) -> list[str]:
    """The different values in boxes, those of one sentence, or with nothing but formulas between them, as one list."""
    lists = [boxed_answers(text)] if "\\" in text else []
    if lists and len(lists[0]) > 1:
        lists = [boxed_answers(sentence) for sentence in _END_MARK.split(text) if "\\" in sentence]
    return list(dict.fromkeys(", ".join(dict.fromkeys(values)) for values in lists if values))[-_MOST_STATED:]


def _said_again(text: str) -> Iterator[tuple[str, str]]:
    """Values of statements of which one directly follows the other: what stands between may ask for another one."""
    before: str | None = None
    for sentence in filter(None, map(str.strip, _SENTENCE.split(text))):
        statement = _STATEMENT.match(sentence)
        if statement is None and _RETRACTION.fullmatch(sentence):
            continue
        value = None
        if statement and not _SUPPOSED.search(sentence) and len(sentence[statement.end() :].split()) <= _VALUE_WORDS:
            value = marked_answer(sentence)
        if before is not None and value is not None:
            yield before, value
        before = value


def _are_surely_unequal(one: str, other: str) -> bool:
    """Whether two choices, two counts of one thing or two constants differ by more than rounding."""
    left, right = normalise_answer(one), normalise_answer(other)
    if left == right:
        return False
    if len(left) == len(right) == 1 and left.isalpha() and right.isalpha():
        return left.casefold() != right.casefold()
    counts = [_COUNTED.fullmatch(side) for side in (left, right)]
    if counts[0] and counts[1] and counts[0][2].rstrip("s") == counts[1][2].rstrip("s"):
        left, right = counts[0][1], counts[1][1]
    value, other_value = constant_value(left), constant_value(right)
    if value is None or other_value is None:
        return False
    decimals = [len(number[1]) for number in map(_DECIMAL.fullmatch, (left, right)) if number]
    rounding = 10.0 ** -min(decimals) if decimals else 1e-6 * max(abs(value), abs(other_value))
    return abs(value - other_value) > 0.999 * rounding  # 5 and 6, 0.5 and 0.6 are a whole unit apart
