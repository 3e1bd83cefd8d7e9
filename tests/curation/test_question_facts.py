"""How hard a question is, with an interval that covers the truth, and whether its gold answers agree."""

import random

import polars as pl
import pytest

from mmada.curation.question_facts import QUESTION_FACTS, question_facts
from mmada.curation.verifiability import unverifiable


def _rows(*rows: tuple[str, str, str]) -> pl.DataFrame:
    """(question, reference, correct) of trajectories."""
    table = pl.DataFrame(list(rows), schema=["question_key", "reference", "answer_correct"], orient="row")
    return table.with_columns(content_key=pl.int_range(pl.len()).cast(pl.String))


def test_rates_count_distinct_checked_rows() -> None:
    rows = _rows(("a", "7", "yes"), ("a", "7", "no"), ("a", "7", "yes"), ("a", "7", "yes"), ("b", "", "unchecked"))
    again = pl.concat([rows, rows.head(1)])
    facts = question_facts(again, seconds=5.0)
    assert facts.schema == pl.Schema(QUESTION_FACTS)
    fact = facts.row(0, named=True)
    assert (facts.height, fact["num_trials"], fact["pass_rate"]) == (1, 4, 0.75)
    assert 0.0 < fact["pass_rate_low"] < 0.75 < fact["pass_rate_high"] < 1.0


def test_a_question_without_a_response_is_no_trial_but_its_gold_answers_count() -> None:
    golds = (("a", "3"), ("a", "4"), ("b", "3"), ("c", ""))
    rows = _rows(*((*gold, "missing") for gold in golds), ("b", "3", "no"))
    facts = question_facts(rows, seconds=5.0)
    assert facts.select("question_key", "num_trials", "pass_rate").rows() == [("a", 0, None), ("b", 1, 0.0)]
    assert facts.select("pass_rate_low", "pass_rate_high").row(0) == (0.0, 1.0)
    assert facts["other_reference"].to_list() == ["3 | 4", ""]


def test_order_of_rows_does_not_matter() -> None:
    rng = random.Random(3)
    rows = _rows(*((rng.choice("abcd"), rng.choice("78"), rng.choice(("yes", "no"))) for _ in range(40)))
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=1)
    assert question_facts(rows, seconds=5.0).equals(question_facts(shuffled, seconds=5.0))


def test_contradictory_references_are_named_and_equal_ones_are_not() -> None:
    rows = _rows(
        *(("equal", "1/2", "yes"), ("equal", "0.5", "yes"), ("equal", "\\frac{1}{2}", "yes")),
        *(("other", "3", "yes"), ("other", "4", "no")),
    )
    facts = question_facts(rows, seconds=20.0)
    assert dict(facts.select("question_key", "other_reference").iter_rows()) == {"equal": "", "other": "3 | 4"}


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("Prove that $n^2 + n$ is even.", "proof"),
        ("Show that the sum is finite.", "proof"),
        ("(a) Find x. (b) Find y.", "multi_part"),
        ("1. Let f(x) = 2x. (i) Find f(1). (ii) Find f(2).", "multi_part"),
        ("In the figure, what is the area of the shaded part?", "figure_missing"),
        ("How long is AB in the triangle shown below?", "figure_missing"),
        ("What is 3 + 4?", ""),
        ("Which of these is blue? (a) sky (b) grass", ""),
        ("What is the largest? (a) 3 (b) 4 (c) 5", ""),
        ("In the diagram, what is x? [asy] draw((0,0)--(1,1)); [/asy]", ""),
        ("How does the graph of f move when c grows?", ""),
        ("The proof of the pudding costs 3 dollars; how much are two?", ""),
    ],
)
def test_questions_without_an_answer_to_compare(prompt: str, why: str) -> None:
    rows = pl.DataFrame({"prompt": [prompt], "pixels_sha256": [""]})
    assert rows.select(unverifiable()).item() == why


def test_a_picture_is_the_figure() -> None:
    rows = pl.DataFrame({"prompt": ["What is x in the figure?"], "pixels_sha256": ["abc"]})
    assert rows.select(unverifiable()).item() == ""
