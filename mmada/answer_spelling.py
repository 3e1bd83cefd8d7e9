"""One spelling per answer: Unicode becomes LaTeX, layout goes, and a choice is its letter."""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

_Replacements = tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]

_NUMBER_WORDS: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS: Final = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
COMPOUNDS: Final = {
    f"{tens}{space}{_NUMBER_WORDS[unit]}": str(10 * value + unit)
    for value, tens in enumerate(_TENS, start=2)
    for space in "- "
    for unit in range(1, 10)
}
NUMBERS: Final = {
    **{word: str(value) for value, word in enumerate(_NUMBER_WORDS)},
    **{word: str(10 * value) for value, word in enumerate(_TENS, start=2)},
}
"""Numbers of one word, in digits; COMPOUNDS are those of two."""
_SAID_NUMBERS: Final = NUMBERS | COMPOUNDS
_SAID_NUMBER: Final = re.compile("(?:" + "|".join(sorted(_SAID_NUMBERS, key=len, reverse=True)) + r")(?=\s|\Z)")
_ARTICLE: Final = re.compile(r"\A(?:an?|the) (?=[a-z]{2})")
_NUMBER: Final = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)")
WORDS: Final = re.compile(r"[a-z]+(?:[ '-][a-z]+)*")
_CHANGES_NUMBER: Final = re.compile(
    r"\b(?:ten|hundred|thousand|(?:m|b|tr)illion|dozen|half|halves|quarter|third|fourth|fifth|sixth|seventh|eighth|ninth"
    r"|tenth|hundredth|thousandth|times [a-z]+|than|base|squared|cubed|factorial|pi|plus|minus|over|and|or|to"
    r"|sqrt|sin|cos|tan|log|ln|exp)s?\b|[\u5341\u767e\u5343\u4e07\u4ebf\u534a]",
    re.IGNORECASE,
)
"""Words behind a number that make another number of it: "3 million", "2 and a half", "10 less than x"."""

_MAX_PASSES: Final = 5
_MAX_UNIT_CHARS: Final = 100
_UNIT: Final = re.compile(
    r"[cdkmn]?m|[km]?g|m?[sLl]|lbs?|oz|sq|ft|in|yd|mi|[km]ph|secs?|mins?|hr?s?|[ap]m|[AP]M|[CFJNV]|k?Wh?|Hz|st|nd|rd|th"
    r"|units?|inch(?:es)?|f(?:oo|ee)t|yards?|miles?|(?:centi|kilo|milli)?met(?:er|re)s?|seconds?|minutes?|hours?|days?"
    r"|years?|degrees?|dollars?|cents?|percent"
)
"""Units that need no blank before them and may have a power; any other letters there are factors."""
_WITH_UNIT: Final = re.compile(
    r"(?P<value>.*[\d)}])(?P<blank> ?)(?:of )?(?:an? |the )?"
    r"(?P<unit>[A-Za-z]+(?:\^\{?-?\d\}?)?(?:[ ./-][A-Za-z]+(?:\^\{?-?\d\}?)?)*|[\u4e00-\u9fff]{1,3})"
)
_WORD_OF_UNIT: Final = re.compile(r"([A-Za-z]+)(\^?)")

SIGN_NAMES: Final = {
    **{"\u2264": "le", "\u2265": "ge", "\u2260": "ne", "\u00b1": "pm", "\u221e": "infty"},
    **{"\u2208": "in", "\u222a": "cup", "\u2229": "cap", "\u2205": "emptyset"},
}
"""Signs of formulas by their names in LaTeX."""
_SYMBOLS: Final = str.maketrans(
    {
        **{sign: f"\\{name} " for sign, name in SIGN_NAMES.items()},
        "\u00b0": r"^\circ ",
        "\u00b7": r"\cdot ",
        "\u00d7": r"\times ",
        "\u00f7": r"\div ",
        "\u03c0": r"\pi ",
        "\u2010": "-",
        "\u2011": "-",
        "\u2044": "/",
        "\u207b": "-",
        "\u208b": "-",
        "\u2212": "-",
    }
)
_UNICODE: Final[_Replacements] = (
    (re.compile("[\u00bc-\u00be\u2150-\u215e]"), lambda sign: _fraction(sign[0])),
    (re.compile("[\u2070\u00b2\u00b3\u00b9\u2074-\u207f]+"), lambda power: f"^{{{_plain(power[0])}}}"),
    (re.compile("[\u2080-\u208e]+"), lambda index: f"_{{{_plain(index[0])}}}"),
    (re.compile(r"\u221a\s*(?:\(([^()]*)\)|(\d+(?:\.\d+)?|\w))"), r"\\sqrt{\1\2}"),
    (re.compile(r"(?<!\d)\u2013|\u2013(?!\d)"), "-"),  # between two digits it says "to"
)

_PLAIN_TEXT: Final[_Replacements] = (
    (re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([-+]?\d{1,3})(?!\w)"), r"\1\\times10^{\2}"),
    (re.compile(r"(?<=\d) ?[xX] ?(?=10\^)"), r"\\times "),
    (re.compile(r"(?:(?<=[\d(){}*/+=,-])|(?<=[\d,] )|\A)pi(?![A-Za-z]| [A-Za-z]{2})"), r"\\pi "),
    (re.compile(r"(?<![A-Za-z\\])sqrt ?\(([^()]+)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![A-Za-z\\])(?:sin|cos|tan|log|ln|exp)(?=\()"), r"\\\g<0>"),
)
"""Formulas as keyboards write them."""

_FONT: Final = "text(?:bf|it|rm|sf|tt|normal)?|math(?:bf|it|rm|sf|tt)|mbox|emph|operatorname"
_WRAPPED: Final[_Replacements] = (
    (re.compile(r"(?<=[\d}])\s*\\(?:" + _FONT + r")\s*\{\s*(?=[A-Za-z])([^{}]*)\}"), r" \1"),  # a unit
    (re.compile(r"\\(?:boxed|fbox|" + _FONT + r")\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\A[\s$]*(?i:option|choice)\s+(?=\(?[A-Ja-j]\)?\W*\Z|\([A-Ja-j]\)\s|[A-J][.:)]\s)"), ""),
    (re.compile(r"(?<![\w)}*])(\*{1,3}|')(?=\S)([^*']+)\1(?![\w(*'])"), r"\2"),
)
_CHOICE: Final = re.compile(
    r"[\s$]*(?:\((?P<round>[A-Ja-j])\)|(?P<upper>[A-J])[.:)]|(?P<lower>[a-j])\))"
    r"(?:(?<=[A-J]\))|(?=\s|\\ |\Z))"
    r"(?!\s*(?:[+*/^=<>(_!',;]|-\s|(?:and|or)\s+\(?[A-Ja-j]\b|\\(?:cup|cap|times|cdot|div|pm)\b)|-)"
)
"""A letter of a list and what it stands for; `(a)(b)`, `(a)^2` and `(A) - 5` are formulas."""
_LETTER_OF_LIST: Final = re.compile(r"\b[A-J][.:)](?=\s|\Z)")
_REPLACED: Final[_Replacements] = (
    (re.compile(r"(?<=\d),\\!\s*(?=\d{3})|\\!"), ""),
    (re.compile(r"(?<=[\d}%])\s\((?!(?:log|sin|cos|tan|exp|mod)\b)[A-Za-z]{3,}[A-Za-z ,.'-]*\)\s*\Z"), ""),  # a remark
    (
        re.compile(
            r"\\left|\\right|\\[bB]igg?[lrm]?(?![A-Za-z])|\\displaystyle|\\[,;: ]|\\qquad|\\quad|\\\$|\^\{?\\circ\}?"
            r"|\\color\{\w+\}|\\%|[~$\u20ac\u00a3\u00a5\u20b9]|\A\s*\*+|\*\*\s*\Z"
        ),
        " ",
    ),
    (re.compile(r"\\neq"), r"\\ne"),
    (re.compile(r"\\varnothing"), r"\\emptyset"),
    (re.compile(r"\\bar(?![a-z])"), r"\\overline"),
    (re.compile(r"(?<=\d) ?([AaPp])\.?[Mm]\b\.?"), lambda half: f" {half[1].lower()}m"),  # of the day
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
    (re.compile(r"(?<=[^\W\d_]{2})[!']+\Z"), ""),  # behind a word: 5! and f' are formulas
)
_SPACED_THOUSANDS: Final = re.compile(r"-?\d{1,3}(?: \d{3})+")


def latex_spelling(text: str) -> str:
    """The text with the signs of Unicode (powers, roots, fractions, infinity, a long minus) and the names of plain text
    ("3e5", "2pi") as LaTeX writes them.
    """
    if not text.isascii():
        text = _plain(_replaced(text, _UNICODE))
    return _replaced(text, _PLAIN_TEXT)


def _replaced(text: str, replacements: _Replacements) -> str:
    for pattern, replacement in replacements:
        text = pattern.sub(replacement, text)
    return text


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text.translate(_SYMBOLS))


def _fraction(sign: str) -> str:
    numerator, _, denominator = unicodedata.normalize("NFKC", sign).partition("\u2044")
    return f"\\frac{{{numerator}}}{{{denominator}}}"


def normalise_answer(answer: str) -> str:
    """One spelling per answer, without what does not change its value; equal results are equal answers."""
    for _ in range(_MAX_PASSES):  # what one pass takes away may uncover more
        before, answer = answer, _normalised_once(answer)
        if answer == before:
            break
    return answer


def choice_letter(answer: str) -> str:
    """The letter of a list that an answer begins with ("(B) 5", "B. Paris"), "" where it is none.

    "E. coli" has one too: equal letters alone make no two such answers equal.
    """
    text = _replaced(latex_spelling(answer), _WRAPPED)
    choice = _CHOICE.match(text)
    return "" if choice is None or len(_LETTER_OF_LIST.findall(text)) > 1 else _letter(choice)


def _letter(choice: re.Match[str]) -> str:
    return (choice["round"] or choice["upper"] or choice["lower"]).casefold()


def _normalised_once(answer: str) -> str:
    if answer.isdecimal() and answer.isascii():  # most answers are a number
        return answer
    percent = "%" in answer
    text = _replaced(latex_spelling(answer), _WRAPPED)
    choice = _CHOICE.match(text)
    if choice and (choice["round"] or not text[choice.end() :].strip(" $.")):
        return _letter(choice)  # it says all
    text = _replaced(text, _REPLACED).strip(' ;:,?"`').rstrip(".")
    if _SPACED_THOUSANDS.fullmatch(text):
        text = text.replace(" ", "")
    if _NUMBER.fullmatch(text.rstrip("%")):
        return text.rstrip("%") + ("%" if percent else "")
    folded = text.casefold()
    if not WORDS.fullmatch(folded):
        return text
    said = _SAID_NUMBER.match(folded)
    return _SAID_NUMBERS[said[0]] + folded[said.end() :] if said else _ARTICLE.sub("", folded)


def split_unit(text: str) -> tuple[str, bool] | None:
    """Of a normalised value with letters behind it: the value, and whether they are a unit, which does not count.

    They are none where they change the number ("3 million") or may be factors ("5x", "2ab^2").
    """
    match = _WITH_UNIT.fullmatch(text) if len(text) <= _MAX_UNIT_CHARS else None
    if match is None:
        return None
    is_apart = bool(match["blank"]) or match["value"][-1] in ")}"
    words = _WORD_OF_UNIT.findall(match["unit"])
    is_unit = all(
        _UNIT.fullmatch(word) or (not power and len(word) > (1 if number else 2) and (number > 0 or is_apart))
        for number, (word, power) in enumerate(words)
    )
    return match["value"], is_unit and not _CHANGES_NUMBER.search(match["unit"])
