"""Whatever data says, it stays text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmada.site.html import element, json_block, link, page, picture, slug, table
from tests.site.reading_pages import Page
from tests.site.small_project import HOSTILE, TEXTS


@pytest.mark.parametrize("value", TEXTS)
def test_text_is_read_as_it_was_written_and_adds_no_element(value: str) -> None:
    made = Page(table([value], [[value]]).text)
    assert made.texts.count(value) == 2
    assert {tag for tag, _ in made.elements} == {"div", "table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("value", TEXTS)
def test_attributes_hold_any_text(value: str) -> None:
    for made in (element("p", "x", title=value), link(value, "x"), picture(b"", value)):
        found = Page(made.text)
        assert len(found.elements) == 1
        assert value in found.elements[0][1].values()


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",))))
def test_json_in_a_page_cannot_end_its_script(value: str) -> None:
    found = Page(json_block({"value": value}, "x").text)
    assert [tag for tag, _ in found.elements] == ["script"]
    assert json.loads("".join(found.scripts)) == {"value": value}


@given(st.text())
def test_anchors_need_no_escaping(title: str) -> None:
    assert set(slug(title)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_page_forbids_what_does_not_lie_beside_it() -> None:
    found = Page(page("index", HOSTILE, []))
    policy = next(a["content"] for _, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "http" not in policy
