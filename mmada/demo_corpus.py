"""The embedded corpus: scenes with captions, questions and drawing prompts, word problems, plain text, a
held-out split.

Everything follows from a seed, byte for byte. Dirt is planted in known numbers by `demo_dirt` and listed in
planted.json.

    pictures/images/*.png  pictures/captions.jsonl  pictures/questions.jsonl  pictures/drawings.jsonl
    problems/problems.jsonl  text/text.jsonl  planted.json
    heldout/problems.jsonl  heldout/questions.jsonl  heldout/images/*.png  heldout/prompts.jsonl
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mmada.demo_dirt import DirtCounts, Fresh, HeldOut, plant
from mmada.demo_language import (
    QUESTION_KINDS,
    Asked,
    caption,
    held_out_prompt,
    is_held_out,
    prompt_for,
    questions,
)
from mmada.demo_problems import random_problem, random_text
from mmada.demo_rows import caption_row, drawing_row, jsonl, png, problem_row, question_row, text_row
from mmada.demo_scenes import Scene, random_scene
from mmada.errors import ParamsError
from mmada.pictures import CATEGORIES, PictureSpec

__all__ = ["CorpusSizes", "DirtCounts", "make_corpus"]

_MOST_REPEATS = 10_000
"""Draws in a row that may bring nothing new before there is taken to be no more."""

T = TypeVar("T")


@dataclass(frozen=True)
class CorpusSizes:
    """Clean rows of each kind. At most three questions and one drawing come from a picture."""

    pictures: int
    questions: int
    drawings: int
    problems: int
    texts: int
    heldout_problems: int
    heldout_questions: int
    heldout_prompts: int

    def __post_init__(self) -> None:
        if self.questions > 3 * self.pictures or self.drawings > self.pictures:
            raise ParamsError(
                f"counts: {self.questions} questions and {self.drawings} drawings need more than "
                f"{self.pictures} pictures; at most three questions and one drawing come from a picture"
            )


def make_corpus(out: Path, *, seed: int, sizes: CorpusSizes, dirt: DirtCounts) -> None:
    """Write the whole corpus below `out`, a fresh folder. Equal arguments give equal bytes."""
    held_out, files = _held_out(seed, sizes)
    scenes = _scenes(random.Random(f"scenes {seed}"), held_out=False)
    problem_rng, text_rng = random.Random(f"problems {seed}"), random.Random(f"texts {seed}")
    problems = _distinct("word problems", lambda: random_problem(problem_rng, held_out=False))
    texts = _distinct("texts", lambda: (text := random_text(text_rng), text))
    rng = random.Random(f"rows {seed}")
    pictures = {f"{index:05d}.png": next(scenes) for index in range(sizes.pictures)}
    tables = {
        "pictures/captions.jsonl": [
            caption_row(f"images/{name}", *caption(scene, rng)) for name, scene in pictures.items()
        ],
        "pictures/questions.jsonl": _question_rows(rng, pictures, sizes.questions),
        "pictures/drawings.jsonl": [
            drawing_row(f"images/{name}", scene, *prompt_for(scene, rng))
            for name, scene in rng.sample(list(pictures.items()), sizes.drawings)
        ],
        "problems/problems.jsonl": [problem_row(next(problems)) for _ in range(sizes.problems)],
        "text/text.jsonl": [text_row(next(texts)) for _ in range(sizes.texts)],
    }
    files |= {f"pictures/images/{name}": png(scene) for name, scene in pictures.items()}
    planted = plant(
        tables,
        dirt=dirt,
        fresh=Fresh(scenes, problems, texts),
        held_out=held_out,
        rng=random.Random(f"dirt {seed}"),
    )
    listed = {reason: {"count": len(rows), "rows": rows} for reason, rows in planted.rows.items()}
    _write_files(out, files | planted.files | {"planted.json": (json.dumps(listed, indent=1) + "\n").encode()})


def _write_files(out: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _distinct(what: str, draw_one: Callable[[], tuple[Any, T]]) -> Iterator[T]:
    """Items with keys not seen before. Raises ParamsError when there are no more."""
    seen = set()
    repeats = 0
    while True:
        key, item = draw_one()
        if key not in seen:
            seen.add(key)
            repeats = 0
            yield item
        elif (repeats := repeats + 1) > _MOST_REPEATS:
            raise ParamsError(
                f"demo_corpora: after {len(seen)} different {what}, {_MOST_REPEATS:,} more draws brought no new one; "
                "lower that number in `counts`"
            )


def _scenes(rng: random.Random, *, held_out: bool) -> Iterator[Scene]:
    def draw_one() -> tuple[Scene, Scene]:
        while True:
            scene = random_scene(rng)
            if is_held_out(scene.content) == held_out:
                return scene, scene

    return _distinct("scenes", draw_one)


def _question_rows(rng: random.Random, pictures: dict[str, Scene], number: int) -> list[dict[str, Any]]:
    """Three questions of different kinds about each picture, until there are enough."""
    rows: list[dict[str, Any]] = []
    for name, scene in pictures.items():
        asked = questions(scene, rng)
        rows += [question_row(f"images/{name}", one) for one in rng.sample(asked, min(3, number - len(rows)))]
    return rows


def _held_out(seed: int, sizes: CorpusSizes) -> tuple[HeldOut, dict[str, bytes]]:
    """The evaluation's items, and their files below heldout/."""
    rng = random.Random(f"held out {seed}")
    problem_source = _distinct("held-out word problems", lambda: random_problem(rng, held_out=True))
    problems = [next(problem_source) for _ in range(sizes.heldout_problems)]
    asked = _held_out_questions(rng, _scenes(rng, held_out=True), sizes.heldout_questions)
    prompts = _held_out_prompts(rng, sizes.heldout_prompts)
    files = {f"heldout/images/{index:05d}.png": png(scene) for index, (scene, _) in enumerate(asked)}
    files["heldout/problems.jsonl"] = jsonl(
        {"question": problem.question, "answer": problem.answer, "kind": problem.kind} for problem in problems
    )
    files["heldout/questions.jsonl"] = jsonl(
        {"image": f"images/{index:05d}.png", "question": one.question, "answer": one.answer, "kind": one.kind}
        for index, (_, one) in enumerate(asked)
    )
    files["heldout/prompts.jsonl"] = jsonl(
        {"prompt": prompt, "category": spec.category, "spec": spec.to_json()} for prompt, spec in prompts
    )
    return HeldOut(problems, asked, prompts), files


def _held_out_questions(rng: random.Random, scenes: Iterator[Scene], number: int) -> list[tuple[Scene, Asked]]:
    """One question of each scene, the kinds in turn."""
    chosen: list[tuple[Scene, Asked]] = []
    while len(chosen) < number:
        scene = next(scenes)
        wanted = QUESTION_KINDS[len(chosen) % len(QUESTION_KINDS)]
        chosen += [(scene, one) for one in questions(scene, rng) if one.kind == wanted]
    return chosen


def _held_out_prompts(rng: random.Random, number: int) -> list[tuple[str, PictureSpec]]:
    """Different prompts for drawings, the categories in turn."""
    chosen: list[tuple[str, PictureSpec]] = []

    def draw_one() -> tuple[str, tuple[str, PictureSpec]]:
        prompt, spec = held_out_prompt(CATEGORIES[len(chosen) % len(CATEGORIES)], rng)
        return prompt, (prompt, spec)

    source = _distinct("prompts for drawings", draw_one)
    while len(chosen) < number:
        chosen.append(next(source))
    return chosen
