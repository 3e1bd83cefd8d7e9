"""Languages are told apart from a sentence, and a change of language is counted where it happens."""

import json
from itertools import product
from pathlib import Path

import pytest

from mmada.cot_dialects import parse_trajectory
from mmada.curation.languages import LANGUAGES, language_changes, language_of

SENTENCES = [line.split("\t") for line in Path(__file__).with_name("languages.tsv").read_text("utf-8").splitlines()]
BY_LANGUAGE = {language: " ".join(text for code, text in SENTENCES if code == language) for language, _ in SENTENCES}


def test_single_sentences_are_told_apart() -> None:
    right = [language_of(text) == language for language, text in SENTENCES]
    assert len(BY_LANGUAGE) >= 12
    assert sum(right) / len(right) >= 0.95
    assert set(BY_LANGUAGE) <= set(LANGUAGES)


def test_formulas_do_not_hide_the_language() -> None:
    for _, text in SENTENCES:
        assert language_of(f"$x = \\frac{{1}}{{2}}$ {text} \\[ \\sum_{{i=1}}^n i^2 \\] 3 + 4 = 7") == language_of(text)


@pytest.mark.parametrize("text", ["", "3 + 4 = 7", "$x^2$", "\\boxed{7}", "f(x)"])
def test_too_few_words_tell_nothing(text: str) -> None:
    assert language_of(text) == ""
    assert language_changes(text, text) == 0


def test_every_pair_of_languages_changes_once_and_back() -> None:
    for first, second in product(BY_LANGUAGE, BY_LANGUAGE):
        a, b = BY_LANGUAGE[first], BY_LANGUAGE[second]
        changes = 0 if first == second else 1
        assert language_changes(a, b) == changes, (first, second)
        assert language_changes("", f"{a}\n{b}\n{a}") == 2 * changes, (first, second)


def test_real_thoughts_in_one_language_do_not_change_it(realdata: Path) -> None:
    thoughts = []
    for file in sorted(realdata.glob("long_cot/r1_math_traces/*/solutions.json")):
        problem = json.loads((file.parent / "problem.json").read_text("utf-8"))["problem"]
        thoughts += [
            (problem, parse_trajectory(row["solution"]).thought) for row in json.loads(file.read_text("utf-8"))
        ]
    assert len(thoughts) == 153
    assert [language_changes(*pair) for pair in thoughts] == [0] * 153
