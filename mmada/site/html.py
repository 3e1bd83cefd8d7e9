"""Pieces of a page. Everything that comes from data is escaped here and nowhere else."""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

PAGES: Final = {
    "index": "Overview",
    "data": "Data",
    "training": "Training",
    "scores": "Scores",
    "lineage": "Lineage",
}
"""File name -> title, in the order of the navigation."""

# Scripts and styles that lie beside the page, pictures inside it: nothing else can be loaded. (The plotting library
# writes styles into the page.)
_POLICY: Final = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data: blob:"
_SHORT_ID: Final = 12


@dataclass(frozen=True)
class Html:
    """Text that is already safe to put into a page."""

    text: str


Content = Html | str | int | float


@dataclass(frozen=True)
class Section:
    """A titled part of a page; its anchor is made of the title."""

    title: str
    content: Content

    @property
    def anchor(self) -> str:
        """What stands after `#` in links to it."""
        return slug(self.title)


def text(value: Content) -> str:
    """A value as page text: strings escaped, numbers short, `Html` as it is."""
    if isinstance(value, Html):
        return value.text
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return escape(value)


def cut(value: object, longest: int) -> str:
    """The beginning of a text."""
    whole = str(value)
    return whole if len(whole) <= longest else f"{whole[:longest]} ..."


def slug(title: str) -> str:
    """An anchor: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def join(parts: Iterable[Content]) -> Html:
    """Parts one after another."""
    return Html("\n".join(text(part) for part in parts))


def element(tag: str, content: Content, css: str = "", **attributes: str) -> Html:
    """`<tag class=css name=value>content</tag>`."""
    named = {"class": css, **attributes} if css else attributes
    inside = "".join(f' {_attribute(name)}="{escape(value)}"' for name, value in named.items())
    return Html(f"<{tag}{inside}>{text(content)}</{tag}>")


def _attribute(name: str) -> str:
    """A keyword as HTML writes it: data_from is data-from."""
    return name.replace("_", "-")


def link(target: str, content: Content, css: str = "") -> Html:
    """A link to `page.html`, `page.html#anchor` or `#anchor`."""
    return element("a", content, css, href=target)


def identity(id_: str, *, linked: bool = True) -> Html:
    """An output's id, shortened, as a link to its place in the lineage."""
    short = element("span", id_[:_SHORT_ID], "id", title=id_)
    return link(f"lineage.html#{slug(id_)}", short) if linked else short


def table(header: Sequence[str], rows: Iterable[Sequence[Content]], css: str = "") -> Html:
    """A table in a panel; numbers are aligned to the right, text by its own direction."""
    lines = list(rows)
    first = lines[0] if lines else [""] * len(header)
    head = join(_cell("th", name, value) for name, value in zip(header, first, strict=True))
    body = join(element("tr", join(_cell("td", value, value) for value in row)) for row in lines)
    whole = join([element("thead", element("tr", head)), element("tbody", body)])
    return element("div", element("table", whole), f"panel {css}".strip())


def _cell(tag: str, content: Content, value: Content) -> Html:
    """`value` decides the alignment, so that a heading stands over its column."""
    if isinstance(value, int | float):
        return element(tag, content, "number")
    return element(tag, content, dir="auto") if isinstance(value, str) else element(tag, content)


def facts(rows: Iterable[tuple[str, Content]]) -> Html:
    """Names and values below one another."""
    lines = join(element("tr", join([element("th", name), element("td", value)])) for name, value in rows)
    return element("table", lines, "facts")


def cards(values: Iterable[tuple[str, Content]]) -> Html:
    """Large figures with their labels."""
    return element(
        "div",
        join(
            element("div", join([element("div", value, "value"), element("div", label, "label")]), "card")
            for label, value in values
        ),
        "cards",
    )


def picture(png: bytes, alt: str) -> Html:
    """A picture inside the page itself."""
    data = base64.b64encode(png).decode()
    return Html(f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" title="{escape(alt)}">')


def bar(value: float, largest: float) -> Html:
    """A horizontal bar as long as `value` is of `largest`."""
    share = value / largest if largest else 0.0
    return element("div", element("i", "", style=f"width:{100 * share:.1f}%"), "bar")


def folded(summary: Content, content: Content, *, is_open: bool = False) -> Html:
    """Content that a click unfolds."""
    inner = join([element("summary", summary), content])
    return element("details", inner, open="") if is_open else element("details", inner)


def columns(parts: Iterable[Content], css: str = "columns") -> Html:
    """Parts beside one another, as many as there is room for.

    `css`: "columns", "columns thirds" (three on a laptop), "columns pairs" (two on a wide screen).
    """
    return element("div", join(parts), css)


def verdict(correct: bool, yes: str = "right", no: str = "wrong") -> Html:
    """A word in green or red."""
    return element("span", yes, "good") if correct else element("span", no, "bad")


def absent(what: str, command: str) -> Html:
    """A sentence about what is not there, and the command that makes it."""
    return element("p", join([what, "Run", element("code", command)]), "absent")


def more(shown: int, total: int, what: str) -> Html:
    """How many are not shown; nothing when all are."""
    return element("p", f"{total - shown:,} more {what}", "more") if total > shown else Html("")


def json_block(value: object, css: str) -> Html:
    """JSON for a script of the page to read."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return Html(f'<script type="application/json" class="{css}">{body}</script>')


def script_value(name: str, value: object) -> str:
    """A script file that makes a value known to the page's scripts as `window.<name>`."""
    return f"window.{name} = {json.dumps(value, ensure_ascii=False, separators=(',', ':'))};\n"


def page(
    name: str, lead: Content, sections: Sequence[Section], *, intro: Content = "", scripts: Sequence[str] = ()
) -> str:
    """A whole page. `intro` stands above the sections; `scripts` lie beside the page."""
    tabs = join(link(f"{file}.html", title, "here" if file == name else "") for file, title in PAGES.items())
    contents = join(link(f"#{section.anchor}", section.title) for section in sections)
    parts: list[Content] = [element("h1", PAGES[name]), element("p", lead, "lead"), intro]
    parts += [
        element("section", join([element("h2", section.title), section.content]), id=section.anchor)
        for section in sections
    ]
    loaded = "".join(f'<script src="{script}" defer></script>' for script in scripts)
    header = join([element("span", "MMaDA platform", "name"), element("nav", tabs), element("nav", contents, "within")])
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{PAGES[name]} - MMaDA platform</title><link rel="icon" href="data:,">'
        f'<link rel="stylesheet" href="style.css">{loaded}</head><body>'
        f"{element('header', header).text}{element('main', join(parts)).text}"
        "<footer>Made from the files of the project; works without a server and without the internet.</footer>"
        "</body></html>\n"
    )
