"""Two pictures are compared once for good, and a collection that has grown gives what a rebuild gives."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmada.curation import near_pictures as module
from mmada.curation.alike_pictures import Pairs, Sketches, similarities, sketch
from mmada.curation.near_pictures import SKETCHES, near_pictures
from mmada.unit_store import UnitStore

FLOOR = 0.8


def _photograph(seed: int) -> Image.Image:
    """Patches of random colours: textured, and unlike any other."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((96, 96), Image.Resampling.NEAREST)


def _scaled(picture: Image.Image) -> Image.Image:
    return picture.resize((72, 72), Image.Resampling.BICUBIC)


def _sketches(pictures: list[Image.Image], *, suffix: str = "") -> pl.DataFrame:
    """SKETCHES of files; equal pixels and another suffix make another file."""
    rows = []
    for picture in pictures:
        pixels = hashlib.sha256(picture.tobytes()).hexdigest()
        data = sketch(np.asarray(picture)).tobytes()
        rows.append({"image_sha256": f"file {pixels}{suffix}", "pixels_sha256": pixels, "sketch": data})
    return pl.DataFrame(rows, schema=pl.Schema(SKETCHES))


def test_pictures_that_are_added_are_compared_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    originals = [_photograph(seed) for seed in range(6)]
    sketches = _sketches([*originals, *map(_scaled, originals[:3])])
    compared: list[int] = []

    def counted(sketches: Sketches, pairs: Pairs) -> NDArray[np.float64]:
        compared.append(len(pairs))
        return similarities(sketches, pairs)

    monkeypatch.setattr(module, "similarities", counted)
    store = UnitStore(tmp_path / "units")
    first = near_pictures(sketches, floor=FLOOR, store=store)
    assert first.height == 3
    assert (first["image_sha256"] < first["twin"]).all()
    before = sum(compared)
    assert before >= 3
    assert near_pictures(sketches, floor=FLOOR, store=store).equals(first)
    assert sum(compared) == before, "compared again"
    sketches = pl.concat([sketches, _sketches([_scaled(originals[3])])])
    grown = near_pictures(sketches, floor=FLOOR, store=store)
    assert grown.height == 4
    assert sum(compared) - before <= len(originals) + 3, "pairs of two earlier pictures are compared again"
    assert near_pictures(sketches, floor=FLOOR, store=UnitStore(tmp_path / "others")).equals(grown)
    floors = grown.filter(pl.col("similarity") >= 0.99)
    assert near_pictures(sketches, floor=0.99, store=store).equals(floors), "the floor is no part of what is kept"


def test_pictures_of_equal_pixels_are_named_each(tmp_path: Path) -> None:
    picture = _photograph(1)
    sketches = pl.concat([_sketches([picture, _scaled(picture)]), _sketches([picture], suffix="b")])
    found = near_pictures(sketches, floor=FLOOR, store=UnitStore(tmp_path / "units"))
    names = sketches["image_sha256"].to_list()
    expected = {tuple(sorted((name, names[1]))) for name in (names[0], names[2])}
    assert set(found.select("image_sha256", "twin").iter_rows()) == expected


def test_no_pictures_give_no_pairs(tmp_path: Path) -> None:
    assert near_pictures(_sketches([]), floor=FLOOR, store=UnitStore(tmp_path / "units")).is_empty()
