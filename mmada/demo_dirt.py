"""The defects of real corpora, planted in known numbers into the embedded one.

Every dirty row has exactly one defect, is a row of its own beside the clean ones, and shares its picture
with no other row unless the defect is the sharing. Reasons are named as the drop ledger must name them.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

from mmada.demo_language import Asked, questions
from mmada.demo_problems import Problem
from mmada.demo_rows import (
    Row,
    caption_row,
    drawing_row,
    line,
    png,
    problem_row,
    question_row,
    text_row,
)
from mmada.demo_scenes import Scene
from mmada.pictures import ObjectSpec, PictureSpec

CAPTIONS = "pictures/captions.jsonl"
QUESTIONS = "pictures/questions.jsonl"
DRAWINGS = "pictures/drawings.jsonl"
PROBLEMS = "problems/problems.jsonl"
TEXTS = "text/text.jsonl"
_LONG_ROW_BYTES = 1_500_000
_LOOP_TIMES = 7
_FILLERS = ("well", "ok", "so", "now", "hi")
_WEB_PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>gone</body></html>\n"


@dataclass(frozen=True)
class DirtCounts:
    """Dirty rows of each kind."""

    malformed_json: int
    image_truncated: int
    image_mislabelled: int
    row_too_long: int
    duplicate_exact: int
    duplicate_near: int
    answer_wrong: int
    thought_unclosed: int
    thought_loop: int
    contaminated: int


@dataclass(frozen=True)
class Fresh:
    """Endless clean material that no row uses yet."""

    scenes: Iterator[Scene]
    problems: Iterator[Problem]
    texts: Iterator[str]


@dataclass(frozen=True)
class HeldOut:
    """The evaluation's items, with the thoughts that its files leave out."""

    problems: list[Problem]
    questions: list[tuple[Scene, Asked]]
    prompts: list[tuple[str, PictureSpec]]


@dataclass(frozen=True)
class Planted:
    """The finished files, and for each reason its dirty rows as (file, line from 0)."""

    files: dict[str, bytes]
    rows: dict[str, list[tuple[str, int]]]


@dataclass(frozen=True)
class _Dirty:
    """One dirty row: the bytes of its line, the file, and the picture files that only it uses."""

    reason: str
    file: str
    line: bytes
    pictures: dict[str, bytes]


@dataclass(frozen=True)
class _Source:
    """What a maker of dirt may draw on. `unused` holds clean rows, each to be copied once at most."""

    unused: dict[str, list[Row]]
    fresh: Fresh
    held_out: HeldOut
    rng: random.Random


def plant(
    tables: dict[str, list[Row]], *, dirt: DirtCounts, fresh: Fresh, held_out: HeldOut, rng: random.Random
) -> Planted:
    """Rows of each file with the dirty ones among them, at places drawn from `rng`."""
    unused = {file: rng.sample(rows, len(rows)) for file, rows in tables.items()}
    source = _Source(unused, fresh, held_out, rng)
    dirty = [_MAKERS[field.name](source, index) for field in fields(dirt) for index in range(getattr(dirt, field.name))]
    files: dict[str, bytes] = {}
    rows: dict[str, list[tuple[str, int]]] = {field.name: [] for field in fields(dirt)}
    for one in dirty:
        files |= one.pictures
    for file, clean in tables.items():
        mixed: list[tuple[bytes, str | None]] = [(line(row), None) for row in clean]
        for one in dirty:
            if one.file == file:
                mixed.insert(rng.randint(0, len(mixed)), (one.line, one.reason))
        files[file] = b"".join(data for data, _ in mixed)
        for number, (_, reason) in enumerate(mixed):
            if reason is not None:
                rows[reason].append((file, number))
    return Planted(files, rows)


def _malformed_json(source: _Source, index: int) -> _Dirty:
    file = (PROBLEMS, TEXTS)[index % 2]
    row = problem_row(next(source.fresh.problems)) if file == PROBLEMS else text_row(next(source.fresh.texts))
    whole = line(row)
    cut = source.rng.randint(len(whole) // 3, len(whole) - 4)
    return _Dirty("malformed_json", file, whole[:cut] + b"\n", {})


def _image_truncated(source: _Source, index: int) -> _Dirty:
    whole = png(next(source.fresh.scenes))
    return _broken_picture("image_truncated", f"cut{index:03d}.png", whole[: len(whole) * 6 // 10])


def _image_mislabelled(source: _Source, index: int) -> _Dirty:
    return _broken_picture("image_mislabelled", f"page{index:03d}.png", _WEB_PAGE + b"<!-- %d -->\n" % index)


def _broken_picture(reason: str, name: str, data: bytes) -> _Dirty:
    caption = f"a picture called {name.removesuffix('.png')}"
    spec = PictureSpec("single", (ObjectSpec("circle", 1, None),), None)
    row = caption_row(f"images/{name}", caption, spec)
    return _Dirty(reason, CAPTIONS, line(row), {f"pictures/images/{name}": data})


def _row_too_long(source: _Source, index: int) -> _Dirty:
    words = [str(source.rng.randint(0, 99_999)) for _ in range(_LONG_ROW_BYTES // 6)]
    text = " ".join([next(source.fresh.texts), *words])
    return _Dirty("row_too_long", TEXTS, line(text_row(text.ljust(_LONG_ROW_BYTES, "."))), {})


def _duplicate_exact(source: _Source, index: int) -> _Dirty:
    file = (CAPTIONS, QUESTIONS, DRAWINGS, PROBLEMS, TEXTS)[index % 5]
    return _Dirty("duplicate_exact", file, line(source.unused[file].pop()), {})


def _duplicate_near(source: _Source, index: int) -> _Dirty:
    file, field = ((QUESTIONS, "question"), (PROBLEMS, "question"), (TEXTS, "content"))[index % 3]
    row = source.unused[file].pop()
    return _Dirty("duplicate_near", file, line(row | {field: _reworded(row[field], source.rng)}), {})


def _reworded(text: str, rng: random.Random) -> str:
    """Other letters and marks, the same words but perhaps for one at the beginning of a long text."""
    if len(text.split()) >= 20 and rng.random() < 0.5:
        text = f"{rng.choice(_FILLERS)}, {text}"
    changed = rng.choice((str.title, str.capitalize))(text)  # not all capitals, which cost a token a letter
    return changed.rstrip(".?") + rng.choice(("!", " ?!", " ...", "!!"))


def _answer_wrong(source: _Source, index: int) -> _Dirty:
    if index % 2:
        problem = next(source.fresh.problems)
        wrong = str(int(problem.answer) + source.rng.randint(1, 9))
        return _Dirty("answer_wrong", PROBLEMS, line(problem_row(problem) | {"response": _ending(problem, wrong)}), {})
    scene = next(source.fresh.scenes)
    asked = questions(scene, source.rng)[0]
    wrong = str(int(asked.answer) + source.rng.randint(1, 3))
    name = f"images/wrong{index:03d}.png"
    row = question_row(name, asked) | {"solution": _ending(asked, wrong)}
    return _Dirty("answer_wrong", QUESTIONS, line(row), {f"pictures/{name}": png(scene)})


def _ending(told: Problem | Asked, answer: str) -> str:
    return f"<think>{told.thought}</think>{answer}"


def _thought_unclosed(source: _Source, index: int) -> _Dirty:
    problem = next(source.fresh.problems)
    row = problem_row(problem) | {"response": f"<think>{problem.thought}\n{problem.answer}"}
    return _Dirty("thought_unclosed", PROBLEMS, line(row), {})


def _thought_loop(source: _Source, index: int) -> _Dirty:
    problem = next(source.fresh.problems)
    looped = replace(problem, thought="\n".join([problem.thought] * _LOOP_TIMES))
    return _Dirty("thought_loop", PROBLEMS, line(problem_row(looped)), {})


def _contaminated(source: _Source, index: int) -> _Dirty:
    return (_leaked_problem, _leaked_question, _leaked_prompt)[index % 3](source, index // 3)


def _leaked_problem(source: _Source, index: int) -> _Dirty:
    problem = source.held_out.problems[index % len(source.held_out.problems)]
    row = problem_row(problem) | {"question": _shouted(problem.question, source.rng)}
    return _Dirty("contaminated", PROBLEMS, line(row), {})


def _leaked_question(source: _Source, index: int) -> _Dirty:
    scene, asked = source.held_out.questions[index % len(source.held_out.questions)]
    name = f"images/seen{index:03d}.png"
    return _Dirty("contaminated", QUESTIONS, line(question_row(name, asked)), {f"pictures/{name}": png(scene)})


def _leaked_prompt(source: _Source, index: int) -> _Dirty:
    prompt, spec = source.held_out.prompts[index % len(source.held_out.prompts)]
    scene = next(source.fresh.scenes)
    name = f"images/asked{index:03d}.png"
    row = drawing_row(name, scene, _shouted(prompt, source.rng), spec)
    return _Dirty("contaminated", DRAWINGS, line(row), {f"pictures/{name}": png(scene)})


def _shouted(text: str, rng: random.Random) -> str:
    return rng.choice((str.upper, str.title, str.capitalize))(text.rstrip(".?")) + rng.choice(("", "!", "?"))


_MAKERS: dict[str, Callable[[_Source, int], _Dirty]] = {
    "malformed_json": _malformed_json,
    "image_truncated": _image_truncated,
    "image_mislabelled": _image_mislabelled,
    "row_too_long": _row_too_long,
    "duplicate_exact": _duplicate_exact,
    "duplicate_near": _duplicate_near,
    "answer_wrong": _answer_wrong,
    "thought_unclosed": _thought_unclosed,
    "thought_loop": _thought_loop,
    "contaminated": _contaminated,
}
