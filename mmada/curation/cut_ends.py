"""Whether a text was cut off: by its last sign, by a formula left open, or by a last sentence that has no end where the
others have one.
"""

import re
from typing import Final

from mmada.cot_dialects import CODE

_TAIL: Final = 200
"""Characters of a text that its end is judged by."""

_DANGLING: Final = re.compile(
    r"(?:[,=&\\\u00d7\u00f7\u2212\uff0c\u3001\uff1a\uff08\u300c\u300a]"
    r"|(?<![:;=-])[(\[{]"  # no sad face
    r"|(?<=[A-Za-z\d)}])\^"
    r"|[a-z]{2,} [a-z]{2,} [a-z]{2,}[^\n;]*;"  # statements of code end so, too
    r"|(?:^|\s)[^\s:]*:"  # no :emoji:
    r"|(?<![-*]\s)(?<=\s)(?:[-+<>]|\*(?!\*))"  # after a letter: C++, Na+, A-, *emphasis*; after itself: a ruler
    r"|(?<![\w/])/)[*_]{0,2}\s*\Z"
)
_BEFORE_WORD: Final = r"\S+\s+\S+\s+\S+\s+"
_NO_LAST_WORD: Final = re.compile(
    _BEFORE_WORD + r"(?:the|a|an|and|or|but|because|if|than|then|let|their|its|my|your|into|equals?)\s*\Z"
)
_RARE_LAST_WORD: Final = re.compile(
    _BEFORE_WORD + r"(?:of|to|(?<!\d )(?<!sq )in|on|at|by|for|from|with|is|are|was|were|be|we|that|which|this"
    r"|as|so|has|have|will|(?<!per )can|where|when|since)\s*\Z"
)
"""Last words of a caption or a bare answer ("as people look on"), but hardly of a text that goes on in sentences."""
_ANNOUNCED: Final = re.compile(
    r"(?:\banswers?[\s*_]{0,4}(?:is|are|=|:)|^[#*_\s]*final answer)[\s*_:]*\Z", re.IGNORECASE | re.MULTILINE
)
_ANNOUNCES_ANSWER: Final = re.compile(r"(?<!\bis)(?<!\bare)\s*:[*_]{0,2}\Z")
_BRACKET: Final = re.compile(r"(?<!\\)\\([\[\]()])")  # of a formula; two backslashes are a line break
_PROSE: Final = re.compile(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}")
_WORDS_IN_FORMULA: Final = re.compile(r"\\(?:text|mbox|textbf|textit)\{[^{}]*\}?")
_OPEN_ARGUMENT: Final = re.compile(r"(?:\\[A-Za-z]+|[}\]_^])\{[^{}\n]*\Z")
_OPEN_DOLLAR: Final = re.compile(r"(?:^|[\s(])\$(?=[A-Za-z\\({])(?:\w|[^$\n]*[\\=+^<][^$\n]*)\Z")
_CUT_SIGNS: Final = (_DANGLING, _ANNOUNCED, _OPEN_ARGUMENT, _OPEN_DOLLAR)
_CUT_WORDS: Final = (_NO_LAST_WORD, _ANNOUNCED, _OPEN_ARGUMENT, _OPEN_DOLLAR)
_ENVIRONMENT: Final = re.compile(r"\\(begin|end)\{")

_SENTENCE_END: Final = re.compile(r"\w[)\]}$*\"'\u201d\u2019]{0,4}[.!?](?=\s)|[\u3002\uff01\uff1f]")
_UNENDED: Final = re.compile(r"[^\W_]\Z")
_ADDRESS: Final = re.compile(r"(?:://|[A-Za-z]\.[a-z])\S*\Z")
_ITEM: Final = re.compile(r"[-*+\u2022]\s|\(?\d+[.)]\s")
_LAYOUT: Final = re.compile(r"[#|>]")
_SENTENCE: Final = re.compile(r"(?<![A-Za-z'])[A-Za-z']{2,}(?:[ ,]+[A-Za-z'\d]+){3}|[\u4e00-\u9fff]{8}")
_WORD: Final = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}|[\u4e00-\u9fff]")
_UNENDED_RUN: Final = re.compile(r"(?:[a-z'-]+,? ){6}[a-z'-]+\Z")
_SPEAKS_OF_ANSWER: Final = re.compile("answer|option|choice|\u7b54\u6848.*[\u662f\u4e3a]", re.IGNORECASE)
_FENCE: Final = re.compile(r"^[ \t]*```", re.MULTILINE)
_FEW_SENTENCES, _MANY_SENTENCES = 3, 10
"""Sentences with an end after which the last one must have one, too: many where it holds a number or is short, for word
problems end in a calculation without a full stop ("so she has 3 + 4 = 7").
"""
_BRIEF_WORDS: Final = 1
_ENDED_SHARE: Final = 0.8
"""Share of a text's lines of one kind that end in a mark, from which on the last one must."""


def cut_end(text: str, *, is_answer: bool) -> str | None:
    """The last characters of a text that something cut off, None where it is whole.

    An answer may end in a name, a title or a value, which need no full stop; a thought ends in a sentence.
    """
    prose = CODE.sub('""', text).rstrip()
    is_cut = (
        _is_tail_open(prose, is_answer=is_answer)
        or len(_FENCE.findall(text)) % 2 == 1
        or _is_formula_open(prose)
        or _is_sentence_open(prose, is_answer=is_answer)
    )
    return text[-60:] if is_cut else None


def _is_tail_open(text: str, *, is_answer: bool) -> bool:
    """Whether the last sign, word or announcement wants more to follow. What a thought announces is its answer."""
    tail = text[-_TAIL:]
    if tail.endswith((".", "!", "?")) or (not is_answer and _ANNOUNCES_ANSWER.search(tail)):
        return False
    if not tail[-1:].isalpha():
        return any(sign.search(tail) for sign in _CUT_SIGNS)
    is_word_rare = not is_answer or _SENTENCE_END.search(text) is not None
    return any(word.search(tail) for word in _CUT_WORDS) or (is_word_rare and _RARE_LAST_WORD.search(tail) is not None)


def _is_formula_open(text: str) -> bool:
    brackets = _BRACKET.findall(text)
    if brackets and brackets[-1] in "[(":
        return True
    environments = _ENVIRONMENT.findall(text)
    if environments.count("begin") > environments.count("end"):
        return True
    before, mark, last = text.rpartition("$$")
    # Sums of money are written with two dollars by mistake; prose goes on behind them, and not in a formula.
    if mark and before.count("$$") % 2 == 0 and not _PROSE.search(_WORDS_IN_FORMULA.sub("", last)):
        return True
    box = text[text.rfind("\\boxed{") :] if "\\boxed{" in text else ""
    return box.count("{") > box.count("}")


def _is_sentence_open(text: str, *, is_answer: bool) -> bool:
    """Whether the last sentence has no end, in a text whose other sentences and lines do. Answers often end in a name,
    a title or a signature: of theirs only a long run of small words is called.
    """
    if is_answer:
        return _UNENDED_RUN.search(text[-_TAIL:]) is not None and len(_SENTENCE_END.findall(text)) >= _FEW_SENTENCES
    *lines, last = [line.strip() for line in text.split("\n") if line.strip()] or [""]
    sentence = _SENTENCE_END.split(last)[-1]
    if not _UNENDED.search(last) or not _WORD.search(last) or _SPEAKS_OF_ANSWER.search(sentence):
        return False
    if last in lines or _LAYOUT.match(last) or _ADDRESS.search(last[-_TAIL:]):
        return False
    ends = len(_SENTENCE_END.findall(text))
    is_brief = len(_WORD.findall(sentence)) <= _BRIEF_WORDS or re.search(r"\d", sentence) is not None
    if ends < _FEW_SENTENCES or (ends < _MANY_SENTENCES and is_brief):
        return False
    kind = _ITEM if _ITEM.match(last) else _SENTENCE
    alike = [line for line in lines if kind.search(line)]
    return sum(not _UNENDED.search(line) for line in alike) >= _ENDED_SHARE * len(alike)
