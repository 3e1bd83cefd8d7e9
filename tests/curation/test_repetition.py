"""Loops are found, arguments that return to an expression are not; one foreign symbol is no change of
language.
"""

import json
import random
from pathlib import Path

import polars as pl
import pytest

from mmada.cot_dialects import parse_trajectory
from mmada.curation.repetition import answer_loop_shares, loop_shares, script_switches, wordless_shares
from mmada.curation.words import split_words

LIMIT = 0.5


def _shares(texts: list[str]) -> list[float]:
    return list(loop_shares(split_words(pl.Series(texts, dtype=pl.String))))


def test_a_loop_fills_its_text_and_random_words_do_not() -> None:
    rng = random.Random(4)
    words = ["".join(rng.choices("abcdefghij", k=5)) for _ in range(200)]
    varied = " ".join(rng.choices(words, k=300))
    looping = varied + " and then I check it again" * 80
    unspaced = "a" * 5000
    shares = _shares([varied, looping, unspaced, "", "short text"])
    assert shares[0] == 0.0
    assert shares[1] > 0.5
    assert shares[2] > 0.9
    assert shares[3:] == [0.0, 0.0]


def test_texts_do_not_count_for_one_another() -> None:
    text = "the same sentence of ten words stands in every text here"
    assert _shares([text] * 50) == [0.0] * 50


@pytest.mark.parametrize("unit", ["!", "! ", "\U0001f600", "| --- ", "-", "_", "\u3002", ". . .\n"])
def test_endless_signs_fill_their_text(unit: str) -> None:
    texts = pl.Series(["We add the two numbers. That is all. " + unit * 20_000])
    assert wordless_shares(texts) > 0.9
    assert answer_loop_shares(texts) > 0.9


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Title\n" + "-" * 80 + "\n\nText.\n" + "_" * 72,
        "| a | b | c |\n|" + " --- |" * 12 + "\n| 1 | 2 | 3 |",
        ("|" + " " * 60) * 4 + "|\n",
        "\\begin{pmatrix} " + " \\\\ ".join(["0 & 0 & 0 & 0 & 0 & 0"] * 6) + " \\end{pmatrix}",
        "def f():\n" + " " * 40 + "return {}  # " + "#" * 60,
        "\u6211\u4eec\u518d\u7b97\u4e00\u6b21" * 5,
    ],
)
def test_rulers_tables_code_and_matrices_are_no_loops(text: str) -> None:
    assert answer_loop_shares(pl.Series([text])) == 0.0


def test_script_switches() -> None:
    texts = pl.DataFrame(
        {
            "text": [
                "plain",
                "let \u03c0 be \u03c0",
                "so \u6211\u4eec\u5f97\u5230 seven \u6240\u4ee5",
                "\u4f60\u597d\u4e16\u754c",
                "",
            ]
        }
    )
    assert texts.select(script_switches(pl.col("text"))).to_series().to_list() == [0, 0, 3, 0, 0]


def test_real_loops_are_found_without_false_alarms(realdata: Path) -> None:
    closed: list[str] = []
    unclosed: list[str] = []
    answers: list[str] = []
    for file in sorted(realdata.glob("long_cot/skythought/*/*.jsonl")):
        for row in map(json.loads, file.read_text("utf-8").splitlines()):
            trajectory = parse_trajectory(row["code"] if isinstance(row["code"], str) else row["code"][0])
            (closed if trajectory.is_closed else unclosed).append(trajectory.thought)
            answers.append(trajectory.answer)
    for file in sorted(realdata.glob("long_cot/r1_math_traces/*/solutions.json")):
        solutions = json.loads(file.read_text("utf-8"))
        closed += [parse_trajectory(row["solution"]).thought for row in solutions if row["is_correct"]]
        answers += [parse_trajectory(row["solution"]).answer for row in solutions]
    assert len(unclosed) >= 10
    assert min(_shares(unclosed)) > LIMIT  # these ran to their length limit in a loop
    assert len(closed) > 200
    assert max(_shares(closed)) < LIMIT
    assert max(answer_loop_shares(pl.Series(answers))) < 0.3
    assert max(wordless_shares(pl.Series([*closed, *answers]))) == 0.0
