"""One meaning of "correct", for curation, rewards and evaluation: find the final answer, compare it with the
gold one.

Comparison is cheap where strings or numbers decide it, and symbolic (mmada.math_equivalence) only where they
do not.
"""

import re
import unicodedata
from fractions import Fraction
from typing import Final

from mmada.constants import constant_value
from mmada.final_answer import MAX_ANSWER_CHARS, extract_answer
from mmada.math_equivalence import Verdict, compare_symbolically

__all__ = ["VERIFY_SECONDS", "answers_match", "compare_answers", "extract_answer", "normalise_answer"]

VERIFY_SECONDS: Final = 3.0
"""Wall clock that one symbolic comparison may take unless the caller says otherwise."""

_NUMBER: Final = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)")
_SPACED_THOUSANDS: Final = re.compile(r"-?\d{1,3}(?: \d{3})+")
_DECIMAL_COMMA: Final = re.compile(r"-?\d+;\d+")
_RATIO: Final = re.compile(r"([-+]?\d+)/(\d+)|([-+]?)\\frac\{(-?\d+)\}\{(\d+)\}")
_WORDS: Final = re.compile(r"[a-z]+(?:[ '-][a-z]+)*")
_WITH_UNIT: Final = re.compile(r"(" + _NUMBER.pattern + r") ?([a-z]+(?: [a-z]+)*)")

_MAX_PASSES: Final = 5
_EQUAL: Final = 1e-12
_DIFFERENT: Final = 1e-5
"""Relative differences of two constants: up to the first they are equal, from the second they are not."""


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
    if max(len(predicted), len(reference)) > MAX_ANSWER_CHARS:  # no final answer: equal or not
        return "match" if predicted.split() == reference.split() else "mismatch"
    left, right = normalise_answer(predicted), normalise_answer(reference)
    if left == right:
        return "match"
    quick = _compare_cheaply(left, right)
    if quick is not None:
        return quick
    return compare_symbolically(predicted, reference, seconds=seconds)


_REPLACED: Final = (
    (re.compile(r"\\(?:boxed|fbox|text|mathrm|textbf|mathbf|mbox)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"(?<=\d),\\!\s*(?=\d{3})|\\!"), ""),
    (
        re.compile(r"\\left|\\right|\\displaystyle|\\[,;: ]|\\qquad|\\quad|\\\$|\^\{?\\circ\}?|\\%|[$\u20ac\u00a3*]"),
        " ",
    ),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)(?!\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*(?=\{)"), r"\\frac{\1}"),
    (re.compile(r"\\[()\[\]]"), " "),
    # Thousands; a pair such as (99,503) stays a pair.
    (re.compile(r"(?<![\d.,;(\[{])(?!0)\d{1,3}(?:,\d{3})+(?!\d)"), lambda number: number[0].replace(",", "")),
    (re.compile(r"(?<=\d)\{\s*,\s*\}(?=\d{3}(?:\D|$))"), ""),
    (re.compile(r","), ";"),
    (re.compile(r"\s+"), " "),
    (re.compile(r" ?([^\w\s]) ?"), r"\1"),
)


def normalise_answer(answer: str) -> str:
    """One spelling per answer, without what does not change its value; equal results are equal answers."""
    for _ in range(_MAX_PASSES):  # what one pass takes away may uncover more
        before, answer = answer, _normalised_once(answer)
        if answer == before:
            break
    return answer


def _normalised_once(answer: str) -> str:
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
    if len(left) == len(right) == 1 and left.isalpha() and right.isalpha():
        return "mismatch"  # two choices, or two variables
    if len(left) > 1 and len(right) > 1 and _WORDS.fullmatch(left) and _WORDS.fullmatch(right):
        return "mismatch"
    for decimal, other in ((left, right), (right, left)):
        if _DECIMAL_COMMA.fullmatch(decimal) and decimal.replace(";", ".") == other:
            return "match"
    for value, text in ((a, right), (b, left)):
        with_unit = _WITH_UNIT.fullmatch(text)
        if value is not None and with_unit and Fraction(with_unit[1]) == value:
            return "match"
    return _compare_constants(left, right)


def _compare_constants(left: str, right: str) -> Verdict | None:
    """A verdict on constants, and on tuples, intervals and sets of them; None where one is anything else.

    Values that differ by no more than rounding is left to mathematics.
    """
    (begin, a, end), (other_begin, b, other_end) = _elements(left), _elements(right)
    if (begin, end) != (other_begin, other_end):
        return None
    values = [[constant_value(element) for element in elements] for elements in (a, b)]
    if any(value is None for side in values for value in side):
        return None
    ours, theirs = ([value for value in side if value is not None] for side in values)
    if not begin or begin == "{":  # order and repetition do not count
        ours, theirs = sorted(set(ours)), sorted(set(theirs))
    if len(ours) != len(theirs):
        return "mismatch"
    differences = [abs(x - y) / max(1.0, abs(x), abs(y)) for x, y in zip(ours, theirs, strict=True)]
    if max(differences) <= _EQUAL:
        return "match"
    return "mismatch" if max(differences) >= _DIFFERENT else None


def _elements(text: str) -> tuple[str, list[str], str]:
    """Opening bracket, elements at the top level, closing bracket; no brackets where they enclose one element."""
    bare = text.replace("\\{", "{").replace("\\}", "}")
    begin, inside, end = ("", bare, "")
    if len(bare) > 2 and bare[0] in "([{" and bare[-1] in ")]}":
        begin, inside, end = bare[0], bare[1:-1], bare[-1]
    elements, depth = [""], 0
    for letter in inside:
        depth += (letter in "([{") - (letter in ")]}")
        if depth < 0:
            return "", [bare], ""
        if letter == ";" and depth == 0:
            elements.append("")
        else:
            elements[-1] += letter
    return (begin, elements, end) if len(elements) > 1 else ("", [bare], "")


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
