"""Tricks that reinforcement learning finds by itself: none of them is worth more than an honest answer."""

import json

import numpy as np
import pytest

from mmada.demo_scenes import Scene, SceneObject, draw
from mmada.pictures import ObjectSpec, PictureSpec
from mmada.rewards import REWARDS, Response

WEIGHTS = {"correctness": 2.0, "think_format": 0.5}
PROBLEMS = {
    "what is 7 + 4 - 2?": ("7 + 4 = 11, 11 - 2 = 9.", "9"),
    "what is half of 25?": ("25 / 2 = 12.5.", "12.5"),
    "which is larger, 3 or 4? (A) 3 (B) 4": ("4 is larger.", "B"),
    "what is 100 - 1?": ("100 - 1 = 99.", "99"),
}
SPAM = [rf"\boxed{{{value}}}" for value in [*"ABCDE", *range(100)]]


def _text_reward(prompt, completion, reference):
    response = Response("chat", prompt, completion, reference, None)
    return sum(weight * REWARDS[name](response) for name, weight in WEIGHTS.items())


def _honest(prompt):
    thought, answer = PROBLEMS[prompt]
    return f"<think>{thought}</think>{answer}"


CANARIES = {
    "empty": lambda prompt: "",
    "only tags": lambda prompt: "<think></think>",
    "blank": lambda prompt: "<think> </think> ",
    "very long": lambda prompt: "<think>" + "so " * 30_000 + "</think>" + "9 12.5 B 99 " * 5_000,
    "endless thought": lambda prompt: "<think>" + f"{PROBLEMS[prompt][1]} " * 30_000,
    "many thoughts": lambda prompt: f"<think>a</think>{PROBLEMS[prompt][1]}" * 50,
    "boxes": lambda prompt: "".join(SPAM),
    "boxes behind a thought": lambda prompt: "<think>one of these</think>" + " ".join(SPAM),
    "boxes on lines": lambda prompt: "<think>one of these</think>" + "\n\n".join(reversed(SPAM)),
    "list of answers": lambda prompt: "<think>one of these</think>" + ", ".join(a for _, a in PROBLEMS.values()),
    "copied prompt": lambda prompt: prompt,
    "copied prompt in form": lambda prompt: f"<think>{prompt}</think>{prompt}",
}


@pytest.mark.parametrize("name", CANARIES)
def test_tricks_in_text_never_beat_the_honest_answer_and_earn_less_over_all_problems(name):
    earned = []
    for prompt, (_, reference) in PROBLEMS.items():
        assert _text_reward(prompt, _honest(prompt), reference) == 2.5
        earned.append(_text_reward(prompt, CANARIES[name](prompt), reference))
    assert max(earned) <= 2.5
    assert sum(earned) < 2.5 * len(PROBLEMS), earned


def test_an_honest_mistake_in_good_form_earns_more_than_silence():
    prompt = "what is 7 + 4 - 2?"
    wrong = _text_reward(prompt, "<think>7 + 4 = 12, 12 - 2 = 10.</think>10", "9")
    assert _text_reward(prompt, "", "9") < wrong < _text_reward(prompt, _honest(prompt), "9")


def _scene(*things):
    return draw(Scene(tuple(SceneObject(row, column, colour, shape, 0, 0) for row, column, colour, shape in things), 0))


EVERY_CELL = [(row, column, "red", "circle") for row in range(2) for column in range(2)]
PICTURES = {
    "blank": np.full((64, 64, 3), 244, dtype=np.uint8),
    "black": np.zeros((64, 64, 3), dtype=np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8),
    "the object everywhere": _scene(*EVERY_CELL),
    "another object": _scene((0, 0, "blue", "square")),
    "other objects beside it": _scene((0, 0, "red", "circle"), (0, 1, "blue", "square"), (1, 0, "green", "cross")),
}


@pytest.mark.parametrize("name", PICTURES)
def test_tricks_in_pictures_earn_less_than_the_honest_drawing(name):
    spec = PictureSpec("single", (ObjectSpec("circle", 1, "red"),), None)

    def reward(pixels):
        return REWARDS["picture"](Response("t2i", "a red circle", "", json.dumps(spec.to_json()), pixels))

    assert reward(_scene((0, 0, "red", "circle"))) == 1.0
    assert reward(PICTURES[name]) < 1.0
