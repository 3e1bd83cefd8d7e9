"""What the embedded corpus says: captions, drawing prompts and questions about scenes, word problems, plain
text.

Places are written like chess squares (column letter, row number from the top), so that a thought about a
picture stays short. Held-out items are chosen by a hash of their content, not of their wording, wherever
there is content enough to choose from.
"""

import hashlib
import random
from collections import Counter
from dataclasses import dataclass

from mmada.demo_scenes import Scene, SceneObject
from mmada.pictures import (
    COLOURS,
    SHAPES,
    Category,
    ObjectSpec,
    PictureSpec,
    Relation,
    RelationName,
)

NAMES = ("tom", "ann", "sam", "mia", "ben", "eva", "max", "zoe")
THINGS = ("books", "cups", "pens", "balls", "coins", "cards", "shells", "stamps")
_WORDS = {1: "one", 2: "two", 3: "three", 4: "four"}
QUESTION_KINDS = ("count", "colour", "shape", "position")
_PLURAL_OF_CROSS = "crosses"
_CAPTION_LEADS = ("", "", "a picture of ", "this shows ", "here we see ")
_DRAWING_LEADS = (
    "draw ",
    "please draw ",
    "paint ",
    "show me ",
    "make a picture of ",
    "i want to see ",
    "can you draw ",
)
_ENDINGS = ("", "", " please", " on a plain ground", " in a picture", " for me")
_HELD_OUT_SHARE = 0.15


def is_held_out(content: str) -> bool:
    """Whether items of this content belong to the evaluation, whatever the seed."""
    return hashlib.sha256(f"held out: {content}".encode()).digest()[0] < 256 * _HELD_OUT_SHARE


def _plural(shape: str) -> str:
    return _PLURAL_OF_CROSS if shape == "cross" else f"{shape}s"


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def _noun(wanted: ObjectSpec, rng: random.Random) -> str:
    shape = wanted.shape if wanted.count == 1 else _plural(wanted.shape)
    name = f"{wanted.colour} {shape}" if wanted.colour else shape
    if wanted.count > 1:
        return f"{_WORDS[wanted.count]} {name}"
    return _article(name) if rng.random() < 0.8 else f"one {name}"


def describe(spec: PictureSpec, rng: random.Random) -> str:
    """Words for a specification, without a lead."""
    nouns = [_noun(wanted, rng) for wanted in spec.include]
    if spec.relation is not None:
        return f"{nouns[spec.relation.subject]} {spec.relation.name} {nouns[spec.relation.target]}"
    return " and ".join([", ".join(nouns[:-1]), nouns[-1]] if len(nouns) > 1 else nouns)


def _is_spec_held_out(spec: PictureSpec, prompt: str) -> bool:
    # There are only 4, 12 and 24 contents of these: their wordings are held out instead.
    if spec.category in ("single", "two", "colors"):
        return is_held_out(prompt)
    return is_held_out(str(spec.to_json()))


def drawing_prompt(spec: PictureSpec, rng: random.Random) -> str:
    return rng.choice(_DRAWING_LEADS) + describe(spec, rng) + rng.choice(_ENDINGS)


def random_spec(category: Category, rng: random.Random) -> PictureSpec:
    """A specification of a category, all alternatives equally likely."""
    shapes = rng.sample(SHAPES, 2)
    colours = rng.choices(list(COLOURS), k=2)
    if category == "single":
        return PictureSpec(category, (ObjectSpec(shapes[0], 1, None),), None)
    if category == "colors":
        return PictureSpec(category, (ObjectSpec(shapes[0], 1, colours[0]),), None)
    if category == "counting":
        colour = rng.choice((None, colours[0]))
        return PictureSpec(category, (ObjectSpec(shapes[0], rng.randint(2, 4), colour),), None)
    if category == "two":
        return PictureSpec(category, tuple(ObjectSpec(shape, 1, None) for shape in shapes), None)
    pair = tuple(ObjectSpec(shape, 1, colour) for shape, colour in zip(shapes, colours, strict=True))
    names: tuple[RelationName, ...] = ("left of", "right of", "above", "below")
    relation = Relation(rng.choice(names), 0, 1) if category == "position" else None
    return PictureSpec(category, pair, relation)


def held_out_prompt(category: Category, rng: random.Random) -> tuple[str, PictureSpec]:
    """A held-out prompt of a category."""
    while True:
        spec = random_spec(category, rng)
        prompt = drawing_prompt(spec, rng)
        if _is_spec_held_out(spec, prompt):
            return prompt, spec


def _specs_of(scene: Scene) -> list[PictureSpec]:
    """Specifications that name all objects of a scene and nothing else, most telling first."""
    things, full = scene.objects, _everything(scene)
    shapes = Counter(thing.shape for thing in things)
    bare = tuple(ObjectSpec(shape, count, None) for shape, count in shapes.items())
    if len(things) == 1:
        return [PictureSpec("colors", full, None), PictureSpec("single", bare, None)]
    if len(shapes) == 1 and len(full) == 1:
        return [PictureSpec("counting", full, None), PictureSpec("counting", bare, None)]
    if len(shapes) == 1 and len(things) > 2:
        return [PictureSpec("counting", bare, None)]
    if len(things) == 2 and len(shapes) == 2:
        pair = tuple(ObjectSpec(thing.shape, 1, thing.colour) for thing in things)
        related = [PictureSpec("position", pair, relation) for relation in _relations(things[0], things[1])]
        return [*related, *related, PictureSpec("attribution", pair, None), PictureSpec("two", bare, None)]
    return []


def _everything(scene: Scene) -> tuple[ObjectSpec, ...]:
    groups = Counter((thing.shape, thing.colour) for thing in scene.objects)
    return tuple(ObjectSpec(shape, count, colour) for (shape, colour), count in groups.items())


def _relations(a: SceneObject, b: SceneObject) -> list[Relation]:
    found = []
    if a.column != b.column:
        first, second = (0, 1) if a.column < b.column else (1, 0)
        found += [Relation("left of", first, second), Relation("right of", second, first)]
    if a.row != b.row:
        first, second = (0, 1) if a.row < b.row else (1, 0)
        found += [Relation("above", first, second), Relation("below", second, first)]
    return found


def listing(things: tuple[SceneObject, ...]) -> str:
    """Objects with their places."""
    return ", ".join(f"{thing.name} {thing.place}" for thing in things)


def _groups(scene: Scene) -> str:
    groups = Counter((thing.colour, thing.shape) for thing in scene.objects)
    nouns = [f"{_WORDS[n]} {c} {s if n == 1 else _plural(s)}" for (c, s), n in groups.items()]
    return ", ".join(nouns)


def caption(scene: Scene, rng: random.Random) -> tuple[str, PictureSpec]:
    """A truthful caption that names every object, and what it asks of a picture; never a held-out one."""
    return _about(scene, _CAPTION_LEADS, ("",), rng)


def prompt_for(scene: Scene, rng: random.Random) -> tuple[str, PictureSpec]:
    """A drawing prompt that the scene satisfies, and what it asks for; never a held-out one."""
    return _about(scene, _DRAWING_LEADS, _ENDINGS, rng)


def _about(
    scene: Scene, leads: tuple[str, ...], endings: tuple[str, ...], rng: random.Random
) -> tuple[str, PictureSpec]:
    lead, ending = rng.choice(leads), rng.choice(endings)
    specs = _specs_of(scene)
    if specs and rng.random() < 0.85:
        spec = rng.choice(specs)
        text = lead + describe(spec, rng) + ending
        if not _is_spec_held_out(spec, text):
            return text, spec
    several = len({thing.name for thing in scene.objects}) > 2
    said = _groups(scene) if several and rng.random() < 0.6 else listing(scene.objects)
    return lead + said + ending, PictureSpec("attribution", _everything(scene), None)


@dataclass(frozen=True)
class Asked:
    """A question with the thought that leads to its answer."""

    question: str
    thought: str
    answer: str
    kind: str

    @property
    def solution(self) -> str:
        return f"<think>{self.thought}</think>{self.answer}"


def questions(scene: Scene, rng: random.Random) -> list[Asked]:
    """One question of each kind that the scene allows: count, colour, shape and, of two unlike things,
    position."""
    return [_count(scene, rng), _colour(scene, rng), _shape(scene, rng), *_position(scene, rng)]


def _count(scene: Scene, rng: random.Random) -> Asked:
    thing = rng.choice(scene.objects)
    absent = rng.random() < 0.2
    colour = rng.choice(list(COLOURS)) if absent else thing.colour
    shape = rng.choice(SHAPES) if absent else thing.shape
    what, wanted = rng.choice(
        [
            ("things", scene.objects),
            (_plural(shape), tuple(t for t in scene.objects if t.shape == shape)),
            (f"{colour} things", tuple(t for t in scene.objects if t.colour == colour)),
        ]
    )
    return Asked(f"how many {what} are there?", _found([thing.place for thing in wanted]), str(len(wanted)), "count")


def _found(places: list[str]) -> str:
    """The places in three words or more, so that no thought is shorter than selection asks for."""
    if len(places) < 2:
        return f"only {places[0]} fits" if places else "none of them"
    return (" and " if len(places) == 2 else " ").join(places)


def _colour(scene: Scene, rng: random.Random) -> Asked:
    shapes = Counter(thing.shape for thing in scene.objects)
    thing = rng.choice(scene.objects)
    what = f"the {thing.shape}" if shapes[thing.shape] == 1 else f"the thing at {thing.place}"
    return Asked(f"what colour is {what}?", f"{thing.place}: {thing.name}", thing.colour, "colour")


def _shape(scene: Scene, rng: random.Random) -> Asked:
    colours = Counter(thing.colour for thing in scene.objects)
    thing = rng.choice(scene.objects)
    what = f"the {thing.colour} thing" if colours[thing.colour] == 1 else f"the thing at {thing.place}"
    return Asked(f"what shape is {what}?", f"{thing.place}: {thing.name}", thing.shape, "shape")


def _position(scene: Scene, rng: random.Random) -> list[Asked]:
    names = Counter(thing.name for thing in scene.objects)
    unlike = [thing for thing in scene.objects if names[thing.name] == 1]
    if len(unlike) < 2:
        return []
    a, b = rng.sample(unlike, 2)
    across = a.column != b.column and (a.row == b.row or rng.random() < 0.5)
    if across:
        words, first, second = ("left of", "right of"), a.place[0], b.place[0]
    else:
        words, first, second = ("above", "below"), str(a.row + 1), str(b.row + 1)
    answer = words[0].split()[0] if first < second else words[1].split()[0]
    asked = f"is the {a.name} {words[0].split()[0]} or {words[1]} the {b.name}?"
    return [Asked(asked, f"{a.name} {a.place} {b.name} {b.place}", answer, "position")]
