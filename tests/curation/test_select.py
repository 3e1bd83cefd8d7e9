"""One reason per dropped row; a duplicate's kept twin is itself kept; order of arrival does not matter."""

from typing import Any

import polars as pl
import pytest

from mmada.contracts.facts import (
    BENCHMARK_MATCHES,
    FACTS,
    NEAR_DUPLICATES,
    PICTURE_PAIRS,
    SEMANTIC_KEYS,
    SEMANTIC_PAIRS,
)
from mmada.curation.cot_defects import DEFECTS
from mmada.curation.select import REASONS, decide, kept_rows
from tests.curation.no_relations import NO_OTHERS

LIMITS: dict[str, Any] = {
    "max_text_tokens": 100,
    "min_thought_words": 3,
    "max_loop_share": 0.5,
    "max_prompt_share": 0.8,
    "max_excess_repetition": 1.0,
    "languages": ["en", "zh"],
    "verifiable_only": True,
    "min_pass_rate": 0.2,
    "max_pass_rate": 0.9,
    "max_language_switches": 0,
    "require_correct": True,
    "min_pixel_std": 2.0,
    "min_structure": 0.1,
    "max_lost_share": 0.2,
    "min_image_side": 32,
    "max_image_aspect": 5.0,
    "max_blur": 0.8,
    "score_limits": {"nsfw": {"min": None, "max": 0.5}, "aesthetic": {"min": 4.5, "max": None}},
    "unwanted_personal_data": ("email", "phone"),
    "min_psnr": 10.0,
    "near_duplicate": 0.8,
    "max_rows_per_question": 0,
    "leave_out": (),
    "image_near_duplicate": 0.8,
    "semantic_duplicate": 0.95,
    **NO_OTHERS,
}
GOOD: dict[str, Any] = {
    "corpus": "problems",
    "source_file": "a.jsonl",
    "file_sha256": "f",
    "task": "chat",
    "kind": "",
    "image_sha256": "",
    "caption_key": "",
    "num_text_tokens": 20,
    "num_thought_words": 5,
    "prompt_share": 0.3,
    "defect": "",
    "defect_evidence": "",
    "unverifiable": "",
    "final_answer": "7",
    "answer_correct": "yes",
    "loop_share": 0.0,
    "excess_repetition": 0.0,
    "language": "en",
    "language_switches": 0,
    "psnr": None,
    "pixel_std": None,
    "structure": None,
    "lost_share": None,
    "image_side": None,
    "image_aspect": None,
    "blur": None,
    "scores": [],
    "personal_data": "iban",
    "code_entropy": None,
    "num_trials": 4,
    "pass_rate": 0.5,
    "pass_rate_low": 0.15,
    "pass_rate_high": 0.85,
    "other_reference": "",
}
PICTURE = {
    **{"psnr": 30.0, "pixel_std": 9.0, "structure": 0.5, "lost_share": 0.0},
    **{"image_side": 32, "image_aspect": 5.0, "blur": 0.8},
    "scores": [{"name": "aesthetic", "value": 4.5}, {"name": "nsfw", "value": 0.5}],
}
BAD: dict[str, dict[str, Any]] = {
    **{defect: {"defect": defect, "defect_evidence": "..."} for defect in DEFECTS},
    "thought_short": {"num_thought_words": 2},
    "thought_restates_prompt": {"prompt_share": 0.81},
    "thought_loop": {"loop_share": 0.51},
    "row_too_long": {"num_text_tokens": 101},
    "text_repetitive": {"excess_repetition": 1.01},
    "language_switch": {"language_switches": 1},
    "language_unwanted": {"language": "fr"},
    "reference_contradictory": {"other_reference": "7 | 8"},
    "question_unverifiable": {"unverifiable": "proof"},
    "question_too_hard": {"pass_rate": 0.0, "pass_rate_low": 0.0, "pass_rate_high": 0.19},
    "question_too_easy": {"pass_rate": 1.0, "pass_rate_low": 0.91, "pass_rate_high": 1.0},
    "answer_missing": {"answer_correct": "missing"},
    "answer_wrong": {"answer_correct": "no"},
    "image_flat": PICTURE | {"pixel_std": 1.9},
    "image_noise": PICTURE | {"structure": 0.09},
    "image_broken": PICTURE | {"lost_share": 0.21},
    "image_small": PICTURE | {"image_side": 31},
    "image_elongated": PICTURE | {"image_aspect": 5.1},
    "image_blurred": PICTURE | {"blur": 0.81},
    "image_poor_reconstruction": PICTURE | {"psnr": 9.9},
    "score_out_of_limits": PICTURE | {"scores": [{"name": "aesthetic", "value": 4.4}]},
    "personal_data": {"personal_data": "phone us_social_security"},
}


def _facts(*rows: dict[str, Any]) -> pl.DataFrame:
    filled = [
        GOOD
        | {"row": n, "caption_key": ""}
        | {name: f"{name[0]}{n:02d}" for name in ("row_id", "content_key", "text_key", "question_key")}
        | row
        for n, row in enumerate(rows)
    ]
    return pl.DataFrame(filled, schema=pl.Schema(FACTS))


def _pairs(*pairs: tuple[str, str, float]) -> pl.DataFrame:
    return pl.DataFrame(list(pairs), schema=pl.Schema(NEAR_DUPLICATES), orient="row")


def _matches(*row_ids: str) -> pl.DataFrame:
    found = [(row_id, "held", "i1", "whole", 1.0) for row_id in row_ids]
    return pl.DataFrame(found, schema=pl.Schema(BENCHMARK_MATCHES), orient="row")


def _reasons(decided: pl.DataFrame) -> dict[str, str]:
    return {f"{row_id}/{row}": reason for row_id, row, reason in decided.select("row_id", "row", "reason").iter_rows()}


@pytest.mark.parametrize("reason", sorted(BAD))
def test_each_limit_has_its_reason_and_a_good_row_has_none(reason: str) -> None:
    decided = decide([_facts({}, BAD[reason])], _pairs(), _matches(), **LIMITS)
    assert decided["reason"].to_list() == ["", reason]
    assert kept_rows(decided)["row_id"].to_list() == ["r00"]


def test_the_first_reason_in_the_documented_order_is_given() -> None:
    wrong_in_all: dict[str, Any] = {}
    for reason in reversed([name for name in REASONS if name in BAD]):
        wrong_in_all |= BAD[reason]
        decided = decide([_facts(wrong_in_all)], _pairs(), _matches(), **LIMITS)
        assert decided["reason"].item() == reason
    decided = decide([_facts(wrong_in_all)], _pairs(), _matches("r00"), **LIMITS)
    assert decided["reason"].item() == "contaminated"


def test_plain_text_may_repeat_and_unchecked_answers_pass() -> None:
    facts = _facts({"task": "lm", "loop_share": 0.9}, {"answer_correct": "unchecked"})
    assert decide([facts], _pairs(), _matches(), **LIMITS)["reason"].to_list() == ["", ""]


def test_wrong_answers_pass_when_they_are_asked_for() -> None:
    decided = decide([_facts({"answer_correct": "no"})], _pairs(), _matches(), **(LIMITS | {"require_correct": False}))
    assert decided["reason"].item() == ""


def test_exact_duplicates_leave_one_row_that_names_all_origins() -> None:
    same = {"content_key": "c", "text_key": "t"}
    facts = _facts(same, same | {"row_id": "r00", "corpus": "more"}, same, {})
    decided = decide([facts], _pairs(), _matches(), **LIMITS)
    assert sorted(decided["reason"].to_list()) == ["", "", "duplicate_exact", "duplicate_exact"]
    kept = kept_rows(decided).filter(row_id="r00").row(0, named=True)
    assert [(origin["corpus"], origin["row"]) for origin in kept["origins"]] == [
        ("more", 1),
        ("problems", 0),
        ("problems", 2),
    ]


def test_near_duplicates_keep_a_twin_and_respect_the_threshold() -> None:
    facts = _facts({}, {}, {}, {"text_key": "t00"})
    pairs = _pairs(("t00", "t01", 0.85), ("t01", "t02", 0.9))
    decided = decide([facts], pairs, _matches(), **LIMITS)
    # r01 is like r00; r02 is like r01 only, which is gone; r03 has the words of r00.
    assert decided["reason"].to_list() == ["", "duplicate_near", "", "duplicate_near"]
    assert decided["value"].to_list() == ["", "r00", "", "r00"]
    stricter = decide([facts], pairs, _matches(), **(LIMITS | {"near_duplicate": 0.95}))
    assert stricter["reason"].to_list() == ["", "", "", "duplicate_near"]


def test_the_twin_of_a_dropped_row_stays() -> None:
    wrong = {"answer_correct": "no"}
    decided = decide([_facts(wrong, {})], _pairs(("t00", "t01", 0.9)), _matches(), **LIMITS)
    assert decided["reason"].to_list() == ["answer_wrong", ""]
    same = {"content_key": "c", "text_key": "t"}
    decided = decide([_facts(same, same)], _pairs(), _matches("r00"), **LIMITS)
    assert decided["reason"].to_list() == ["contaminated", ""]


def test_order_of_arrival_does_not_matter() -> None:
    rows = [{}, *BAD.values(), {"content_key": "c00", "text_key": "t00"}, {}, {}]
    facts = _facts(*rows)
    last = len(rows) - 1
    pairs = _pairs((f"t{last - 1}", f"t{last}", 0.9), ("t00", f"t{last}", 0.7))
    expected = _reasons(decide([facts], pairs, _matches("r03"), **LIMITS))
    for seed in range(3):
        shuffled = facts.sample(fraction=1.0, shuffle=True, seed=seed)
        assert _reasons(decide([shuffled], pairs.reverse(), _matches("r03"), **LIMITS)) == expected


@pytest.mark.parametrize("reason", [*sorted(BAD), "contaminated", "duplicate_exact", "duplicate_near"])
def test_a_reason_that_is_left_out_drops_no_row(reason: str) -> None:
    same = {"content_key": "c", "text_key": "t", "row_id": "r00"}
    facts = {"duplicate_exact": _facts(same, same), "duplicate_near": _facts({}, {"text_key": "t00"})}
    given = facts.get(reason, _facts({}, BAD.get(reason, {})))
    limits = LIMITS | {"leave_out": (reason, "duplicate_near") if reason == "duplicate_exact" else (reason,)}
    decided = decide([given], _pairs(), _matches(*["r01"] * (reason == "contaminated")), **limits)
    assert decided["reason"].to_list() == ["", ""]
    kept = kept_rows(decided)
    assert kept.select("row_id", "ordinal").n_unique() == 2


def test_one_text_under_pictures_that_show_the_same_is_kept_once() -> None:
    seen = PICTURE | {"task": "mmu"}
    facts = _facts(
        seen | {"image_sha256": "a", "caption_key": "how many"},
        seen | {"image_sha256": "b", "caption_key": "how many"},
        seen | {"image_sha256": "b", "caption_key": "which colour"},
        seen | {"image_sha256": "c", "caption_key": "how many"},
        seen | {"image_sha256": "d", "caption_key": "how many"},
    )
    alike = [("a", "b", 0.9), ("b", "c", 0.9), ("a", "d", 0.79)]
    pairs = pl.DataFrame(alike, schema=pl.Schema(PICTURE_PAIRS), orient="row")
    decided = decide([facts], _pairs(), _matches(), **(LIMITS | {"picture_pairs": pairs}))
    # The second picture asks something else too; the third is like the second only, which is gone for this question.
    assert decided["reason"].to_list() == ["", "image_near_duplicate", "", "", ""]
    assert decided["value"][1] == "r00"


def test_rows_that_mean_the_same_are_kept_once() -> None:
    facts = _facts({"answer_correct": "no"}, {}, {}, {}, {}, {})
    keys = pl.DataFrame(
        [(f"r{n:02d}", key) for n, key in enumerate("aaabc")], schema=pl.Schema(SEMANTIC_KEYS), orient="row"
    )
    alike = [("a", "b", 0.96), ("a", "c", 0.94)]
    pairs = pl.DataFrame(alike, schema=pl.Schema(SEMANTIC_PAIRS), orient="row")
    limits = LIMITS | {"semantic_keys": keys, "semantic_pairs": pairs}
    decided = decide([facts], _pairs(), _matches(), **limits)
    # The first is wrong anyway, so that the second is kept; the last has no embedding.
    same = "duplicate_semantic"
    assert decided["reason"].to_list() == ["answer_wrong", "", same, same, "", ""]
    assert decided.filter(reason=same)["value"].to_list() == ["r01", "r01"]
    left_out = decide([facts], _pairs(), _matches(), **(limits | {"leave_out": (same,)}))
    assert left_out["reason"].to_list() == ["answer_wrong", "", "", "", "", ""]


def test_no_question_keeps_more_rows_than_wanted() -> None:
    asked = {"question_key": "q"}
    facts = _facts(asked | {"answer_correct": "no"}, asked, asked, {}, asked, asked | {"task": "t2i"})
    decided = decide([facts], _pairs(), _matches(), **(LIMITS | {"max_rows_per_question": 2}))
    # A wrong row takes no place; a drawing task asks no question.
    assert decided["reason"].to_list() == ["answer_wrong", "", "", "", "question_surplus", ""]
    assert decided["value"][4] == "r01"


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        ("loop_share", "thought_loop"),
        ("prompt_share", "thought_restates_prompt"),
        ("excess_repetition", "text_repetitive"),
        ("pixel_std", "image_flat"),
        ("structure", "image_noise"),
        ("lost_share", "image_broken"),
        ("blur", "image_blurred"),
        ("psnr", "image_poor_reconstruction"),
    ],
)
def test_a_fact_that_is_no_number_drops_its_row(fact: str, reason: str) -> None:
    decided = decide([_facts({}, PICTURE | {fact: float("nan")})], _pairs(), _matches(), **LIMITS)
    assert decided["reason"].to_list() == ["", reason]
    assert decided["value"].to_list() == ["", "NaN"]
