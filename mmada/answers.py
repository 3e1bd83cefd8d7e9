"""One meaning of "correct", for curation, rewards and evaluation: find the final answer, compare it with the
gold one.

Comparison is cheap where strings or numbers decide it, and symbolic (mmada.math_equivalence) only where they
do not.
"""

import re
import unicodedata
from fractions import Fraction
from typing import Final

from mmada.math_equivalence import Verdict, compare_symbolically

VERIFY_SECONDS: Final = 3.0
"""Wall clock that one symbolic comparison may take unless the caller says otherwise."""
MAX_ANSWER_CHARS: Final = 2000
"""A longer "answer" is no final answer; it is compared as a string only."""

_MAX_BOXES: Final = 50
"""Boxes looked at from the end: a loop may hold thousands, and none of them is part of one answer."""

_THOUGHT_ENDS: Final = ("</think>", "<|end_of_thought|>", "</Thought>", "</thought>", "</reasoning>")
_ANSWER_TAG: Final = re.compile(
    r"(?:<answer>|<Output>|<output>|<\|begin_of_solution\|>)(.*?)"
    r"(?:</answer>|</Output>|</output>|<\|end_of_solution\|>|\Z)",
    re.DOTALL,
)
_BOX: Final = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)|\\boxed\s+(?=[^\s{])")
_BETWEEN_BOXES: Final = re.compile(
    r"(?:\s|\\quad|\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b|[,;$.:]|\\[()\[\],;]|\w+\s*=)*"
)
_HASHES: Final = re.compile(r"####[ \t]*([^\n]+)")
_SAYS: Final = re.compile(
    r"\b(?:final\s+)?(?:answer|result)\b(?:\s+(?:choice|option))?\s*(?:\*\*)?\s*(?:is|:|=)\s*:?\s*(?:\*\*)?\s*(?=(?P<said>[^\n]{1,400}))",
    re.IGNORECASE,
)
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s|$)|(?<=\S)\*\*")
_YES_NO: Final = re.compile(r"\W*(yes|no|true|false)\b(?=\W*(?:$|[,.;:!]))", re.IGNORECASE)
_LETTER: Final = re.compile(r"\W*(?:option|choice)?\s*\(?([A-J])(?:\)|[.:,](?=\s|$)|\s*$|(?=[\u3000-\u9fff]))")
_MATH: Final = re.compile(r"\$\$(.{1,400}?)\$\$|\$([^$]{1,400})\$|\\\[(.{1,400}?)\\\]|\\\((.{1,400}?)\\\)", re.DOTALL)
_NUMBER_IN_TEXT: Final = re.compile(r"(?<![A-Za-z0-9_.])-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?%?")

_NUMBER: Final = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)")
_SPACED_THOUSANDS: Final = re.compile(r"-?\d{1,3}(?: \d{3})+")
_RATIO: Final = re.compile(r"([-+]?\d+)/(\d+)|([-+]?)\\frac\{(-?\d+)\}\{(\d+)\}")
_WORDS: Final = re.compile(r"[a-z]+(?:[ '-][a-z]+)*")
_WITH_UNIT: Final = re.compile(r"(" + _NUMBER.pattern + r") ?([a-z]+(?: [a-z]+)*)")


def extract_answer(response: str) -> str | None:
    """The final answer that a response states, or None when it states none.

    Looked for after the thought, in this order: `<answer>` tags; whichever comes last of \\boxed{}, `####`
    and "the answer is"; a short bare answer; a leading yes/no or choice letter; the last formula or number. A
    thought that is never closed has stated nothing.
    """
    final = _after_thought(response)
    if final is None:
        return None
    tagged = _ANSWER_TAG.findall(final)
    if tagged:
        final = tagged[-1]
    for find in (_marked, _short, _leading_choice, _last_value):
        answer = find(final)
        if answer:
            return answer
    return None


def answers_match(predicted: str | None, reference: str, *, seconds: float = VERIFY_SECONDS) -> bool:
    """Whether two final answers denote one value. What cannot be shown within `seconds` does not match."""
    return compare_answers(predicted, reference, seconds=seconds) == "match"


def compare_answers(predicted: str | None, reference: str, *, seconds: float = VERIFY_SECONDS) -> Verdict:
    """`match`, `mismatch`, or `timeout` when `seconds` of wall clock did not suffice; None never matches.

    Spacing, LaTeX sizes, thousands separators, currency signs, trailing units and letter case of words do not
    count; decimals count to six places (math-verify's rounding).
    """
    if predicted is None or not predicted.strip() or not reference.strip():
        return "mismatch"
    left, right = normalise_answer(predicted), normalise_answer(reference)
    if left == right:
        return "match"
    quick = _compare_cheaply(left, right)
    if quick is not None:
        return quick
    if max(len(predicted), len(reference)) > MAX_ANSWER_CHARS:
        return "mismatch"
    return compare_symbolically(predicted, reference, seconds=seconds)


_REPLACED: Final = (
    (re.compile(r"\\(?:boxed|fbox|text|mathrm|textbf|mathbf|mbox)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\!"), ""),
    (
        re.compile(r"\\left|\\right|\\displaystyle|\\[,;: ]|\\qquad|\\quad|\\\$|\^\{?\\circ\}?|\\%|[$\u20ac\u00a3*]"),
        " ",
    ),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\frac(\d)(\d)(?!\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\[()\[\]]"), " "),
    (re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?:\D|$))"), ""),
    (re.compile(r"\s+"), " "),
    (re.compile(r" ?([^\w\s]) ?"), r"\1"),
)


def normalise_answer(answer: str) -> str:
    """One spelling per answer, without what does not change its value; equal results are equal answers."""
    percent = "%" in answer
    text = unicodedata.normalize("NFKC", answer).replace("\u2212", "-").replace("\\neq", "\\ne")
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    text = text.strip(" ;:,!?\"'`").rstrip(".")
    if re.match(r"\([a-jA-J]\)", text):
        text = text[1]  # a choice: its letter says all
    if _SPACED_THOUSANDS.fullmatch(text):
        text = text.replace(" ", "")
    if _NUMBER.fullmatch(text.rstrip("%")):
        return text.rstrip("%") + ("%" if percent else "")
    folded = text.casefold()
    return folded if _WORDS.fullmatch(folded) else text


def _compare_cheaply(left: str, right: str) -> Verdict | None:
    """A verdict that strings or rational numbers decide; None when mathematics has to."""
    a, b = _rational(left), _rational(right)
    if a is not None and b is not None:
        return "match" if a == b or (_is_decimal(left + right) and round(a, 6) == round(b, 6)) else "mismatch"
    if len(left) > 1 and len(right) > 1 and _WORDS.fullmatch(left) and _WORDS.fullmatch(right):
        return "mismatch"
    for value, text in ((a, right), (b, left)):
        with_unit = _WITH_UNIT.fullmatch(text)
        if value is not None and with_unit and Fraction(with_unit[1]) == value:
            return "match"
    return None


def _is_decimal(text: str) -> bool:
    return "." in text


def _rational(text: str) -> Fraction | None:
    if len(text) > 100:
        return None
    if _NUMBER.fullmatch(text):
        return Fraction(text)
    ratio = _RATIO.fullmatch(text)
    if ratio is None:
        return None
    numerator, denominator = (ratio[1], ratio[2]) if ratio[1] else (ratio[3] + ratio[4], ratio[5])
    if int(denominator) == 0 or numerator.startswith(("--", "+-")):
        return None
    return Fraction(int(numerator), int(denominator))


def _after_thought(response: str) -> str | None:
    end = max((response.rfind(tag) + len(tag) for tag in _THOUGHT_ENDS if tag in response), default=None)
    if end is not None:
        return response[end:]
    opened = any(tag in response for tag in ("<think>", "<|begin_of_thought|>", "<Thought>", "<reasoning>"))
    return None if opened else response


def _marked(text: str) -> str | None:
    """The last answer that the text marks as such."""
    found = [place for place in (_boxed(text), _after_hashes(text), _said(text)) if place]
    return max(found)[1] if found else None


def _boxed(text: str) -> tuple[int, str] | None:
    """End and content of the last box, with all boxes that only "and", "or" or a comma separates from it ("k
    = 45 and n = 2").
    """
    boxes = [
        box for box in (_box_at(text, match) for match in list(_BOX.finditer(text))[-_MAX_BOXES:]) if box[1].strip()
    ]
    if not boxes:
        return None
    chosen = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        between = text[box[2] : chosen[0][0]]
        if len(between) > 40 or not _BETWEEN_BOXES.fullmatch(between) or "\n\n" in between:
            break
        chosen.insert(0, box)
    return boxes[-1][2], ", ".join(dict.fromkeys(content.strip() for _, content, _ in chosen))


def _box_at(text: str, match: re.Match[str]) -> tuple[int, str, int]:
    """(start, content, end) of a box; empty content where its brace is not closed within MAX_ANSWER_CHARS."""
    start = match.end()
    if text[start] != "{":
        word = re.match(r"[^\s$\\]+", text[start:])
        content = word[0].rstrip(".,") if word else ""
        return match.start(), content, start + len(content)
    depth = 0
    for position in range(start, min(len(text), start + MAX_ANSWER_CHARS)):
        if text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return match.start(), text[start + 1 : position], position + 1
    return match.start(), "", len(text)


def _after_hashes(text: str) -> tuple[int, str] | None:
    found = list(_HASHES.finditer(text))
    return (found[-1].end(), found[-1][1].strip()) if found else None


def _said(text: str) -> tuple[int, str] | None:
    found = list(_SAYS.finditer(text))
    if not found:
        return None
    said = found[-1]["said"].strip()
    formula = _MATH.match(said)
    if formula:
        return found[-1].end(), _formula(formula)
    end = _SENTENCE_END.search(said)
    said = (said[: end.start()] if end else said).strip(" *.:")
    answer = _leading_choice(said) or said
    return (found[-1].end(), answer) if answer and "\\boxed" not in answer else None


def _short(text: str) -> str | None:
    """A response of a few words is its answer: "blue", "(B)", "3 apples"."""
    bare = text.strip().strip("*").strip().rstrip(".")
    if not bare or "\n" in bare or len(bare) > 60 or len(bare.split()) > 3:
        return None
    return _leading_choice(bare) or bare


def _leading_choice(text: str) -> str | None:
    for pattern in (_YES_NO, _LETTER):
        match = pattern.match(text)
        if match:
            return match[1]
    return None


def _last_value(text: str) -> str | None:
    """The formula or number that ends last."""
    found = [(match.end(), _formula(match)) for match in _MATH.finditer(text)]
    found += [(match.end(), match[0].strip()) for match in _NUMBER_IN_TEXT.finditer(text)]
    return max(found)[1] if found else None


def _formula(match: re.Match[str]) -> str:
    content = next(group for group in match.groups() if group is not None)
    return f"${content.strip()}$"
