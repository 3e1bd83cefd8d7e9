"""Find the final answer that a response states."""

import re
from typing import Final

from mmada.cot_dialects import answer_section

MAX_ANSWER_CHARS: Final = 2000
"""A longer "answer" is no final answer."""

_MAX_BOXES: Final = 50
"""Boxes looked at from the end: a loop may hold thousands, and none of them is part of one answer."""

_BOX: Final = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)|\\boxed\s+(?=[^\s{a-z]|[a-z]\b)")
_BETWEEN_BOXES: Final = re.compile(
    r"(?:\s|\\quad|\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b|[,;$.:]|\\[()\[\],;]|\w+\s*=)*"
)
_HASHES: Final = re.compile(r"####[ \t]*([^\n]+)")
_SECTIONS: Final = (
    "step|part|solution|conclusion|explanation|note|method|approach|summary|analysis|given|proof|verification|check|case"
    "|example|calculation|reasoning"
)
_HEADING: Final = re.compile(
    r"[*_ ]*(?:(?:the )?(?:final )?(?:answer|result)\b"
    rf"|(?:\d+[.)] [A-Za-z]{{2,}}|(?:the |final |short |key |problem ){{0,2}}(?:{_SECTIONS})s?\b)(?=.*\n\s*\S))",
    re.IGNORECASE,
)
"""Markdown's: the name of a section with text below it, or what only announces an answer."""
_LISTED: Final = re.compile(r"\s{0,9}(?:,|\b(?:and|or)\b)?\s{0,9}(?:\b(?:and|or)\b)?\s{0,9}")
# Runs of blanks are bounded: a pattern with two unbounded ones takes quadratic time.
_SAYS: Final = re.compile(
    r"(?:\b(?:answer|result|correct\s{1,9}(?:option|choice))\b(?:\s{1,9}(?:choice|option))?"
    r"[\s*]{0,9}(?:is(?![a-z])|[:=])|\banswers\s{1,9}are(?=\s{1,9}[-\d$\\])"
    r"|\u7b54\u6848[\s*]{0,9}[\u662f\u4e3a\uff1a:\uff08]{1,2})"  # "answer" and "is" in Chinese
    r"[\s:*]{0,20}"
    r"(?:(?:exactly|about|approximately|around|roughly|therefore|thus|then|simply|just|equal to|given by"
    r"|indeed|clearly|obviously|certainly|definitely)\b,?\s{1,9})*"
    r"(?=(?P<said>\$\$.{1,400}?\$\$|\\\[.{1,400}?\\\]|[^\s:*][^\n]{0,399}))",
    re.IGNORECASE | re.DOTALL,
)
_ANNOUNCES: Final = re.compile(r"(?:the\s)?(?:final\s)?(?:answer|result)(?:\sis)?\W*", re.IGNORECASE)
_SENTENCE_END: Final = re.compile(
    r"(?:(?<!\bDr)(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bSt)(?<!\bMt)\.|\?|!(?!\s{0,9}[-+*/=]))(?=\s|$)|\u3002|(?<=\S)\*\*"
    r"|,?\s(?=(?:because|since|which)\b)|(?<=\d),?\s\(?(?=(?:and )?not\b)"
)
_FORMULA_CHARS: Final = 400
_MATHEMATICS: Final = re.compile(r"[-+*/^=<>|(){}\[\]\\]")
_SPEECH: Final = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}[,;:]? [A-Za-z]{2,}|(?<!\\)[.!?;:]\s|\d\s?=.*,")
"""What no bare formula has: two words, an end of a sentence, several calculations."""
_YES_NO: Final = re.compile(r"\W*(yes|no|true|false)\b(?=\W*(?:$|[,.;:!])|\s(?:it|they|he|she|there)\b)", re.IGNORECASE)
_QUANTITIES: Final = re.compile(r"\d[\d,.]* [a-z]+(?:,? (?:and )?\d[\d,.]* [a-z]+){1,3}")
_AROUND: Final = re.compile(
    r"\A(?:[^\W\d_]{3,}:|(?:it|this|that)(?:['\u2019]s| is| was)|I (?:choose|pick|think|say)) "
    r"|(?<=\A[A-J]) is (?:correct|right)\Z",
    re.IGNORECASE,
)
"""Words of a short sentence that are no part of the answer."""
_LETTER: Final = re.compile(
    r"\W*(?:(?:option|choice|\u9009\u9879?)\W*)?([A-J])(?:[)\uff09]|[.:,](?=\s|$)|\s*$|(?=[\u3000-\u9fff]))"
)
_MATH: Final = re.compile(
    r"\$\$(.{1,400}?)\$\$|(?<!\\)\$((?:[^$\\]|\\.){1,400})\$(?!\d)|\\\[(.{1,400}?)\\\]|\\\((.{1,400}?)\\\)", re.DOTALL
)
"""Formulas; a dollar before a digit begins a sum of money and ends none."""
_UNSPACED_SENTENCE: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]{4}.*\d")
_ANSWER_WORDS: Final = 4
"""A statement of more words is a sentence about the answer."""
_NUMBER_IN_TEXT: Final = re.compile(
    r"(?<![A-Za-z0-9_.])-?(?:\d+ \d{1,2}/\d{1,2}(?!\d)|\d+(?:(?: : |:)\d{1,2}(?!\d))+"
    r"|(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s{0,9}/\s{0,9}\d+)?|\.\d+)%?"
)
"""Also a mixed number, a ratio, a time of day."""
_NUMBER_BEFORE_WORD: Final = re.compile(
    r"((?:" + _NUMBER_IN_TEXT.pattern + r")(?: (?:hundred|thousand|million|billion|dozen))?)(?= [a-z]{2,})"
)
_TRUTH_AT_END: Final = re.compile(r"\b(true|false)\W*\Z", re.IGNORECASE)
_CHOICE_IN_TEXT: Final = re.compile(r"(?<![\w'])(?:[B-H](?![\w'])|A(?=\W*\Z))")


_Box = tuple[int, str, int]  # start, content, end


def extract_answer(response: str) -> str | None:
    """The final answer that a response states, or None when it states none.

    Looked for after the thought, in this order: `<answer>` tags; whichever comes last of \\boxed{}, `####`
    and "the answer is"; a short bare answer; a leading yes/no or choice letter; the last formula or number; the last
    choice letter, or true or false at the end. A thought that is never closed has stated nothing, nor has an
    announcement with nothing behind it.
    """
    final = answer_section(response)
    if final is None:
        return None
    for find in (marked_answer, _short, _leading_choice, _last_value, _last_choice):
        answer = find(final)
        if answer:
            return answer
    return None


def marked_answer(text: str) -> str | None:
    """The last answer that a text marks as such by a box, `####` or "the answer is"."""
    found = [place for place in (_boxed(text), _after_hashes(text), _said(text)) if place]
    return max(found)[1] if found else None


def boxed_answers(text: str) -> list[str]:
    """What boxes state, in order; boxes that only "and", "or" or a comma separates are one answer ("k = 45 and n
    = 2").
    """
    return [", ".join(dict.fromkeys(content.strip() for _, content, _ in group)) for group in _box_groups(text)]


def _boxed(text: str) -> tuple[int, str] | None:
    """End and content of the last answer in boxes."""
    groups = _box_groups(text)
    return (groups[-1][-1][2], boxed_answers(text)[-1]) if groups else None


def _box_groups(text: str) -> list[list[_Box]]:
    boxes = [
        box for box in (_box_at(text, match) for match in list(_BOX.finditer(text))[-_MAX_BOXES:]) if box[1].strip()
    ]
    groups: list[list[_Box]] = []
    for box in boxes:
        between = text[groups[-1][-1][2] : box[0]] if groups else ""
        if groups and _are_joined(between):
            groups[-1].append(box)
        else:
            groups.append([box])
    return groups


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
    found = [match for match in _HASHES.finditer(text) if not _HEADING.match(text, match.start(1))]
    return (found[-1].end(), found[-1][1].strip()) if found else None


def _said(text: str) -> tuple[int, str] | None:
    found = list(_SAYS.finditer(text))
    if not found:
        return None
    said = found[-1]["said"].strip()
    if _MATH.match(said):
        return found[-1].end(), _first_formulas(said)
    end = _SENTENCE_END.search(said)
    said = (said[: end.start()] if end else said).rstrip(" *.:")
    is_short = (len(said.split()) <= _ANSWER_WORDS or _QUANTITIES.fullmatch(said)) and not _UNSPACED_SENTENCE.search(
        said
    )
    answer = _leading_choice(said) or (said if is_short else _value_in_sentence(said))
    return (found[-1].end(), answer) if answer and "\\boxed" not in answer else None


def _value_in_sentence(said: str) -> str:
    """The value that a sentence begins with ("12 because ..."), or else the one that it ends with, or else the first
    choice in it ("surely D, it cannot be A").
    """
    if leading := _NUMBER_BEFORE_WORD.match(said):
        return leading[1]
    choice = _CHOICE_IN_TEXT.search(said)
    return _last_value(said) or (choice[0] if choice else said)


def _short(text: str) -> str | None:
    """A response of a few words, or of a formula, is its answer: "blue", "(B)", "3 apples", "x^2 + 3x - 5"."""
    bare = text.strip().strip("*").strip().rstrip(".")
    if not bare or "\n" in bare or _UNSPACED_SENTENCE.search(bare):
        return None
    if len(bare) > 60 or len(bare.split()) > 3:
        is_formula = len(bare) <= _FORMULA_CHARS and _MATHEMATICS.search(bare) and not _SPEECH.search(bare)
        return bare if is_formula else None
    if _ANNOUNCES.fullmatch(bare):
        return None
    bare = _AROUND.sub("", bare)
    return _leading_choice(bare) or bare


def _leading_choice(text: str) -> str | None:
    for pattern in (_YES_NO, _LETTER):
        match = pattern.match(text)
        if match:
            return match[1]
    return None


def _last_value(text: str) -> str | None:
    """The formula or number that ends last, with the formulas that only "and", "or" or a comma separates from it."""
    formulas = list(_MATH.finditer(text))
    numbers = list(_NUMBER_IN_TEXT.finditer(text))
    if not formulas or (numbers and numbers[-1].end() > formulas[-1].end()):
        return numbers[-1][0].strip() if numbers else None
    last = [formulas.pop()]
    while formulas and _are_joined(text[formulas[-1].end() : last[0].start()]):
        last.insert(0, formulas.pop())
    return _values(last)


def _first_formulas(text: str) -> str:
    """The formulas that a text begins with, as far as only "and", "or" or a comma separates them."""
    first, *others = _MATH.finditer(text)
    joined = [first]
    for formula in others:
        if not _are_alike(joined[-1], formula, text[joined[-1].end() : formula.start()]):
            break
        joined.append(formula)
    return _values(joined)


def _values(formulas: list[re.Match[str]]) -> str:
    return ", ".join(dict.fromkeys(_formula(formula) for formula in formulas))


def _are_alike(one: re.Match[str], other: re.Match[str], between: str) -> bool:
    """Whether two formulas are values of one list, and not a value and what is said of it."""
    return _LISTED.fullmatch(between) is not None and ("=" in one[0]) == ("=" in other[0])


def _are_joined(between: str) -> bool:
    return len(between) <= 40 and "\n\n" not in between and _BETWEEN_BOXES.fullmatch(between) is not None


def _last_choice(text: str) -> str | None:
    """The last choice letter that stands alone ("A" only where it ends the text, for it is a word), or the last word of
    "the statement is true".
    """
    found = _CHOICE_IN_TEXT.findall(text) or _TRUTH_AT_END.findall(text)
    return found[-1] if found else None


def _formula(match: re.Match[str]) -> str:
    content = next(group for group in match.groups() if group is not None)
    return f"${content.strip()}$"
