"""Pieces of a page. Everything that comes from data is escaped here and nowhere else."""

import base64
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


@dataclass(frozen=True)
class Html:
    """Text that is already safe to put into a page."""

    text: str


Content = Html | str | int | float


def text(value: Content) -> str:
    """A value as page text: strings escaped, numbers short, `Html` as it is."""
    if isinstance(value, Html):
        return value.text
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return escape(value)


def join(parts: Iterable[Content]) -> Html:
    """Parts one after another."""
    return Html("\n".join(text(part) for part in parts))


def element(tag: str, content: Content, css: str = "") -> Html:
    """`<tag class=css>content</tag>`."""
    attribute = f' class="{css}"' if css else ""
    return Html(f"<{tag}{attribute}>{text(content)}</{tag}>")


def table(header: Sequence[str], rows: Iterable[Sequence[Content]]) -> Html:
    """A table in a panel; numbers are aligned to the right."""
    lines = list(rows)
    first = lines[0] if lines else [""] * len(header)
    head = "".join(f"<th{_alignment(value)}>{escape(name)}</th>" for name, value in zip(header, first, strict=True))
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in lines)
    return Html(f'<div class="panel"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def _cell(value: Content) -> str:
    return f"<td{_alignment(value)}>{text(value)}</td>"


def _alignment(value: Content) -> str:
    return ' class="number"' if isinstance(value, int | float) else ""


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
    return Html(f'<img src="data:image/png;base64,{data}" alt="{escape(alt, quote=True)}">')


def section(title: str, content: Content) -> Html:
    """A titled part of a page."""
    return join([element("h2", title), content])


def page(name: str, lead: str, body: Iterable[Content], *, plots: bool = False) -> str:
    """A whole page; `plots` loads the plotting library that lies beside it."""
    links = "".join(
        f'<a href="{file}.html"{" class=here" if file == name else ""}>{title}</a>' for file, title in PAGES.items()
    )
    script = '<script src="plotly.min.js"></script>' if plots else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{PAGES[name]} - MMaDA platform</title>"
        f'<link rel="stylesheet" href="style.css">{script}</head><body>'
        f'<header><span class="name">MMaDA platform</span><nav>{links}</nav></header>'
        f'<main><h1>{PAGES[name]}</h1><p class="lead">{escape(lead)}</p>{join(body).text}</main>'
        "<footer>Made from the files of the project; works without a server and without the internet.</footer>"
        "</body></html>\n"
    )
