"""Interactive figures, drawn by plotly from a copy of its script that lies beside the pages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from mmada.site.html import Html

COLOURS: Final = ("#2f5fd0", "#d0662f", "#1c8a5a", "#8a4fbf", "#b8912a", "#4a8fa8")
_LAYOUT: Final[Mapping[str, Any]] = {
    "template": "plotly_white",
    "margin": {"l": 56, "r": 16, "t": 40, "b": 44},
    "font": {"family": "system-ui, DejaVu Sans, sans-serif", "size": 13},
    "legend": {"orientation": "h", "y": -0.18},
    "height": 340,
}


def write_script(folder: Path) -> None:
    """Put plotly's script beside the pages, so that no page asks the internet for it."""
    (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")


def lines(title: str, series: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str) -> Html:
    """Curves by name: (xs, ys)."""
    figure = go.Figure(layout=_layout(title, x, y))
    for colour, (name, (xs, ys)) in zip(_cycle(len(series)), series.items(), strict=True):
        figure.add_scatter(x=list(xs), y=list(ys), name=name, mode="lines", line={"color": colour, "width": 2})
    return _html(figure)


def bars(title: str, values: Mapping[str, float], x: str, y: str = "") -> Html:
    """Horizontal bars, in the given order from top to bottom."""
    figure = go.Figure(layout=_layout(title, x, y) | {"height": 90 + 34 * max(3, len(values))})
    figure.add_bar(
        x=list(values.values()),
        y=list(values),
        orientation="h",
        marker={"color": COLOURS[0]},
        texttemplate="%{x:,}",
    )
    figure.update_yaxes(autorange="reversed", automargin=True)
    return _html(figure)


def histograms(title: str, series: Mapping[str, Sequence[float]], x: str) -> Html:
    """Overlaid histograms by name."""
    figure = go.Figure(layout=_layout(title, x, "rows") | {"barmode": "overlay"})
    for colour, (name, values) in zip(_cycle(len(series)), series.items(), strict=True):
        figure.add_histogram(x=list(values), name=name, opacity=0.6, marker={"color": colour}, nbinsx=40)
    return _html(figure)


def intervals(title: str, series: Mapping[str, Mapping[str, tuple[float, float, float]]], y: str) -> Html:
    """Points with intervals: series -> group -> (value, low, high)."""
    figure = go.Figure(layout=_layout(title, "", y) | {"height": 400})
    for colour, (name, groups) in zip(_cycle(len(series)), series.items(), strict=True):
        values = [value for value, _, _ in groups.values()]
        figure.add_scatter(
            x=list(groups),
            y=values,
            name=name,
            mode="markers",
            marker={"color": colour, "size": 9},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [high - value for value, _, high in groups.values()],
                "arrayminus": [value - low for value, low, _ in groups.values()],
                "thickness": 1.5,
            },
        )
    figure.update_layout(scattermode="group", scattergap=0.6)
    figure.update_yaxes(rangemode="tozero")
    return _html(figure)


def _layout(title: str, x: str, y: str) -> dict[str, Any]:
    return {**_LAYOUT, "title": {"text": title, "font": {"size": 15}}, "xaxis_title": x, "yaxis_title": y}


def _cycle(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _html(figure: go.Figure) -> Html:
    div: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True}
    )
    return Html(f'<div class="panel">{div}</div>')
