"""Arithmetic word problems with a thought of several steps, and plain text, for the embedded corpus.

Numbers stand close together in every problem, so that two problems of one story share few word sequences.
"""

import random
from dataclasses import dataclass
from itertools import accumulate

from mmada.demo_language import NAMES, THINGS, is_held_out
from mmada.demo_scenes import random_scene
from mmada.pictures import COLOURS, SHAPES

_LARGEST = 30
_GAINS = ("finds {n} more", "gets {n} more", "buys {n} more", "makes {n} more")
_LOSSES = ("gives away {n}", "loses {n}", "sells {n}", "breaks {n}")


@dataclass(frozen=True)
class Problem:
    """A problem with its steps; `kind` is the number of steps and the way of telling."""

    question: str
    thought: str
    answer: str
    kind: str

    @property
    def response(self) -> str:
        return f"<think>{self.thought}</think>{self.answer}"


def random_problem(rng: random.Random, *, held_out: bool) -> tuple[str, Problem]:
    """(content, problem): the content is the sum itself; it alone decides what is held out."""
    while True:
        start, changes = rng.randint(1, 9), [_change(rng) for _ in range(rng.choice((2, 2, 3)))]
        totals = list(accumulate(changes, initial=start))
        beginnings = [_content(start, changes[:number]) for number in range(2, len(changes) + 1)]
        content = beginnings[-1]
        # A training problem may not hold a whole held-out one as its beginning either.
        chosen = is_held_out(content) if held_out else not any(is_held_out(part) for part in beginnings)
        if min(totals) >= 0 and max(totals) <= _LARGEST and chosen:
            break
    kind, question = rng.choice((_story, _box, _sum))(rng, start, changes)
    thought = "\n".join(str(total) for total in totals)
    return f"{kind} {content}", Problem(question, thought, str(totals[-1]), f"{kind}{len(changes)}")


def _content(start: int, changes: list[int]) -> str:
    return f"{start}{''.join(f'{change:+d}' for change in changes)}"


def _change(rng: random.Random) -> int:
    return rng.choice((-1, 1)) * rng.randint(1, 9)


def _story(rng: random.Random, start: int, changes: list[int]) -> tuple[str, str]:
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    events = [rng.choice(_GAINS if change > 0 else _LOSSES).format(n=abs(change)) for change in changes]
    told = f"{name} has {start} {thing}, {', '.join(events[:-1])} and {events[-1]}."
    return "story", f"{told} how many {thing} are left?"


def _box(rng: random.Random, start: int, changes: list[int]) -> tuple[str, str]:
    thing = f"{rng.choice(list(COLOURS))} {rng.choice(THINGS)}"
    events = [f"we {'put in' if change > 0 else 'take out'} {abs(change)}" for change in changes]
    return "box", f"a box holds {start} {thing}. {', '.join(events[:-1])}, then {events[-1]}. how many now?"


def _sum(rng: random.Random, start: int, changes: list[int]) -> tuple[str, str]:
    terms = "".join(f" {'+' if change > 0 else '-'} {abs(change)}" for change in changes)
    return "sum", rng.choice(("what is {}?", "compute {}.", "how much is {}?")).format(f"{start}{terms}")


def random_text(rng: random.Random) -> str:
    """A short paragraph of three to five sentences about shapes, numbers and people."""
    return " ".join(rng.choice(_SENTENCES)(rng) for _ in range(rng.randint(3, 5)))


def _scene_sentence(rng: random.Random) -> str:
    thing = random_scene(rng).objects[0]
    return rng.choice(("a {0} is at {1}.", "at {1} there is one {0}.", "i see a {0} at {1}.")).format(
        thing.name, thing.place
    )


def _sum_sentence(rng: random.Random) -> str:
    a, b = rng.randint(0, 20), rng.randint(1, 9)
    return rng.choice((f"{a} + {b} = {a + b}.", f"{a + b} - {b} = {a}.", f"{a} and {b} make {a + b}."))


def _order_sentence(rng: random.Random) -> str:
    first, second = sorted(rng.sample(range(4), 2))
    letters, digits = "abcd", "1234"
    return rng.choice(
        (
            f"{letters[first]} is before {letters[second]}, so it is left of it.",
            f"{digits[first]} is before {digits[second]}, so it is above it.",
            f"{letters[second]} is after {letters[first]}, so it is right of it.",
            f"{digits[second]} is after {digits[first]}, so it is below it.",
        )
    )


def _person_sentence(rng: random.Random) -> str:
    n, name, other = rng.randint(2, 9), *rng.sample(NAMES, 2)
    thing, colour, shape = rng.choice(THINGS), rng.choice(list(COLOURS)), rng.choice(SHAPES)
    return rng.choice(
        (
            f"{name} has {n} {thing} and likes the {colour} {shape}.",
            f"{name} gives {other} {n} {thing}.",
            f"{name} and {other} draw a {colour} {shape}.",
        )
    )


_SENTENCES = (_scene_sentence, _sum_sentence, _order_sentence, _person_sentence)
