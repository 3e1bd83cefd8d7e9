"""What a picture shows, and whether it is the picture that was asked for.

One meaning of "correct picture" for rewards and evaluation. Pictures are grids of 32-pixel cells on a plain
light ground; a cell is empty or holds one coloured shape. The recogniser compares each cell with the drawn
shapes themselves, so it also reads pictures that an image tokenizer has blurred.

Legend of shapes: H W height and width in pixels, G cells of a picture, K drawn templates, P pixels of a cell.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from jaxtyping import Float, UInt8

CELL = 32
"""Side of a cell in pixels."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (200, 10, 40),
    "green": (20, 150, 60),
    "blue": (20, 60, 230),
    "yellow": (250, 235, 40),
    "purple": (165, 30, 175),
    "orange": (255, 125, 0),
}
SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "cross")

Category = Literal["single", "two", "counting", "colors", "position", "attribution"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
RelationName = Literal["left of", "right of", "above", "below"]
RELATIONS: tuple[RelationName, ...] = get_args(RelationName)

T = TypeVar("T")

_OVERSAMPLING = 8
_HALF_SIZE = 13.0
_ARM = 4.5  # half the width of a cross's arms
_MIN_AREA = 100.0  # pixels; the smallest drawn shape covers 338
_BLURS = (0.0, 1.5, 3.0)  # standard deviations in pixels; what tokenizers do to edges
_MIN_LIKENESS = 0.8  # cosine with the best template
_MAX_COLOUR_DISTANCE = 90.0  # in RGB; the closest two palette entries are 117 apart
_MAX_SHIFT = 2


@dataclass(frozen=True)
class DetectedObject:
    """A recognised object; row and column are the centre in pixels from the top left."""

    shape: str
    colour: str
    row: float
    column: float


@dataclass(frozen=True)
class ObjectSpec:
    """`count` objects of one shape, of one colour unless `colour` is None."""

    shape: str
    count: int
    colour: str | None


@dataclass(frozen=True)
class Relation:
    """Where the object of include[subject] lies as seen from that of include[target]."""

    name: RelationName
    subject: int
    target: int


@dataclass(frozen=True)
class PictureSpec:
    """What a drawing prompt asks for, in the categories of GenEval."""

    category: Category
    include: tuple[ObjectSpec, ...]
    relation: Relation | None

    def to_json(self) -> dict[str, Any]:
        relation = None
        if self.relation is not None:
            relation = {
                "name": self.relation.name,
                "subject": self.relation.subject,
                "target": self.relation.target,
            }
        include = [{"shape": o.shape, "count": o.count, "colour": o.colour} for o in self.include]
        return {"category": self.category, "include": include, "relation": relation}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "PictureSpec":
        """Inverse of to_json; raises ValueError on unknown words and where nothing is asked for, KeyError on missing
        fields.
        """
        include = tuple(ObjectSpec(o["shape"], int(o["count"]), o["colour"]) for o in data["include"])
        if not include or min(wanted.count for wanted in include) < 1:
            raise ValueError("one object or more, each once at least, must be asked for")
        for wanted in include:
            _one_of(wanted.shape, SHAPES)
            _one_of(wanted.colour, (None, *COLOURS))
        relation = None
        if data["relation"] is not None:
            r = data["relation"]
            relation = Relation(_one_of(r["name"], RELATIONS), int(r["subject"]), int(r["target"]))
            if not {relation.subject, relation.target} <= set(range(len(include))):
                raise ValueError(f"relation {r} points outside the {len(include)} included objects")
        return cls(_one_of(data["category"], CATEGORIES), include, relation)


def _one_of(value: Any, allowed: tuple[T, ...]) -> T:
    if value not in allowed:
        raise ValueError(f"{value!r} is not one of {list(allowed)}")
    return allowed[allowed.index(value)]


@cache
def shape_coverage(shape: str, row_shift: int, column_shift: int) -> Float[np.ndarray, "C C"]:
    """Coverage in [0, 1] of each pixel of a cell by a shape moved by whole pixels from the cell's centre."""
    steps = (np.arange(CELL * _OVERSAMPLING) + 0.5) / _OVERSAMPLING - CELL / 2
    y = steps[:, None] - row_shift
    x = steps[None, :] - column_shift
    inside = {
        "circle": x**2 + y**2 <= _HALF_SIZE**2,
        "square": np.maximum(abs(x), abs(y)) <= _HALF_SIZE,
        "triangle": (y <= _HALF_SIZE) & (abs(x) <= (y + _HALF_SIZE) / 2.0),
        "cross": (np.minimum(abs(x), abs(y)) <= _ARM) & (np.maximum(abs(x), abs(y)) <= _HALF_SIZE),
    }[shape]
    fine = inside.reshape(CELL, _OVERSAMPLING, CELL, _OVERSAMPLING)
    coverage: np.ndarray[Any, np.dtype[np.float64]] = fine.mean(axis=(1, 3))
    coverage.setflags(write=False)
    return coverage


@cache
def _templates() -> tuple[list[tuple[str, int, int]], Float[np.ndarray, "K P"]]:
    shifts = range(-_MAX_SHIFT, _MAX_SHIFT + 1)
    keys = [(shape, dy, dx) for shape in SHAPES for dy in shifts for dx in shifts]
    blurred = [_blurred(shape_coverage(*key), blur).reshape(-1) for blur in _BLURS for key in keys]
    templates = np.stack(blurred)
    return keys * len(_BLURS), templates / np.linalg.norm(templates, axis=1, keepdims=True)


def _blurred(coverage: Float[np.ndarray, "C C"], blur: float) -> Float[np.ndarray, "C C"]:
    distance = np.arange(CELL)[:, None] - np.arange(CELL)[None, :]
    kernel = np.exp(-0.5 * (distance / max(blur, 1e-3)) ** 2) / (max(blur, 0.4) * np.sqrt(2.0 * np.pi))
    return np.asarray(kernel @ coverage @ kernel.T)


def recognise(pixels: UInt8[np.ndarray, "H W 3"]) -> list[DetectedObject]:
    """The objects of a picture, cell by cell in reading order.

    A cell counts as an object when enough of it differs from the ground, the colour is near one of the
    palette, and the covered area is like a drawn shape. Raises ValueError when a side is not a multiple of
    the cell.
    """
    height, width = pixels.shape[:2]
    if height % CELL or width % CELL or not pixels.size:
        raise ValueError(f"picture of {height}x{width} pixels: sides must be positive multiples of {CELL}")
    rows, columns = height // CELL, width // CELL
    cells = pixels.reshape(rows, CELL, columns, CELL, 3).swapaxes(1, 2).reshape(rows * columns, CELL, CELL, 3)
    cells = cells.astype(np.float64)
    ground = _ground(cells)
    difference = (cells - ground).reshape(rows * columns, CELL * CELL, 3)
    found = []
    for index, cell in enumerate(difference):
        read = _read_cell(cell, ground)
        if read is not None:
            shape, colour, row, column = read
            found.append(DetectedObject(shape, colour, index // columns * CELL + row, index % columns * CELL + column))
    return found


def _ground(cells: Float[np.ndarray, "G C C 3"]) -> Float[np.ndarray, "3"]:
    """Colour of the ground: the median of the cells' outermost pixels, which objects do not reach."""
    rim = np.ones((CELL, CELL), dtype=bool)
    rim[1:-1, 1:-1] = False
    return np.asarray(np.median(cells[:, rim].reshape(-1, 3), axis=0))


def _read_cell(
    difference: Float[np.ndarray, "P 3"], ground: Float[np.ndarray, "3"]
) -> tuple[str, str, float, float] | None:
    strength = np.sqrt((difference**2).sum(axis=1))
    if strength.max() < 60.0:
        return None
    # The object's inside, where blurred edges do not mix the ground in.
    core = difference[strength >= 0.75 * np.quantile(strength, 0.9)].mean(axis=0) + ground
    colour = min(COLOURS, key=lambda name: float(((core - np.array(COLOURS[name])) ** 2).sum()))
    axis = np.array(COLOURS[colour]) - ground
    if np.sqrt(((core - ground - axis) ** 2).sum()) > _MAX_COLOUR_DISTANCE:
        return None
    coverage = np.clip(difference @ axis / (axis @ axis), 0.0, 1.0)
    if coverage.sum() < _MIN_AREA:
        return None
    keys, templates = _templates()
    likeness = templates @ coverage / np.linalg.norm(coverage)
    best = int(likeness.argmax())
    if likeness[best] < _MIN_LIKENESS:
        return None
    shape, row_shift, column_shift = keys[best]
    return shape, colour, CELL / 2 + row_shift, CELL / 2 + column_shift


def picture_is_correct(pixels: UInt8[np.ndarray, "H W 3"], spec: PictureSpec) -> bool:
    """Whether the picture shows what the specification asks for, and nothing else (see picture_reward)."""
    return picture_reward(pixels, spec) == 1.0


def picture_reward(pixels: UInt8[np.ndarray, "H W 3"], spec: PictureSpec) -> float:
    """Mean over the clauses of a specification, each in [0, 1], less where there are more objects than were asked for;
    1 only if all clauses hold and nothing else is in the picture.

    A clause for each included object: exactly that many in the picture (one too many fails as one too few
    does). A clause for the relation, if there is one: some pair satisfies it. GenEval ignores objects that no clause
    names, since a photograph may hold anything; on a plain ground one picture of all shapes would be right for most
    prompts.
    """
    return spec_score(recognise(pixels), spec)


def spec_score(found: list[DetectedObject], spec: PictureSpec) -> float:
    """`picture_reward` of a picture that has been recognised."""
    scores = [_count_score(found, wanted) for wanted in spec.include]
    if spec.relation is not None:
        scores.append(_relation_score(found, spec.include, spec.relation))
    asked = sum(wanted.count for wanted in spec.include)
    return sum(scores) / len(scores) * asked / max(asked, len(found))


def _matches(thing: DetectedObject, wanted: ObjectSpec) -> bool:
    return thing.shape == wanted.shape and wanted.colour in (None, thing.colour)


def _count_score(found: list[DetectedObject], wanted: ObjectSpec) -> float:
    """1 for the exact count, falling linearly; half of that for the right shapes in other colours."""
    exact = _closeness(sum(_matches(thing, wanted) for thing in found), wanted.count)
    if wanted.colour is None or exact == 1.0:
        return exact
    of_shape = _closeness(sum(thing.shape == wanted.shape for thing in found), wanted.count)
    return max(exact, 0.5 * of_shape)


def _closeness(found: int, wanted: int) -> float:
    return max(0.0, 1.0 - abs(found - wanted) / wanted)


def _relation_score(found: list[DetectedObject], include: tuple[ObjectSpec, ...], relation: Relation) -> float:
    subjects = [thing for thing in found if _matches(thing, include[relation.subject])]
    targets = [thing for thing in found if _matches(thing, include[relation.target])]
    return float(any(holds(relation.name, a, b) for a in subjects for b in targets if a != b))


def holds(name: RelationName, subject: DetectedObject, target: DetectedObject) -> bool:
    """Whether the centre of `subject` lies at least half a cell to the named side of the centre of
    `target`."""
    right = subject.column - target.column
    down = subject.row - target.row
    return {"left of": -right, "right of": right, "above": -down, "below": down}[name] >= CELL / 2
