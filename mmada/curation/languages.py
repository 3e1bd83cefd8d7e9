"""Which language a text is in, and how often it changes (py3langid, offline)."""

import functools
import itertools
import re
from typing import Final

from py3langid.langid import MODEL_FILE, LanguageIdentifier

LANGUAGES: Final = (
    *("ar", "de", "el", "en", "es", "fr", "he", "hi", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "th", "tr"),
    *("vi", "zh"),
)
"""ISO 639-1 codes that are told apart; a text in another language is given to the one most like it."""
_READ_CHARS: Final = 500
_MIN_WORDS: Final = 4
"""Fewer words tell no language; letters of scripts without spaces count as words."""
_WINDOW_WORDS: Final = 7
_SURE: Final = 0.95
"""Probability from which a window counts: names and terms of a foreign language stay below it (0.74 in 37,000 windows
of R1, Sky-T1 and GSM8K), and two languages as near as Spanish and Portuguese above it.
"""
_SURELY_NOT: Final = 0.01
"""Probability below which a prompt is not in a language."""

_NO_PROSE: Final = re.compile(
    r"```.*?(?:```|\Z)|\$\$[^$]*\$\$|\$[^$\n]*\$|\\\(.{0,2000}?\\\)|\\\[.{0,2000}?\\\]|\\[a-zA-Z]+|https?://\S+"
    r"|(?<![^\W\d_])[\u0370-\u03ff](?![\u0370-\u03ffA-Za-z])[\u00b2\u00b3\u00b9\u2070-\u209f]*"  # a variable
    r"|<[^<>\n]{1,40}>|(?:(?<![^\W\d_])[^\W\d_]++)?[\d_]\w*|[^\w\s.!?'\u3002\uff01\uff1f-]",
    re.DOTALL,
)
_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]|[^\W\d_]{2,}")
_SENTENCE_END: Final = re.compile(r"[.!?\u3002\uff01\uff1f\n]+")


def language_of(text: str) -> str:
    """ISO 639-1 code of a text's language, one of LANGUAGES; "" where formulas and numbers leave too few words."""
    prose = _prose(text)
    return _probabilities(prose)[0][0] if len(_WORD.findall(prose)) >= _MIN_WORDS else ""


def language_changes(prompt: str, thought: str) -> int:
    """How often the language surely changes from the prompt as a whole through the sentences of the thought."""
    best = (_probabilities(window)[0] for window in _windows(thought))
    sure = [language for language, probability in best if probability >= _SURE]
    changes = sum(before != after for before, after in itertools.pairwise(sure))
    asked = _prose(prompt)
    if sure and _WORD.search(asked):  # a single word does not tell its language, but which it is not
        changes += dict(_probabilities(asked))[sure[0]] < _SURELY_NOT
    return changes


def _prose(text: str) -> str:
    """The beginning of a text without formulas, code and numbers."""
    return _NO_PROSE.sub(" ", text[: 4 * _READ_CHARS])[:_READ_CHARS]


def _windows(text: str) -> list[str]:
    """Whole sentences, joined until they hold enough words; a text of fewer is one window."""
    windows: list[str] = []
    pending, words = "", 0
    for sentence in _SENTENCE_END.split(_NO_PROSE.sub(" ", text)):
        pending += sentence + " "
        words += len(_WORD.findall(sentence))
        if words >= _WINDOW_WORDS:
            windows.append(pending)
            pending, words = "", 0
    return windows or ([pending] if words >= _MIN_WORDS else [])


def _probabilities(text: str) -> list[tuple[str, float]]:
    """Every language with its probability, the best first."""
    return [(language, float(probability)) for language, probability in _identifier().rank(text)]


@functools.cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LANGUAGES))
    return identifier
