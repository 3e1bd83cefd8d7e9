"""Grading, baselines and identities."""

import json

import polars as pl
import pytest

from mmada.demo_scenes import Scene, SceneObject, draw
from mmada.errors import ContractError
from mmada.evaluation.benchmarks import BENCHMARK_KINDS
from mmada.evaluation.benchmarks.kinds import Item, Produced, best_constants
from mmada.evaluation.ceiling import objects_kept
from mmada.evaluation.measured_scores import GRADED_ITEMS, ScoreIdentity, measure
from mmada.evaluation.permutation import partners


def _item(reference: str = "", category: str = "c", spec: str = "") -> Item:
    return Item(f"{reference}{spec}", "prompt", reference, category, spec, "")


def _scene(*things: tuple[str, str]) -> Scene:
    return Scene(tuple(SceneObject(0, n, colour, shape, 0, 0) for n, (colour, shape) in enumerate(things)), 0)


def _spec(shape: str, colour: str | None, count: int = 1) -> str:
    include = [{"shape": shape, "count": count, "colour": colour}]
    return json.dumps({"category": "single", "include": include, "relation": None})


@pytest.mark.parametrize("text", ["7", "<think>3 + 4 = 7</think>7", "The answer is 7.", "\\boxed{7}"])
def test_answers_are_graded_as_curation_and_rewards_do(text: str) -> None:
    for kind in ("reasoning", "vqa"):
        assert BENCHMARK_KINDS[kind].is_correct(_item("7"), Produced(text))
        assert not BENCHMARK_KINDS[kind].is_correct(_item("8"), Produced(text))
    assert not BENCHMARK_KINDS["reasoning"].is_correct(_item("7"), Produced("<think>3 + 4 = 7"))


def test_drawings_are_graded_by_their_specification() -> None:
    kind = BENCHMARK_KINDS["pictures"]
    drawn = Produced("", draw(_scene(("red", "circle"))))
    assert kind.is_correct(_item(spec=_spec("circle", "red")), drawn)
    assert not kind.is_correct(_item(spec=_spec("circle", "blue")), drawn)


def test_the_constant_is_the_most_favourable_one() -> None:
    items = [_item(reference, "a") for reference in ("2", "2 ", "3", "5")] + [_item("yes", "b"), _item("no", "b")]
    nothing = [Produced("")] * len(items)
    assert best_constants(BENCHMARK_KINDS["reasoning"], items, nothing) == {"a": 2, "b": 1}
    specs = [_spec("circle", "red"), _spec("circle", None), _spec("square", None)]
    one, more = draw(_scene(("red", "circle"))), draw(_scene(("red", "circle"), ("blue", "square")))
    drawn = [Produced("", pixels) for pixels in (one, more, more)]
    constants = best_constants(BENCHMARK_KINDS["pictures"], [_item(spec=spec) for spec in specs], drawn)
    assert constants == {"c": 2}  # the first drawing is what two ask for, the second is what nobody asks for


def test_partners_permute_within_categories_without_fixed_points() -> None:
    ids = [f"item{n}" for n in range(21)]
    categories = ["a" if n % 3 else "b" for n in range(20)] + ["alone"]
    partner = partners(ids, categories, ids, seed=1)
    assert sorted(partner) == list(range(21))
    assert [categories[place] for place in partner] == categories
    assert [place for place in range(21) if partner[place] == place] == [20]
    assert partners(ids, categories, ids, seed=2) != partner


def test_a_partner_shows_another_picture() -> None:
    ids = [f"item{n}" for n in range(48)]
    pictures = [f"picture{n // 8}" for n in range(48)]
    for seed in range(5):
        partner = partners(ids, [""] * 48, pictures, seed=seed)
        assert sorted(partner) == list(range(48))
        assert all(pictures[place] != pictures[partner[place]] for place in range(48))
    mostly = ["same"] * 30 + pictures[30:]
    kept = [
        place for place, other in enumerate(partners(ids, [""] * 48, mostly, seed=1)) if mostly[place] == mostly[other]
    ]
    assert len(kept) == 30 - 18


def test_a_score_needs_all_four_parts_of_its_identity() -> None:
    parts = {"model": "m", "items": "i", "verifier": "v", "decoding": "d"}
    for name in parts:
        with pytest.raises(ContractError, match=name):
            ScoreIdentity(**{**parts, name: ""})
        assert ScoreIdentity(**{**parts, name: "other"}).id != ScoreIdentity(**parts).id


def test_categories_add_up_to_the_whole() -> None:
    rows = [(str(n), "ab"[n % 2], "q", "a", "", "", b"", n < 4, n < 2) for n in range(10)]
    graded = pl.DataFrame(rows, schema=pl.Schema(GRADED_ITEMS), orient="row")
    score = measure(ScoreIdentity("m", "i", "v", "d"), "vqa", graded, {"a": 3, "b": 1})
    assert (score.overall.correct, score.permuted.correct, score.constant.correct) == (4, 2, 4)
    assert {name: shares[0].n for name, shares in score.categories.items()} == {"a": 5, "b": 5}


def test_the_ceiling_counts_objects_that_are_still_read() -> None:
    whole = draw(_scene(("red", "circle"), ("blue", "square")))
    half = draw(_scene(("red", "circle")))
    assert objects_kept([(whole, whole)]).to_json()["share"] == 1.0
    found = objects_kept([(whole, half), (whole, whole)])
    assert (found.correct, found.n) == (3, 4)
