"""Every kind of corruption is found and named, and sound trajectories pass."""

import json
import random
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from mmada.contracts.facts import FACTS
from mmada.cot_dialects import parse_trajectory, unified_response
from mmada.curation.cot_defects import DEFECTS, find_defect
from mmada.curation.cot_facts import text_facts, token_counts
from mmada.curation.select import REASONS, decide
from mmada.demo_problems import random_problem
from mmada.text_tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from tests.conftest import ROOT
from tests.curation.corruptions import CORRUPTIONS, DIALECTS, Row, written
from tests.curation.no_relations import NO_MATCHES, NO_OTHERS, NO_PAIRS

LIMITS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))["selection"] | {
    "max_text_tokens": 10**6
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(["the sum of two numbers"] * 3, folder, vocab_size=400)
    return load_tokenizer(folder)


def demo_rows(count: int, seed: int) -> list[Row]:
    rng = random.Random(seed)
    problems = [random_problem(rng, held_out=False)[1] for _ in range(count)]
    return [Row(problem.question, problem.thought, problem.answer, problem.answer) for problem in problems]


def real_rows(realdata: Path) -> list[Row]:
    """R1 and Sky-T1 trajectories that were graded as right, without their tags."""
    rows = []
    for file in sorted(realdata.glob("long_cot/r1_math_traces/*/solutions.json")):
        problem = json.loads((file.parent / "problem.json").read_text("utf-8"))
        for solution in json.loads(file.read_text("utf-8")):
            if solution["is_correct"]:
                parts = parse_trajectory(solution["solution"])
                rows.append(Row(problem["problem"], parts.thought, parts.answer, problem["gt_answer"]))
    for file in sorted(realdata.glob("long_cot/skythought/*/*.jsonl")):
        for row in map(json.loads, file.read_text("utf-8").splitlines()):
            response, score = (
                value if isinstance(value, (str, bool)) else value[0] for value in (row["code"], row["score"])
            )
            parts = parse_trajectory(response)
            if score and parts.has_thought:
                rows.append(Row(row["question"], parts.thought, parts.answer, str(row["gt"])))
    return rows


def reasons(rows: list[Row], tokenizer: TextTokenizer, seed: int) -> list[str]:
    """What the ledger would say of each row, in a dialect drawn at random where it is not written yet."""
    rng = random.Random(seed)
    table = pl.DataFrame(
        {
            "row_id": [f"{number:06d}" for number in range(len(rows))],
            "task": "chat",
            "prompt": [row.prompt for row in rows],
            "response": [row.response or written(row, rng) for row in rows],
            "reference": [row.reference for row in rows],
            "pixels_sha256": "",
        }
    )
    text = pl.concat([text_facts(table, verify_seconds=20.0), token_counts(table, tokenizer)], how="horizontal")
    facts = text.join(table.select("row_id", "task"), on="row_id").with_columns(
        other_reference=pl.lit(""), text_key="row_id", content_key="row_id", caption_key="row_id"
    )
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in FACTS.items() if name not in facts.columns]
    decided = decide([facts.with_columns(missing)], NO_PAIRS, NO_MATCHES, **NO_OTHERS, **LIMITS)
    return decided.sort("row_id")["reason"].to_list()


def _check_found(rows: list[Row], tokenizer: TextTokenizer) -> None:
    broken, expected = [], []
    for number, (name, (reason, corrupt)) in enumerate(CORRUPTIONS.items()):
        rng = random.Random(number)
        broken += [corrupt(row, rng) for row in rows]
        expected += [(name, reason)] * len(rows)
    found = reasons(broken, tokenizer, seed=5)
    missed = [
        (*expectation, reason, astuple(row))
        for expectation, reason, row in zip(expected, found, broken, strict=True)
        if expectation[1] != reason
    ]
    assert not missed, f"{len(missed)} of {len(broken)}: {missed[:3]}"


def test_every_defect_has_a_corruption() -> None:
    covered = {reason for reason, _ in CORRUPTIONS.values()}
    assert len(CORRUPTIONS) >= 20
    assert set(DEFECTS) <= covered <= set(REASONS)


def test_all_corruptions_of_sound_rows_are_found(tokenizer: TextTokenizer) -> None:
    _check_found(demo_rows(60, seed=11), tokenizer)


def test_ten_thousand_sound_rows_raise_no_alarm(tokenizer: TextTokenizer) -> None:
    rows = demo_rows(10_000, seed=12)
    alarms = [(reason, row) for row, reason in zip(rows, reasons(rows, tokenizer, seed=1), strict=True) if reason]
    assert not alarms, alarms[:5]


@pytest.mark.parametrize(
    "unit",
    [
        "ha",
        "Wait, let me check that again. ",
        "3 + 4 = 7\n",
        "\u6211\u4eec\u518d\u7b97\u4e00\u6b21\u3002",
        "\\boxed{7} ",
    ],
)
def test_a_loop_of_160_000_characters_is_named_soon(tokenizer: TextTokenizer, unit: str) -> None:
    loop = unit * (160_000 // len(unit))
    rows = [Row("What is 3 + 4?", loop, "7", "7"), Row("What is 3 + 4?", "", "", "7", f"<think>{loop}")]
    started = time.process_time()
    assert reasons(rows, tokenizer, seed=1) == ["thought_loop", "thought_unclosed"]
    assert time.process_time() - started < 5


def test_an_absent_response_is_named() -> None:
    table = pl.DataFrame(
        {
            "row_id": "a",
            "task": ["chat", "mmu", "t2i"],
            "prompt": "What?",
            "response": "",
            "reference": ["7", "", ""],
            "pixels_sha256": "",
        }
    )
    facts = text_facts(table, verify_seconds=1.0)
    assert facts["answer_correct"].to_list() == ["missing", "missing", "unchecked"]


def test_all_corruptions_of_real_trajectories_are_found(realdata: Path, tokenizer: TextTokenizer) -> None:
    _check_found(random.Random(3).sample(real_rows(realdata), 8), tokenizer)


def test_real_trajectories_raise_no_alarm(realdata: Path, tokenizer: TextTokenizer) -> None:
    rows = real_rows(realdata)
    assert len(rows) > 150
    alarms = [(reason, row) for row, reason in zip(rows, reasons(rows, tokenizer, seed=2), strict=True) if reason]
    assert not alarms, alarms[:5]


def test_published_trajectories_raise_alarms_only_where_they_are_broken(realdata: Path) -> None:
    """Marco-o1: characters lost to U+FFFD, and answer tags that do not end."""
    rows = json.loads((realdata / "long_cot/marco_o1/CoT_demo.json").read_text("utf-8"))
    found = [(find_defect("chat", row["instruction"], row["response"]), row["response"]) for row in rows]
    for finding, response in found:
        is_broken = "\ufffd" in response or "</Output>" not in response
        assert (finding is not None) == is_broken, finding
    assert sum(finding is not None for finding, _ in found) == 7


def test_published_solutions_raise_no_alarm(realdata: Path) -> None:
    """GSM8K: one of them writes a sum of money with two dollars, as formulas begin."""
    lines = (realdata / "text_math" / "gsm8k_train.jsonl").read_text("utf-8").splitlines()
    found = [find_defect("chat", row["question"], row["answer"]) for row in map(json.loads, lines)]
    assert len(found) == 7473
    assert not any(found)


@pytest.mark.parametrize(
    "text",
    [
        "A set {1, 2} and |x| < 3, so 0 <|x|> 2",
        "It is <s>wrong</s> struck out in HTML.",
        "na\u00efve caf\u00e9, \u00c9cole, \u00e2ge, \u00d1and\u00fa, \u03c0 \u2248 3.14, 90\u00b0, \u20ac5",
        "\u4f60\u597d\uff0c\u4e16\u754c\u3002",
        "\\begin{align} a &= 1 \\\\[2pt] b &= 2 \\end{align}",
        "emoji \U0001f600 and arrows \u2192",
        "\u00ab caf\u00e9\u00a0\u00bb, \u201cl'\u00e9t\u00e9\u2026\u201d",
        "d\u00e9j\u00e0 \u2013 \u00cele, Ma\u00efs\u2122, \u00e9\u00b9\u00b2",
        "cora\u00e7\u00e3o, sm\u00f6rg\u00e5sbord, bl\u00e5b\u00e6r, p\u00ed\u0161e\u0161, \u00ce",
        "<s>old</s> new, array[pad] and [eos]",
        "if a <thing> or <thin b> then a < think of it > b",
        "SHA-256 is e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "/home/User/Projects2024/Sources/MyApplication/Views/Main2Screen/Assets3/Icons",
        "0." + "142857" * 20 + " and " + "ACGT" * 40,
        "\u0420\u043e\u0441\u0441\u0438\u044f, \u0421\u0421\u0421\u0420 and \u0421\u0408, \u1ebf\u0301",
    ],
)
def test_unusual_but_sound_text_passes(text: str) -> None:
    assert find_defect("lm", "", text) is None
    assert find_defect("chat", text, f"<think>{text}.</think>{text}.") is None


@pytest.mark.parametrize(
    "response",
    [
        "<think>I put the result in `<answer>` tags. That is all.</think>The answer is 7.",
        "<think>I put the result in <answer> tags. That is all.</think>The answer is 7.",
        "<think>It begins with `<think>`, I see.</think>Write `<think>` first.",
        "<think>Add them up.</think>The `<output>` element shows a result.",
        "<think>Add them up.</think>Write it so:\n```xml\n<answer>5</answer>\n```",
    ],
)
def test_tags_may_be_spoken_of(response: str) -> None:
    assert find_defect("chat", "How?", response) is None


@pytest.mark.parametrize("prompt", ["<s>What is 3 + 4?</s>", "<s> What is it? </s>\n"])
def test_a_wrapped_prompt_is_a_leak(prompt: str) -> None:
    finding = find_defect("chat", prompt, "<think>I add them up.</think>7")
    assert finding is not None
    assert finding.defect == "special_token_leaked"


def test_a_drawing_task_needs_no_answer_but_a_sound_thought() -> None:
    assert find_defect("r2i", "draw a circle", "<think>a circle at a1</think>") is None
    finding = find_defect("r2i", "draw a circle", "<think>a circle at a1")
    assert finding is not None
    assert finding.defect == "thought_unclosed"


def test_unifying_keeps_thought_answer_and_soundness() -> None:
    rng = random.Random(8)
    for row in demo_rows(200, seed=13):
        for dialect in DIALECTS:
            unified = unified_response(written(row, rng, dialect), with_thought=True)
            assert unified == f"<think>{row.thought}</think>{row.answer}"
            assert find_defect("chat", row.prompt, unified) is None
