"""Agreement with gradings that others published: answer by answer, and to the last digit of their accuracies."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmada.answers import answers_match, compare_answers, extract_answer, normalise_answer
from mmada.constants import constant_value
from mmada.cot_dialects import answer_section

PATIENT = 20.0
"""Seconds: agreement is what is asked, however busy the machine is."""


def _equivalence_cases(realdata: Path) -> Iterator[tuple[str, str, bool]]:
    """(gold, predicted, expected) of the test suites of math-verify and lighteval, cases with options of theirs too."""
    path = realdata / "reference/math_equivalence/parametrize_cases.jsonl"
    for case in map(json.loads, path.read_text("utf-8").splitlines()):
        named = dict(zip([name.strip() for name in case["args"].split(",")], case["values"], strict=True))
        gold, predicted = named.get("gold"), named.get("pred")
        if isinstance(gold, str) and isinstance(predicted, str):
            yield gold, predicted, bool(named.get("expected", named.get("result")))


def test_agreement_with_published_equivalence_cases(realdata: Path) -> None:
    """Cases of two verifiers' own test suites; some contradict each other or need options of their own."""
    cases = set(_equivalence_cases(realdata))
    agreed = sum(
        answers_match(extract_answer(predicted), extract_answer(gold) or gold, seconds=PATIENT) == expected
        for gold, predicted, expected in cases
    )
    assert len(cases) > 250
    # The rest: cases that contradict each other, choices named in prose, other languages, rounding options.
    assert agreed / len(cases) >= 0.93


def test_equality_is_symmetric(realdata: Path) -> None:
    """Every fourth published case, both ways; what is equal to itself stays so."""
    for gold, predicted, _ in list(_equivalence_cases(realdata))[::4]:
        left, right = extract_answer(gold), extract_answer(predicted)
        if left and right:
            assert compare_answers(left, right, seconds=PATIENT) == compare_answers(right, left, seconds=PATIENT)
            assert normalise_answer(normalise_answer(left)) == normalise_answer(left)
            assert compare_answers(left, left) == "match"


def test_gold_solutions_match_their_own_answers(realdata: Path) -> None:
    for line in (realdata / "text_math/gsm8k_train.jsonl").read_text("utf-8").splitlines():
        answer = json.loads(line)["answer"]
        assert answers_match(extract_answer(answer), answer.rpartition("####")[2].strip())


@pytest.mark.parametrize("name", ["aime24_ckpt140", "amc23_corrupt02", "amc23_short"])
def test_accuracy_of_graded_trajectories(realdata: Path, name: str) -> None:
    """Sky-T1, in percent with one digit."""
    (file,) = (realdata / "long_cot/skythought" / name).glob("*.jsonl")
    (metrics,) = file.parent.glob("*_metrics.json")
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    grades = [answers_match(extract_answer(_only(row["code"])), str(row["gt"])) for row in rows]
    assert grades == [bool(_only(row["score"])) for row in rows]
    assert round(100 * sum(grades) / len(grades), 1) == json.loads(metrics.read_text("utf-8"))["acc"]


def _only(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def test_strict_published_grades_of_r1_traces_are_never_contradicted(realdata: Path) -> None:
    """Graded by equal strings: all that passed there passes; what passes here alone differs in spelling only."""
    different = []
    for file in sorted(realdata.glob("long_cot/r1_math_traces/*/solutions.json")):
        gold = json.loads((file.parent / "problem.json").read_text("utf-8"))["gt_answer"]
        for row in json.loads(file.read_text("utf-8")):
            answer = extract_answer(row["solution"])
            matches = answers_match(answer, gold, seconds=PATIENT)
            assert matches or not row["is_correct"]
            if matches and not row["is_correct"]:
                different.append((answer, gold))
    assert len(different) == 20
    assert all(_spelling(answer) == _spelling(gold) for answer, gold in different)


def _spelling(answer: str) -> str:
    """Without blanks, units, signs of LaTeX's layout and the name of the unknown."""
    bare = re.sub(r"\\text\{[^}]*\}|\\left|\\right|\\!|\^\\circ|\\[%$]|^\w=|\s", "", answer)
    return re.sub(
        r"\\[dt]?frac(\d)(\d)|,(?=\d{3}(?!\d))|\\[dt](?=frac)",
        lambda m: f"\\frac{{{m[1]}}}{{{m[2]}}}" if m[1] else "\\" * m[0].startswith("\\"),
        bare,
    )


_END_TOKENS = re.compile(r"(?:<\|(?:eot_id|endoftext)\|>)+\Z")


def _generations(realdata: Path, name: str) -> list[dict[str, Any]]:
    """What LLaDA-8B-Instruct, a masked diffusion model, answered: question, generations, ground_truth."""
    files = sorted(realdata.glob(f"dlm_outputs/d1_llada/{name}_*.json"))
    items = [item for file in files for item in json.loads(file.read_text("utf-8"))["generations"]]
    return [item | {"generations": _END_TOKENS.sub("", item["generations"])} for item in items]


@pytest.mark.parametrize(
    ("length", "published", "misread", "unboxed"),
    [("128_64", 20.70, 0, ["96 - 48  + 26"]), ("256_128", 19.53, 1, [])],
)
def test_accuracy_of_a_diffusion_model_on_countdown(
    realdata: Path, length: str, published: float, misread: int, unboxed: list[str]
) -> None:
    """An answer is right when its numbers are the given ones and its value is the target.

    misread: answers that are right there and not here: a box that is never closed states nothing. unboxed: right here
    and not there, for they stand in tags of the answer without a box.
    """
    items = _generations(realdata, f"countdown_instruct_{length}")
    right = []
    for item in items:
        numbers, target = item["ground_truth"]
        answer = (extract_answer(item["generations"]) or "").partition("=")[0]
        value = constant_value(answer.strip())
        used = sorted(map(int, re.findall(r"\d+", answer)))
        if value is not None and abs(value - target) < 1e-5 and used == sorted(numbers):
            right.append((answer.strip(), "\\boxed" in item["generations"]))
    assert len(items) == 256
    assert [answer for answer, is_boxed in right if not is_boxed] == unboxed
    assert round(100 * (len(right) - len(unboxed) + misread) / len(items), 2) == published


@pytest.mark.parametrize(("length", "published", "misread"), [("128_64", 11.72, 1), ("256_128", 6.69, 2)])
def test_accuracy_of_a_diffusion_model_on_sudoku(realdata: Path, length: str, published: float, misread: int) -> None:
    """The share of the empty cells that are filled in rightly: the answer's first 16 digits are the grid.

    misread: cells that are right here and not there, where tags and words count as parts of the grid.
    """
    items = _generations(realdata, f"sudoku_instruct_{length}")
    right = empty = 0
    for item in items:
        (puzzle,) = re.findall(r"\d{16}", item["question"])
        grid = re.sub(r"\D", "", answer_section(item["generations"]) or "").ljust(16, "0")
        cells = [place for place, digit in enumerate(puzzle) if digit == "0"]
        empty += len(cells)
        right += sum(grid[place] == item["ground_truth"][place] for place in cells)
    assert len(items) == 256
    assert round(100 * (right - misread) / empty, 2) == published


EQUAL_VALUES = {
    ("15.975", "\\frac{639}{40}"), ("0.25", "\\frac14"), ("1.5", "\\frac{3}{2}"), ("0.09", "\\frac{9}{100}"),
    ("\\frac{3}{24}", "\\frac{1}{8}"), ("\\frac{6}{3}", "2"), ("\\frac{8}{84}", "\\frac{2}{21}"),
    ("\\frac{2240}{78125}", "\\frac{448}{15625}"), ("8/18", "\\frac{4}{9}"), ("36.00", "\\$36"),
    ("58500", "58,500"), ("C", "\\text{(C)}"), ("[-2, 7]", "x \\in [-2,7]"), ("2516", "2516_8"),
    ("8 + 8 + 15 = 31 units", "31"),
}  # fmt: skip
"""Answers that are equal and, by their spelling, graded as wrong."""


def test_accuracy_of_a_diffusion_model_on_math500(realdata: Path) -> None:
    """Graded there by equal spelling: what passes here alone is named, and every one of them is equal."""
    items = _generations(realdata, "math500_instruct_128_64")
    pairs = [(extract_answer(item["generations"]), item["ground_truth"]) for item in items]
    right = [pair for pair in pairs if answers_match(*pair, seconds=PATIENT)]
    equal = {pair for pair in right if pair in EQUAL_VALUES}
    assert equal == EQUAL_VALUES
    assert len(items) == 500
    assert 100 * (len(right) - len(equal)) / len(items) == pytest.approx(26.00, abs=0.2)
