"""Declared columns: where values are looked up, and what is no value."""

import json
from pathlib import Path

import pytest

from mmada.sources.columns import find_reference, read_columns
from mmada.sources.picture_files import picture_file
from mmada.sources.raw_files import LocalFile, LocalFolder
from mmada.sources.raw_rows import Defect
from tests.sources.reading_rows import LIMITS


def test_columns_are_keys_places_and_paths_through_both() -> None:
    content = {
        "a.b": "flat",
        "a": {"b": "deep", "c": ["x", {"d": 7}]},
        "meta.json": b'{"caption": "in a tar"}',
    }
    columns = {"prompt": "a.b", "response": "a.c.1.d", "kind": "a.c.0", "reference": "meta.json"}
    fields = read_columns(content, columns, [], LIMITS)
    assert fields == {"prompt": "flat", "response": "7", "kind": "x", "reference": '{"caption": "in a tar"}'}
    assert read_columns({"json": b'{"caption": "c"}'}, {"prompt": "json.caption"}, ["prompt"], LIMITS) == {
        "prompt": "c"
    }
    assert read_columns(["q", "yes", 3], {"prompt": "0", "image": "2"}, [], LIMITS) == {
        "prompt": "q",
        "image": "3",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "missing_field"),
        ({"q": None}, "missing_field"),
        ({"q": ""}, "missing_field"),
        ({"q": ["a"]}, "missing_field"),
        (None, "missing_field"),
        ({"q": b"\xff"}, "invalid_text"),
        ({"q": "\ud800"}, "invalid_text"),
        ({"q": float("nan")}, "invalid_text"),
        ({"q": json.loads("1e999")}, "invalid_text"),
        ({"q": "x" * 3000}, "row_too_long"),
    ],
)
def test_what_is_no_text_is_a_defect(content: object, reason: str) -> None:
    found = read_columns(content, {"prompt": "q"}, ["prompt"], LIMITS)
    assert isinstance(found, Defect)
    assert found.reason == reason


def test_an_optional_field_may_be_absent_but_not_unreadable() -> None:
    assert read_columns({"q": "a"}, {"prompt": "q", "kind": "k"}, ["prompt"], LIMITS) == {"prompt": "a"}
    assert isinstance(read_columns({"q": "a", "k": [1]}, {"prompt": "q", "kind": "k"}, ["prompt"], LIMITS), Defect)


def test_the_reference_is_the_last_match() -> None:
    assert find_reference("1 #### 2\n#### 72 ", "#### (.+)") == "72"
    assert isinstance(find_reference("no mark", "#### (.+)"), Defect)


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "a/../../x", "a\0b"])
def test_picture_names_cannot_lead_out_of_the_corpus(tmp_path: Path, name: str) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "7.png").touch()
    (tmp_path.parent / "x.png").touch()
    folder = LocalFolder(tmp_path)
    assert isinstance(picture_file(folder, "{}", name), Defect)
    assert picture_file(folder, "images/{}.png", "7") == LocalFile(tmp_path, "images/7.png")
