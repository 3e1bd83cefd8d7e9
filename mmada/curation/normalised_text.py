"""Texts before they are cut into words: what does not count is spelled in one way, or taken out.

Case, typography, Markdown, tags of formatting, LaTeX sizing and spacing, separators of thousands, words for numbers of
two digits.
"""

from typing import Final

import numpy as np
import polars as pl

from mmada.answer_spelling import COMPOUNDS, SIGN_NAMES

_LATEX_LAYOUT: Final = (
    r"\\(?:left|right|displaystyle|text|mathrm|mathbf|quad|qquad|bigg?[lrm]?)\b"
    r"|\\[,;: ()\[\]]|\\(?:begin|end)\{\w+\*?\}"
)
_BRACED: Final = r"(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*"
_ARGUMENT: Final = rf"\s*(?:([0-9])|\{{({_BRACED})\}})"
_FRACTION: Final = rf"\\[dt]?frac{_ARGUMENT}{_ARGUMENT}"
_ENTITIES: Final = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&nbsp;": " "}
_ENDING: Final = r"([a-z])'(s|t|d|m|re|ll|ve)\b"
"""Of a word: "it's", which others write without the sign, or with another one."""
_NAMED_SIGN: Final = r"\b(?:per ?cent|dollars?)\b"
"""% and $ do not count, nor do their names."""
TAG: Final = (
    r"</?(?i:a|b|br|center|div|em|font|i|mark|p|q|small|span|strong|sub|sup|u)(?:\s[^<>]*=\s*[\"'][^<>]*)?\s*/?>"
)
"""Of formatting: other tags may be what a text is about."""
_MARKUP: Final = (
    r"={3,}"  # a ruler below a heading
    r"|(?m:^[ \t]*(?:(?:>[ \t]?)+|\*[ \t]))"  # quoted line, item of a list
    rf"|{TAG}"
)
_BOLD: Final = r"\*\*(\w(?:[^*\n]*?[^*\s])?)\*\*"
_EMPHASIS: Final = r"(^|[\s(])\*(\w(?:[^*\n]*?[^*\s])?)\*($|[\s.,;:?!)])"
"""Stars in pairs: others are operators, or code."""
_POWER: Final = r"([\w)])\s?\*\*\s?([\w(])"
_MARKUP_HINTS: Final = ("**", " *", "* ", "\n*", "*\n", "===", "</", "/>", "<br", "\n>")
"""One of these stands in nearly every text with markup, between line ends."""
_FACTORIAL: Final = r"([0-9]|\b[a-z])!(\s*[-<>=+*/^)\]}])"
"""Behind a number or a variable and before a sign: elsewhere it may be an exclamation."""
_MINUS: Final = r"([0-9)\]}])\s+-\s+([a-z])\b"
_ALONE: Final = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\u2200-\u22ff\u00ac])"
"""Letters of scripts that are written without spaces, and mathematical operators: each is a word."""
_THOUSANDS: Final = "([0-9]),([0-9]{3})"
_PUNCTUATION: Final = dict(
    zip("\u2018\u2019\u201c\u201d\u2212\u2013\u2014\u2026\u00d7\u00f7\u00a0", "''\"\"---.*/ ", strict=True)
)
"""Signs of typography that are common in texts of ASCII letters, which are cut into words faster."""
_FORMULA_SIGNS: Final = {
    **{digit: f"^{value}" for value, digit in enumerate("\u2070\xb9\xb2\xb3\u2074\u2075\u2076\u2077\u2078\u2079")},
    **{sign: f" {name} " for sign, name in SIGN_NAMES.items()},
    **{"\u00b7": " * ", "\u22c5": " * ", "\u00b0": "^circ ", "\u00ad": ""},
    **{"\u2248": " approx ", "\u2209": " notin ", "\u2282": " subset ", "\u2286": " subseteq ", "\u221a": " sqrt "},
    **{"\u2200": " forall ", "\u2203": " exists ", "\u2227": " wedge ", "\u2228": " vee ", "\u2220": " angle "},
}
"""Signs of formulas as LaTeX spells them; a place where a word may be parted is none."""
_VARIABLES: Final = {"\u03c0": "pi", "\u03b8": "theta", "\u03b1": "alpha", "\u03b2": "beta"}
"""Greek letters that formulas are full of, where they are no part of a Greek word."""


def _plain(texts: pl.Expr) -> pl.Expr:
    """Texts in which all that is not ASCII is part of a word."""
    for letter, name in _VARIABLES.items():
        texts = texts.str.replace_all(rf"(^|[^\p{{Greek}}]){letter}($|[^\p{{Greek}}])", rf"${{1}} {name} ${{2}}")
    return (
        texts.str.normalize("NFKC")
        .str.replace_all(r"[^\x00-\x7F\p{L}\p{M}\u2200-\u22ff\u00ac]", " ")
        .str.replace_all(_ALONE, " $1 ")
    )


# Expressions are made once: that takes as long as the change of a hundred texts does.
_TEXT: Final = pl.col("text")
_SIGNS: Final = _PUNCTUATION | _FORMULA_SIGNS
_IN_PLAIN_SIGNS: Final = (_TEXT.str.replace_many(list(_SIGNS), list(_SIGNS.values())), _plain(_TEXT))
_WITHOUT_ENTITIES: Final = _TEXT.str.replace_many(_ENTITIES)
_WITHOUT_LAYOUT: Final = (
    _TEXT.str.to_lowercase().str.replace_many(["\\!", "{,}"], ["", ","]).str.replace_all(_LATEX_LAYOUT, " ")
)
_WITHOUT_MARKUP: Final = (
    _TEXT.str.replace_all(_BOLD, " $1 ")
    .str.replace_all(_EMPHASIS, "$1$2$3")
    .str.replace_all(_POWER, "$1^$2")
    .str.replace_all(_MARKUP, " ")
)
_BETWEEN_LINES: Final = pl.concat_str(pl.lit("\n"), _TEXT, pl.lit("\n"))
_HAS_MARKUP: Final = pl.any_horizontal(_BETWEEN_LINES.str.contains(hint, literal=True) for hint in _MARKUP_HINTS)
_CHANGES: Final = (
    (_TEXT.str.contains("'", literal=True), _TEXT.str.replace_all(_ENDING, "$1$2")),
    (_TEXT.str.contains("frac", literal=True), _TEXT.str.replace_all(_FRACTION, " $1$2/$3$4 ")),
    (_TEXT.str.contains("dollar|per ?cent"), _TEXT.str.replace_all(_NAMED_SIGN, "")),
    (_HAS_MARKUP, _WITHOUT_MARKUP),
    (_TEXT.str.contains("!", literal=True), _TEXT.str.replace_all(_FACTORIAL, "$1 factorial $2")),
    (_TEXT.str.contains("ty[ -]"), _TEXT.str.replace_many(list(COMPOUNDS), list(COMPOUNDS.values()))),
    (
        _TEXT.str.contains(_THOUSANDS),
        _TEXT.str.replace_all(_THOUSANDS, "$1$2").str.replace_all(_THOUSANDS, "$1$2"),  # every second separator
    ),
    (_TEXT.str.contains(" - ", literal=True), _TEXT.str.replace_all(_MINUS, "$1 -$2")),
)
"""Which texts need a change, and the change: most need few, and are tested for it faster than it is made."""


def normalised(texts: pl.Series) -> pl.Series:
    """Texts before they are cut into words."""
    texts = texts.alias("text")
    texts = _changed(texts, _TEXT.str.contains("&", literal=True), _WITHOUT_ENTITIES)
    for change in _IN_PLAIN_SIGNS:
        texts = _changed(texts, _TEXT.str.len_bytes() != _TEXT.str.len_chars(), change)
    texts = _selected(texts, _WITHOUT_LAYOUT)
    for is_meant, change in _CHANGES:
        texts = _changed(texts, is_meant, change)
    return _selected(texts, _TEXT.str.replace_all(r"-\s+([0-9])", "-$1"))


def _selected(texts: pl.Series, value: pl.Expr) -> pl.Series:
    return texts.to_frame().select(value).to_series()


def _changed(texts: pl.Series, is_meant: pl.Expr, change: pl.Expr) -> pl.Series:
    """`texts` with a change of those that are meant."""
    meant = _selected(texts, is_meant.fill_null(False))
    if not meant.any():
        return texts
    place = np.argsort(np.concatenate([meant.not_().arg_true(), meant.arg_true()]))
    return pl.concat([texts.filter(~meant), _selected(texts.filter(meant), change)])[place]
