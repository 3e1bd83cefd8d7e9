"""Two final values are found however they are marked; spellings, parts, lists and suppositions are no contradiction."""

import time

import pytest

from mmada.curation.cot_defects import find_defect
from mmada.curation.stated_values import against_thought


def _defect(answer: str) -> str:
    finding = find_defect("chat", "How many?", f"<think>I add them up.</think>{answer}")
    return finding.defect if finding else ""


@pytest.mark.parametrize(
    "answer",
    [
        "The answer is 5. The answer is 6.",
        "#### 5\n#### 6",
        "<answer>5</answer><answer>6</answer>",
        "**Final Answer:** 5\n\n**Final Answer:** 6",
        "The answer is (A).\n\nThe answer is (B).",
        "The final answer is 5.\n\\boxed{6}",
        "The answer is 5 apples. No, the answer is 6 apples.",
        "The answer is $\\frac{1}{2}$. So the answer is $\\frac{1}{3}$.",
        "The answer is 0.5. The answer is 0.6.",
    ],
)
def test_two_values_contradict_each_other(answer: str) -> None:
    assert _defect(answer) == "answer_contradictory"


@pytest.mark.parametrize(
    "answer",
    [
        "The answer is 5. So the answer is 5.0.",
        "The answer is 1,000. \\boxed{1000}",
        "The answer is \\frac{1}{3}. The answer is 0.33.",
        "The answer is \\pi. The answer is 3.14.",
        "The answer is 50%. The answer is 0.5.",
        "The answer is 2 hours. The answer is 120 minutes.",
        "The answer is $x^2 + 1$. The answer is 5.",
        "The answer is (A). The answer is 5.",
        "The answer is yes. The answer is 5.",
        "The solutions are \\boxed{3} for x > 0, and \\boxed{4} otherwise.",
        "(a) The answer is 5.\n(b) The answer is 6.",
        "Part 1: the answer is \\boxed{5}.\nPart 2: the answer is \\boxed{6}.",
        "If the answer is 5, it fails. The answer is 6.",
        "The student's answer is 5. The answer is 6.",
        "The result is 12. The result is 6. The answer is 6.",
        "The final answer is 15 gallons * 8 pints / gallon = 120 pints.\n#### 120",
        "Write `<answer>5</answer>` and the answer is 6.",
        "$$x = \\boxed{2}$$\n$$y = \\boxed{3}$$",
        "\\[ x = \\boxed{2} \\]\nand\n\\[ x = \\boxed{3} \\]",
        "Thus the answer is $\\frac{5}{8}$. Hence $m+n = \\boxed{013}$.",
        "So the answer is 1023. Modulo 1000 it is \\boxed{23}.",
        "The answer is 16. Rounded to tens, the answer is 20.",
        "Q: What is 2+2?\nAnswer: 4\n\nQ: What is 3+3?\nAnswer: 6",
        "First question: the answer is 4.\nSecond question: the answer is 6.",
        "For the first, the answer is 4. For the second, the answer is 6.",
    ],
)
def test_one_value_in_two_forms_is_no_contradiction(answer: str) -> None:
    assert _defect(answer) == ""


@pytest.mark.parametrize(
    "unit", ["The answer is 7. ", "#### 7\n", "<answer>7</answer>", "\\boxed{7}. ", "1. ", "a. so "]
)
def test_a_loop_of_statements_takes_linear_time(unit: str) -> None:
    started = time.process_time()
    _defect(unit * (160_000 // len(unit)))
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("thought", "answer", "found"),
    [
        ("3 + 4 is 7.\nSo the answer is 7.", "8", True),
        ("**Final Answer**\n\\boxed{7}", "\\frac{1}{2}", True),
        ("Thus the answer is B.", "C", True),
        ("So the answer is 7.\nThat is all.", "8", True),
        ("So the answer is 7.", "7.0", False),
        ("So the answer is 0.33.", "\\frac{1}{3}", False),
        ("The answer is 7. Wait, I forgot one. It is 8.", "8", False),
        ("The answer is 7.\n\nNo, it must be 8.", "8", False),
        ("If the answer is 7, then all is well.", "8", False),
        ("The answer is 7 apples.", "many", False),
        ("We add 3 and 4.", "8", False),
        ("", "", False),
    ],
)
def test_a_thought_of_another_value_is_found(thought: str, answer: str, found: bool) -> None:
    assert (against_thought(thought, answer) is not None) == found
