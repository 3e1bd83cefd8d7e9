"""The recogniser reads what was drawn, also blurred; rewards follow the clauses of a specification."""

import random

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mmada.demo_scenes import Scene, SceneObject, draw, random_scene
from mmada.pictures import (
    CELL,
    COLOURS,
    SHAPES,
    ObjectSpec,
    PictureSpec,
    Relation,
    picture_is_correct,
    picture_reward,
    recognise,
)


def _read(pixels: np.ndarray) -> set[tuple[str, str, int, int]]:
    return {(o.shape, o.colour, int(o.row // CELL), int(o.column // CELL)) for o in recognise(pixels)}


def _drawn(scene: Scene) -> set[tuple[str, str, int, int]]:
    return {(o.shape, o.colour, o.row, o.column) for o in scene.objects}


def _scene(*things: tuple[str, str, int, int]) -> Scene:
    return Scene(tuple(SceneObject(row, column, colour, shape, 0, 0) for colour, shape, row, column in things), 0)


@pytest.mark.parametrize("blur", [0.0, 1.0, 1.5])
def test_reads_all_objects_and_no_others(blur: float) -> None:
    rng = random.Random(7)
    scenes = [random_scene(rng) for _ in range(200)]
    wrong = total = 0
    for scene in scenes:
        picture = Image.fromarray(draw(scene)).filter(ImageFilter.GaussianBlur(blur))
        wrong += len(_drawn(scene) ^ _read(np.asarray(picture)))
        total += len(scene.objects)
    assert wrong <= 0.005 * total


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_reads_each_thing_in_noise(shape: str, colour: str) -> None:
    pixels = draw(_scene((colour, shape, 1, 0))).astype(float)
    noisy = pixels + np.random.default_rng(0).normal(0.0, 12.0, pixels.shape)
    assert _read(np.clip(noisy, 0, 255).astype(np.uint8)) == {(shape, colour, 1, 0)}


def test_sees_nothing_in_flat_and_random_pictures() -> None:
    assert recognise(np.full((64, 64, 3), 128, dtype=np.uint8)) == []
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert recognise(noise) == []


def test_refuses_pictures_off_the_grid() -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        recognise(np.zeros((60, 64, 3), dtype=np.uint8))


def test_counts_are_exact_and_nothing_else_may_be_there() -> None:
    two_red = PictureSpec("counting", (ObjectSpec("circle", 2, "red"),), None)
    two = [("red", "circle", 0, 0), ("red", "circle", 1, 1)]
    assert picture_is_correct(draw(_scene(*two)), two_red)
    assert picture_reward(draw(_scene(*two, ("blue", "square", 1, 0))), two_red) == pytest.approx(2 / 3)
    assert not picture_is_correct(draw(_scene(*two[:1])), two_red)
    assert not picture_is_correct(draw(_scene(*two, ("red", "circle", 1, 0))), two_red)


def test_partial_credit_grows_with_what_is_right() -> None:
    pair = (ObjectSpec("circle", 1, "red"), ObjectSpec("square", 1, "blue"))
    spec = PictureSpec("position", pair, Relation("left of", 0, 1))
    nothing = draw(_scene(("green", "cross", 0, 0)))
    one = draw(_scene(("red", "circle", 0, 0)))
    swapped = draw(_scene(("red", "circle", 0, 1), ("blue", "square", 0, 0)))
    right = draw(_scene(("red", "circle", 0, 0), ("blue", "square", 1, 1)))
    rewards = [picture_reward(pixels, spec) for pixels in (nothing, one, swapped, right)]
    assert rewards == sorted(set(rewards))
    assert rewards[0] == 0.0
    assert rewards[-1] == 1.0


def test_wrong_colour_is_worth_half() -> None:
    spec = PictureSpec("colors", (ObjectSpec("circle", 1, "red"),), None)
    assert picture_reward(draw(_scene(("blue", "circle", 1, 1))), spec) == 0.5


def test_spec_survives_json_and_refuses_unknown_words() -> None:
    spec = PictureSpec(
        "position", (ObjectSpec("circle", 1, None), ObjectSpec("cross", 1, "red")), Relation("above", 1, 0)
    )
    assert PictureSpec.from_json(spec.to_json()) == spec
    for nothing in ([], [{"shape": "circle", "count": 0, "colour": None}]):
        with pytest.raises(ValueError, match="must be asked for"):
            PictureSpec.from_json(spec.to_json() | {"include": nothing, "relation": None})
    with pytest.raises(ValueError, match="hexagon"):
        PictureSpec.from_json(spec.to_json() | {"include": [{"shape": "hexagon", "count": 1, "colour": None}]})
