"""One meaning of "correct", for curation, rewards and evaluation: find the final answer, compare it with the
gold one.

Comparison is cheap where strings or numbers decide it, and symbolic (mmada.math_equivalence) only where they
do not.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Final

from mmada.answer_spelling import WORDS, choice_letter, latex_spelling, normalise_answer, split_unit
from mmada.constants import constant_value
from mmada.final_answer import MAX_ANSWER_CHARS, extract_answer
from mmada.math_equivalence import Verdict, compare_symbolically

__all__ = ["VERIFY_SECONDS", "answers_match", "compare_answers", "extract_answer", "normalise_answer"]

VERIFY_SECONDS: Final = 3.0
"""Wall clock that one symbolic comparison may take unless the caller says otherwise."""

_DECIMAL_COMMA: Final = re.compile(r"-?\d+;\d+")
_SCALES: Final = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_RATIONALS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Fraction | None]], ...]] = (
    (re.compile(r"\d+(?:\.\d*)?|\.\d+"), lambda decimal: Fraction(decimal[0])),
    (re.compile(r"(\d+)/(\d+)"), lambda ratio: _ratio(ratio[1], ratio[2])),
    (re.compile(r"\\frac\{(-?\d+)\}\{(\d+)\}"), lambda ratio: _ratio(ratio[1], ratio[2])),
    (re.compile(r"(\d+) (\d{1,2})/(\d+)"), lambda mixed: _mixed(*mixed.groups())),
    (re.compile(r"(\d+)\\frac\{(\d+)\}\{(\d+)\}"), lambda mixed: _mixed(*mixed.groups())),
    (re.compile(r"(\d*)\.(\d*)\\overline\{(\d+)\}"), lambda decimal: _repeating(*decimal.groups())),
    (
        re.compile(rf"(\d+(?:\.\d+)?) ({'|'.join(_SCALES)})s?"),
        lambda scaled: Fraction(scaled[1]) * _SCALES[scaled[2]],
    ),
)
"""Forms of a rational number without its sign; the most frequent first."""
_PROSE: Final = re.compile(r"(?<![\\a-z])[a-z]{2,} [a-z]{2,}")
_PRIMES: Final = re.compile(r"(?<=[A-Za-z])'+(?![A-Za-z'])")
"""Of derivatives: math-verify would leave them out as quotation marks."""
_TIME_OF_DAY: Final = re.compile(r"(\d{1,2})(?::(\d\d))?(?: ([ap])m)?")
_IN_BASE: Final = re.compile(r"(\d+)_\{?([2-9]|[12]\d|3[0-6])\}?")
_NAME: Final = re.compile(
    r"\\?[A-Za-z]+(?:_\{?\w{1,3}\}?)?'*(?:\^\{?-1\}?)?(?:\((?:[^()=]|\([^()=]*\))*\))?|[A-Za-z]{3,}(?: [A-Za-z]+)*"
)
"""What an equation may give a value to: `x_1`, `f(2)`, `P(A)`, "Area"."""
_SUM: Final = re.compile(r"[\w)}][-+]")

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
    quick = _compare_choices(predicted, reference, left, right) or _compare_cheaply(left, right)
    if quick is not None:
        return quick
    return compare_symbolically(_as_formula(predicted), _as_formula(reference), seconds=seconds)


def _as_formula(text: str) -> str:
    """The text as mathematics reads it; a sentence stays as it is, for the last number in it is looked for."""
    if _PROSE.search(text):
        return text
    return _PRIMES.sub(lambda primes: "^{" + r"\prime" * len(primes[0]) + "}", latex_spelling(text))


def _compare_choices(predicted: str, reference: str, left: str, right: str) -> Verdict | None:
    """A verdict on answers of which both begin with a letter of a list, or one is such a letter; None on others."""
    letters = choice_letter(predicted) or left, choice_letter(reference) or right
    if not all(len(letter) == 1 and letter.isalpha() for letter in letters):
        return None
    if letters[0].casefold() != letters[1].casefold():
        return "mismatch"
    return "match" if len(left) == 1 or len(right) == 1 else None


def _compare_cheaply(left: str, right: str) -> Verdict | None:
    """A verdict that strings or constants decide; None when mathematics has to."""
    if len(left) > 1 and len(right) > 1 and WORDS.fullmatch(left) and WORDS.fullmatch(right):
        return "mismatch"
    for compare in (_compare_values, _compare_times, _compare_bases, _compare_percentages):
        verdict = compare(left, right)
        if verdict is not None:
            return verdict
    for text, value in ((left, right), (right, left)):
        verdict = _compare_with_value(text, value)
        if verdict is not None:
            return verdict
    return None


def _compare_values(left: str, right: str) -> Verdict | None:
    """A verdict on two values; None where one is not known to be any."""
    a, b = _rational(left), _rational(right)
    if a is not None and b is not None:
        return "match" if a == b or (_is_decimal(left + right) and round(a, 6) == round(b, 6)) else "mismatch"
    for decimal, other in ((left, right), (right, left)):
        if _DECIMAL_COMMA.fullmatch(decimal) and decimal.replace(";", ".") == other:
            return "match"
    return _compare_constants(left, right)


def _compare_times(left: str, right: str) -> Verdict | None:
    """A verdict on times of day of which one says its half ("2:00 pm" is 14:00, and 2:00, but not 2:00 am)."""
    times = [match for side in (left, right) if (match := _TIME_OF_DAY.fullmatch(side))]
    halves = [time[3] for time in times if time[3]]
    if len(times) < 2 or not halves:
        return None
    hours = [
        int(time[1]) if int(time[1]) > 12 else int(time[1]) % 12 + 12 * ((time[3] or halves[0]) == "p")
        for time in times
    ]
    return "match" if (hours[0], times[0][2] or "00") == (hours[1], times[1][2] or "00") else "mismatch"


def _compare_bases(left: str, right: str) -> Verdict | None:
    """A verdict on numbers that both say their base."""
    numbers = [match for side in (left, right) if (match := _IN_BASE.fullmatch(side))]
    if len(numbers) < 2:
        return None
    try:
        values = [int(number[1], int(number[2])) for number in numbers]
    except ValueError:  # no digits of that base
        return "mismatch"
    return "match" if values[0] == values[1] else "mismatch"


def _compare_percentages(left: str, right: str) -> Verdict | None:
    """A verdict on percentages; the sign may be left out, so that 20% is 20 as well as 0.2."""
    a, b = (_rational(side.removesuffix("%")) for side in (left, right))
    signs = left.endswith("%"), right.endswith("%")
    if a is None or b is None or not any(signs):
        return None
    equal = {a} if all(signs) else {a, a / 100} if signs[0] else {a, a * 100}
    return "match" if b in equal else "mismatch"


def _compare_with_value(text: str, value: str) -> Verdict | None:
    """A verdict on a value and the same one with a unit ("15 km/h"), a word that changes it ("3 million"), its
    calculation ("2+2=4") or its name ("f(2)=4").
    """
    measured = split_unit(text)
    *calculated, result = (measured[0] if measured and measured[1] else text).split("=")
    if calculated and all(_compare_values(side, result) == "match" for side in calculated):
        return _compare_values(result, value)
    if len(calculated) == 1 and _NAME.fullmatch(calculated[0]) and _compare_values(result, value) == "match":
        return "match"
    if measured is None or (measured[0] != value and _compare_values(measured[0], value) != "match"):
        return None
    return "match" if measured[1] else "mismatch"


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
    pairs = list(zip(ours, theirs, strict=True))
    difference = max(abs(x - y) / max(abs(x), abs(y)) if x != y else 0.0 for x, y in pairs)
    if difference <= _EQUAL:
        return "match"
    # What a sum leaves near zero may be rounding.
    is_rounding = _SUM.search(left + right) and all(abs(x - y) <= _EQUAL for x, y in pairs)
    return "mismatch" if difference >= _DIFFERENT and not is_rounding else None


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
    bare = text[1:] if text[:1] in ("-", "+") else text
    for pattern, value_of in _RATIONALS:
        if match := pattern.fullmatch(bare):
            value = value_of(match)
            return -value if value is not None and text[0] == "-" else value
    return None


def _ratio(top: str, bottom: str) -> Fraction | None:
    return Fraction(int(top), int(bottom)) if int(bottom) else None


def _mixed(whole: str, top: str, bottom: str) -> Fraction | None:
    """7 1/2; None for 7 3/2, which may be a product."""
    part = _ratio(top, bottom)
    return int(whole) + part if part is not None and part < 1 else None


def _repeating(whole: str, once: str, again: str) -> Fraction:
    """0.1666... of "0", "1", "6"."""
    rest = int(whole + once or "0")
    return Fraction(int(whole + once + again) - rest, int("9" * len(again) + "0" * len(once)))
