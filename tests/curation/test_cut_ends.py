"""A text that something cut off is told from one that ends in a name, a value, code or emphasis."""

import json
import random
import time
from pathlib import Path

import pytest

from mmada.cot_dialects import parse_trajectory
from mmada.curation.cut_ends import cut_end

SENTENCES = "The numbers are given. We add them up first. Then we look at the rest.\n"
SOUND_ENDS = [
    *("*Moby Dick*", "*Answer: 5*", "*this*", "_so it is._", "**It is 5.**"),
    *("C++", "Na+", "Cl-", "Grade: A-", "a grade of A+", "(a|b)*"),
    *("$5", "It costs $5 or $6", "$x + 3$", "$$x + 3$$", "\\{1, 2\\}", "\\[ x = 3 \\]", "x^2", "#### 42"),
    *("use `\\(`.", "```\n\\[ x\n```", "run $HOME/bin", "SELECT * FROM t;", "See https://a.org/b.html"),
    *(
        "***",
        "* * *",
        "- - -",
        ":(",
        "^_^",
        ":smile:",
        "5 %",
        "20 \u20ac",
        "\u201cYes.\u201d",
        "\u6240\u4ee5\u662f\u516d\u5143\u3002",
    ),
]


@pytest.mark.parametrize("end", SOUND_ENDS)
def test_sound_ends_are_whole(end: str) -> None:
    assert cut_end(end, is_answer=True) is None
    assert cut_end(SENTENCES + end, is_answer=True) is None


@pytest.mark.parametrize(
    "thought",
    [
        "She has 3 apples.\nShe buys 4 more.\nThat is a lot.\nSo she has 3 + 4 = 7 apples left",
        "The window is 8 by 12 inches.\nThe area is 8 * 12 = 96 sq in",
        SENTENCES + "It ends in *this*",
        SENTENCES + "That deserves a grade of A+",
        SENTENCES + "Here is the response:",
        SENTENCES + "Let me write up the answer:",
        "Good. Yes. Sure. I will go with option B",
        "The user wants ``` fences. Fine.",
        "I will use ```python. Done.",
    ],
)
def test_sound_thoughts_are_whole(thought: str) -> None:
    assert cut_end(thought, is_answer=False) is None


@pytest.mark.parametrize(
    "answer",
    [
        *("Paris", "Best regards,\nJohn Smith", "- apples\n- pears", "| a |\n|---|\n| 1 |"),
        "\nRoses are red\nViolets are blue\nSugar is sweet\nAnd so are you",
        "\nTitle: A Tale of Two Cities",
        "Its main airport is Charles de Gaulle Airport",
        "Wrap the code in triple backticks (```) before you send it.",
    ],
)
def test_answers_need_no_full_stop(answer: str) -> None:
    assert cut_end(answer, is_answer=True) is None
    assert cut_end(SENTENCES + answer, is_answer=True) is None


def test_a_caption_may_end_in_any_word() -> None:
    assert cut_end("A boy plays while people look on", is_answer=True) is None


def test_real_thoughts_are_whole_and_most_of_their_beginnings_are_not(realdata: Path) -> None:
    """The rest of the cuts stand behind a full stop or a bracket, where nothing tells them."""
    rng = random.Random(17)
    cut, found = 0, 0
    for file in sorted(realdata.glob("long_cot/r1_math_traces/*/solutions.json")):
        for solution in json.loads(file.read_text("utf-8")):
            trajectory = parse_trajectory(solution["solution"])
            if trajectory.is_closed:
                thought = trajectory.thought
                assert cut_end(thought, is_answer=False) is None
                assert cut_end(trajectory.answer, is_answer=True) is None
                part = thought[: rng.randint(len(thought) // 10, len(thought) - 1)]
                found += cut_end(part, is_answer=False) is not None
                cut += 1
    assert cut >= 140
    assert found > 0.8 * cut


@pytest.mark.parametrize(
    "unit", ["a", "a.", "`a", "`", "```\n", "\\begin{a}", "a b ", "$x=", "{", "\n* ", "So it is. ", ": ", "(?"]
)
def test_long_texts_take_linear_time(unit: str) -> None:
    started = time.process_time()
    cut_end(unit * (160_000 // len(unit)), is_answer=True)
    assert time.process_time() - started < 2
