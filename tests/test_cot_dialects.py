"""Every dialect gives one grammar; a thought that never ends has no answer."""

import json
from pathlib import Path

import pytest

from mmada.cot_dialects import answer_section, parse_trajectory, unified_response

DIALECTS = [
    "<think>Add them.</think>7",
    "Add them.</think>7",
    "<|begin_of_thought|>\n\nAdd them.\n\n<|end_of_thought|>\n<|begin_of_solution|>\n\n7\n\n<|end_of_solution|>",
    "<Thought>\nAdd them.\n</Thought>\n<Output>\n7\n</Output>",
    "<reasoning>Add them.</reasoning>\n<answer>7</answer>",
]


@pytest.mark.parametrize("response", DIALECTS)
def test_every_dialect_becomes_the_same_response(response: str) -> None:
    assert unified_response(response, with_thought=True) == "<think>Add them.</think>7"
    assert unified_response(response, with_thought=False) == "7"


def test_unifying_is_idempotent() -> None:
    for response in [*DIALECTS, "no thought at all", "<think>a <think>nested</think> b</think>c"]:
        once = unified_response(response, with_thought=True)
        assert unified_response(once, with_thought=True) == once


def test_a_response_without_thought_stays_as_it_is() -> None:
    assert unified_response("  plain text ", with_thought=True) == "  plain text "
    assert unified_response("  plain text ", with_thought=False) == "  plain text "


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<think>and so on", None),
        ("<think>a</think>b<think>c", None),
        ("<|begin_of_thought|> so, 3 + 4", None),
        ("<THINK>a</THINK>7", "7"),
        ("<thinking>a</thinking>7", "7"),
        ("[THINK]a[/THINK]7", "7"),
        ("<think>a</think>", ""),
        ("<think>a</think>so <answer>6</answer> no, <answer>7</answer> is it", "7"),
        ("<answer>7", "7"),
        ("so it is</answer>\n7", "7"),
        ("so it is 7</answer><|eot_id|>", "so it is 7<|eot_id|>"),
        ("6</answer><answer>7</answer>", "7"),
        ("7", "7"),
    ],
)
def test_the_answer_stands_after_the_thought(response: str, answer: str | None) -> None:
    assert answer_section(response) == answer
    assert parse_trajectory(response).is_closed == (answer is not None)


QUOTES = [
    "I put the result in <answer> tags",
    "so it goes into <answer>7</answer> then",
    "the tag `<think>` begins it and `</think>` ends it",
    "the `<output>` element of HTML",
    "a template: ```xml\n<think>a</think><answer>5</answer>\n``` as asked",
]


@pytest.mark.parametrize("quote", QUOTES)
def test_tags_that_a_thought_speaks_of_are_its_text(quote: str) -> None:
    trajectory = parse_trajectory(f"<think>{quote}.</think>7")
    assert (trajectory.thought, trajectory.answer) == (f"{quote}.", "7")
    assert answer_section(f"<think>{quote}.</think><answer>7</answer>") == "7"


@pytest.mark.parametrize("quote", QUOTES[2:])
def test_quoted_tags_of_an_answer_are_its_text(quote: str) -> None:
    unified = unified_response(f"<think>Add them.</think><answer>{quote}.</answer>", with_thought=True)
    assert unified == f"<think>Add them.</think>{quote}."
    assert unified_response(unified, with_thought=True) == unified


@pytest.mark.parametrize(
    ("thought", "answer"),
    [("the sign ` is used.", "It is ` here"), ("so `x`", "`y` is it"), ("a ```py\nx = 1", "```py\ny\n```")],
)
def test_stray_marks_of_code_hide_no_tag(thought: str, answer: str) -> None:
    for begin, end in (("", ""), ("<answer>", "</answer>")):
        trajectory = parse_trajectory(f"<think>{thought}</think>{begin}{answer}{end}")
        assert (trajectory.thought, trajectory.answer) == (thought, answer)


def test_graded_traces_parse_whole(realdata: Path) -> None:
    """R1 traces: whatever was graded as right has a closed thought and an answer."""
    graded = 0
    for file in sorted(realdata.glob("long_cot/r1_math_traces/*/solutions.json")):
        for solution in json.loads(file.read_text("utf-8")):
            trajectory = parse_trajectory(solution["solution"])
            if solution["is_correct"]:
                graded += 1
                assert trajectory.is_closed
                assert trajectory.answer
    assert graded == 118
