"""Copies of pictures are found however they were changed on their way; pictures that only resemble are not merged."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mmada.curation.alike_pictures import alike_candidates, similarities, sketch
from mmada.params_schema import load_params

THRESHOLD = load_params(Path(__file__).parents[2] / "params.yaml").selection.image_near_duplicate


def _pictures(folder: Path) -> list[Image.Image]:
    """Distinct pictures: some files of NLVR hold the same pixels."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".png", ".jpg"})
    pictures = [Image.open(path).convert("RGB") for path in files]
    return list({picture.tobytes(): picture for picture in pictures}.values())


def _scaled(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width * 7 // 10, picture.height * 7 // 10), Image.Resampling.BICUBIC)


def _compressed(picture: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=70)
    return Image.open(stream).convert("RGB")


def _cut(picture: Image.Image) -> Image.Image:
    """A twentieth of each side less."""
    width, height = picture.size
    return picture.crop((round(width * 0.02), round(height * 0.035), round(width * 0.97), round(height * 0.985)))


def _found(pictures: Sequence[Image.Image]) -> set[tuple[int, int]]:
    sketches = np.stack([sketch(np.asarray(picture)) for picture in pictures])
    pairs = alike_candidates(sketches)
    return {(int(left), int(right)) for left, right in pairs[similarities(sketches, pairs) >= THRESHOLD]}


@pytest.mark.parametrize(
    ("folder", "changes"),
    [
        ("coco_ccby", [_scaled, _compressed, _cut]),
        ("easy_vqa_test", [_scaled, _compressed]),
        ("nlvr_dev_sample", [_scaled, _compressed]),
    ],
)
def test_copies_are_found_and_nothing_else(
    realdata: Path, folder: str, changes: list[Callable[[Image.Image], Image.Image]]
) -> None:
    originals = _pictures(realdata / "images" / folder)
    count = len(originals)
    assert not _found(originals), "distinct pictures are merged"
    for change in changes:
        found = _found([*originals, *map(change, originals)])
        copies = {(number, number + count) for number in range(count)}
        assert len(copies & found) >= 0.99 * count, change
        assert len(found - copies) <= 0.001 * count, change


def test_a_moved_shape_is_another_picture() -> None:
    def drawing(left: int) -> Image.Image:
        picture = Image.new("RGB", (64, 64), (240, 230, 200))
        picture.paste((200, 30, 30), (left, 20, left + 16, 36))
        return picture

    assert not _found([drawing(20), drawing(24)])
    assert _found([drawing(20), _compressed(drawing(20))])


def test_another_colour_is_another_drawing() -> None:
    def face(skin: tuple[int, int, int]) -> Image.Image:
        picture = Image.new("RGB", (72, 72), "white")
        ImageDraw.Draw(picture).ellipse((8, 8, 64, 64), fill=skin)
        return picture

    tones = [face(skin) for skin in ((247, 222, 206), (243, 210, 162), (213, 171, 136), (175, 126, 87))]
    assert not _found(tones)
    for change in (_scaled, _compressed, lambda picture: _compressed(_scaled(picture))):
        assert _found([*tones, *map(change, tones)]) == {(number, number + 4) for number in range(4)}
