"""The measures are those of the formulas, computed here the slow way, one text at a time."""

import random
import re
from collections import Counter
from itertools import pairwise

import polars as pl

from mmada.curation.gopher import LIMITS, WORD, excess_repetition, repetition


def _duplicates(parts: list[str]) -> tuple[int, int]:
    again = [part for number, part in enumerate(parts) if part in parts[:number]]
    return len(again), sum(map(len, again))


def _formulas(text: str, words: list[str]) -> dict[str, float]:
    """Gopher's table A1 as datatrove's filter computes it."""
    found = {}
    for name, parts in (("para", re.split(r"\n{2,}", text.strip())), ("line", re.split(r"\n+", text))):
        count, chars = _duplicates(parts)
        found |= {f"dup_{name}_frac": count / len(parts), f"dup_{name}_char_frac": chars / len(text)}
    for n in (2, 3, 4):
        grams = Counter(" ".join(words[start : start + n]) for start in range(len(words) - n + 1))
        top, times = grams.most_common(1)[0] if grams else ("", 0)
        found[f"top_{n}_gram"] = len(top) * times / len(text)
    for n in range(5, 11):
        read, repeated, start = set(), 0, 0
        while start <= len(words) - n:
            gram = "".join(words[start : start + n])
            repeated, step = (repeated + len(gram), n) if gram in read else (repeated, 1)
            read.add(gram)
            start += step
        found[f"duplicated_{n}_n_grams"] = repeated / len(text)
    return found


def _texts() -> list[str]:
    rng = random.Random(1)
    texts = ["a", "x y", " a b c d e ", "\n\n", "no line\n\nno line\nno line", "\u4f60\u597d " * 30]
    for _ in range(250):
        vocabulary = ["".join(rng.choices("abcd\u00e9", k=rng.randint(1, 6))) for _ in range(rng.choice((2, 3, 8, 90)))]
        ends = [" "] * 8 + ["\n", "\n\n", ". "]
        texts.append("".join(rng.choice(vocabulary) + rng.choice(ends) for _ in range(rng.randint(1, 150))))
    return texts


def test_measures_equal_the_formulas() -> None:
    texts = pl.Series(_texts())
    words = texts.str.extract_all(WORD)
    measured = repetition(texts, words)
    failing = 0
    for number, (text, one) in enumerate(zip(texts, words.to_list(), strict=True)):
        expected = _formulas(text, one)
        assert expected.keys() == LIMITS.keys()
        for name, value in expected.items():
            assert abs(measured[name][number] - value) < 1e-9, (name, text)
        failing += any(value > LIMITS[name] for name, value in expected.items())
    assert 50 < failing < len(texts) - 5


def test_a_text_fails_when_a_measure_exceeds_its_limit() -> None:
    texts = pl.Series(_texts())
    expected = [
        any(value > LIMITS[name] for name, value in _formulas(text, re.findall(WORD, text)).items()) for text in texts
    ]
    assert (excess_repetition(texts) > 1).tolist() == expected


def test_more_repetition_never_measures_less() -> None:
    sentence = "each of these words stands here only once today . "
    filler = " ".join(f"w{number}" for number in range(60))
    excess = excess_repetition(pl.Series([filler + " " + sentence * times for times in range(1, 6)]))
    assert all(before <= after for before, after in pairwise(excess))
    assert excess[0] < 1 < excess[-1]


def test_no_texts_give_no_numbers() -> None:
    assert excess_repetition(pl.Series([], dtype=pl.String)).size == 0
    assert excess_repetition(pl.Series(["", " "])).tolist() == [0.0, 0.0]
