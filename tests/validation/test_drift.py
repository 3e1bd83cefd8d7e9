"""Versions of one distribution raise next to no alarm, whatever their size; a version that moved is found and named."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mmada.errors import ContractError
from mmada.validation.drift import (
    FALSE_ALARMS,
    Distribution,
    compare_counts,
    profile,
    read_profile,
    shifts,
    write_profile,
)

PAIRS = 200
MAX_SHIFT = 0.03


def version(
    rng: np.random.Generator, rows: int, sources: tuple[float, ...] = (0.5, 0.3, 0.2)
) -> dict[str, pl.DataFrame]:
    """Facts as they come: skewed lengths, mostly zeros, pictures in some rows only, a rare task and rare reasons."""
    has_picture = rng.random(rows) < 0.6

    def of_pictures(values: np.ndarray) -> pl.Series:
        return pl.select(pl.when(pl.Series(has_picture)).then(pl.Series(values))).to_series()

    kept = pl.DataFrame(
        {
            "corpus": rng.choice(["captions", "problems", "questions"], rows, p=sources),
            "task": rng.choice(["chat", "mmu", "t2i", "r2i"], rows, p=(0.4, 0.35, 0.248, 0.002)),
            "answer_correct": rng.choice(["yes", "unchecked"], rows),
            "num_text_tokens": rng.lognormal(3, 0.7, rows).astype(np.int64) + 1,
            "num_thought_words": np.where(rng.random(rows) < 0.5, 0, rng.integers(1, 60, rows)),
            "loop_share": np.where(rng.random(rows) < 0.9, 0.0, rng.random(rows)),
            "psnr": of_pictures(rng.normal(25, 4, rows)),
            "pixel_std": of_pictures(rng.gamma(5, 10, rows)),
            "code_entropy": of_pictures(rng.normal(6, 1, rows)),
        }
    )
    reasons = rng.choice(["", "duplicate_near", "answer_wrong", "thought_loop"], rows, p=(0.9, 0.08, 0.019, 0.001))
    return {"kept": kept, "decided": pl.DataFrame({"reason": reasons})}


def alarms(rng: np.random.Generator, rows: tuple[int, int]) -> int:
    found = 0
    for _ in range(PAIRS // 4):
        moved = shifts(version(rng, rows[1]), profile(version(rng, rows[0])))
        found += bool((moved["shift"] > 0).any())
    return found


def test_versions_of_one_distribution_raise_no_alarm() -> None:
    """Without a limit to the shift, which only makes alarms rarer: 200 pairs of four sizes."""
    rng = np.random.default_rng(20251126)
    found = sum(alarms(rng, rows) for rows in ((300, 300), (1000, 3000), (2000, 700), (2000, 2000)))
    assert found <= 0.01 * PAIRS


def test_the_test_of_one_fact_keeps_its_level() -> None:
    """As many of 2,000 pairs are refused at 5 % as should be (within three standard errors), rare classes included."""
    rng = np.random.default_rng(1)
    shares = np.array([0.5, 0.3, 0.15, 0.049, 0.001])

    def counts(rows: int) -> dict[str, int]:
        return dict(zip("abcde", rng.multinomial(rows, shares).tolist(), strict=True))

    refused = [compare_counts(counts(500), counts(900))[1] < 0.05 for _ in range(2000)]
    assert 0.035 <= np.mean(refused) <= 0.065, np.mean(refused)


@pytest.mark.parametrize("seed", range(10))
def test_a_source_that_grew_by_five_points_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    known = profile(version(rng, 8000))
    moved = shifts(version(rng, 8000, (0.45, 0.35, 0.2)), known)
    by_fact = dict(moved.select("row", "shift").iter_rows())
    assert by_fact["corpus"] > MAX_SHIFT
    assert all(shift <= MAX_SHIFT for fact, shift in by_fact.items() if fact != "corpus")
    told = moved.filter(row="corpus").item(0, "moved")
    assert "problems" in told
    assert "captions" in told


def test_a_shift_that_no_one_would_mind_is_small_among_many_rows() -> None:
    before, now = {"a": 500_000, "b": 500_000}, {"a": 505_000, "b": 495_000}
    distance, p_value = compare_counts(before, now)
    assert p_value < FALSE_ALARMS / 10
    assert distance == pytest.approx(0.005)


def test_longer_texts_are_found_and_told_in_tokens() -> None:
    rng = np.random.default_rng(0)
    known, longer = profile(version(rng, 4000)), version(rng, 4000)
    longer["kept"] = longer["kept"].with_columns(pl.col("num_text_tokens") + 5)
    moved = shifts(longer, known).filter(pl.col("shift") > MAX_SHIFT)
    assert moved["row"].to_list() == ["num_text_tokens"]
    assert "below" in moved.item(0, "moved")


def test_a_profile_survives_its_file(tmp_path: Path) -> None:
    known = profile(version(np.random.default_rng(0), 500))
    write_profile(known, tmp_path / "first.json")
    assert read_profile(tmp_path / "first.json") == known


def test_a_reference_that_nothing_is_compared_with_is_refused() -> None:
    for reference in ({}, {"other": Distribution({"a": 1})}):
        with pytest.raises(ContractError, match="none of the facts"):
            shifts(version(np.random.default_rng(0), 50), reference)


@pytest.mark.parametrize("text", [None, "", "[]", '{"corpus": {"counts": {"a": "many"}}}', '{"corpus": {"count": {}}}'])
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "first.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ContractError, match=r"gate.reference: .*first\.json is no profile of a data version"):
        read_profile(path)
