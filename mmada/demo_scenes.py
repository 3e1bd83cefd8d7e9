"""Scenes of the embedded corpus: one to four coloured shapes on the 2x2 grid of cells, drawn at 64 pixels."""

import random
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from mmada.pictures import CELL, COLOURS, SHAPES, shape_coverage

GRID = 2
"""Cells along each side of a scene."""
MAX_OBJECTS = 4

_GROUNDS: tuple[tuple[int, int, int], ...] = ((244, 244, 240), (238, 243, 248))
_SHIFTED_SHARE = 0.2  # objects that do not sit exactly in the middle of their cell
_COUNT_WEIGHTS = {1: 3, 2: 6, 3: 5, 4: 4}
_UNIFORM_SHARE = 0.35  # scenes of one shape only, which counting needs


@dataclass(frozen=True, order=True)
class SceneObject:
    """One shape; row and column are the cell's, from 0 at the top left; shifts are pixels from its middle."""

    row: int
    column: int
    colour: str
    shape: str
    row_shift: int
    column_shift: int

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def place(self) -> str:
        """Column letter and row number from the top left, like a chess square."""
        return f"{'ab'[self.column]}{self.row + 1}"


@dataclass(frozen=True)
class Scene:
    """Objects in reading order on a ground; no two in one cell."""

    objects: tuple[SceneObject, ...]
    ground: int

    @property
    def content(self) -> str:
        """What is where, without shifts and ground: scenes of equal content differ only in noise."""
        return "; ".join(f"{thing.place}: {thing.name}" for thing in self.objects)


def random_scene(rng: random.Random) -> Scene:
    """A scene of one to four objects; about a third of those with several show one shape only."""
    count = rng.choices(list(_COUNT_WEIGHTS), weights=list(_COUNT_WEIGHTS.values()))[0]
    shape = rng.choice(SHAPES) if rng.random() < _UNIFORM_SHARE else None
    colour = rng.choice(list(COLOURS)) if rng.random() < _UNIFORM_SHARE else None
    cells = rng.sample(range(GRID * GRID), count)
    things = [_random_object(rng, cell, shape, colour if shape else None) for cell in cells]
    return Scene(tuple(sorted(things)), rng.randrange(len(_GROUNDS)))


def _random_object(rng: random.Random, cell: int, shape: str | None, colour: str | None) -> SceneObject:
    shifted = rng.random() < _SHIFTED_SHARE
    return SceneObject(
        row=cell // GRID,
        column=cell % GRID,
        colour=colour or rng.choice(list(COLOURS)),
        shape=shape or rng.choice(SHAPES),
        row_shift=rng.randint(-1, 1) if shifted else 0,
        column_shift=rng.randint(-1, 1) if shifted else 0,
    )


def draw(scene: Scene) -> UInt8[np.ndarray, "64 64 3"]:
    """Pixels of a scene, with antialiased edges."""
    canvas = np.empty((GRID * CELL, GRID * CELL, 3))
    canvas[:] = _GROUNDS[scene.ground]
    for thing in scene.objects:
        rows = slice(thing.row * CELL, (thing.row + 1) * CELL)
        columns = slice(thing.column * CELL, (thing.column + 1) * CELL)
        coverage = shape_coverage(thing.shape, thing.row_shift, thing.column_shift)[..., None]
        canvas[rows, columns] += coverage * (np.array(COLOURS[thing.colour]) - canvas[rows, columns])
    return np.round(canvas).astype(np.uint8)
