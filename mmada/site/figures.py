"""Interactive figures, drawn by plotly from a copy of its script that lies beside the pages.

A figure stands in the page as JSON; `figures.js` draws it when it comes into view, in the colours of the page.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from mmada.site.html import Html, element, json_block, text

SCRIPTS: Final = ("plotly.min.js", "figures.js")
"""What a page with figures loads."""

COLOURS: Final = ("#3b6fd8", "#e07b39", "#2a9d6f", "#9a5fc9", "#c9a227", "#4a9db5", "#c7517a", "#7d8896")
_SHADES: Final = ("#8db9f2", "#3f78dd", "#8a4fc4", "#d0506f")
"""From few to many."""
_BASELINES: Final[Mapping[str, tuple[str, str]]] = {
    "constant": ("diamond-open", "#c9a227"),
    "permuted": ("x-thin-open", "#c7517a"),
}
_USUAL: Final = 0.99
"""Share of the values that a histogram spreads out, if the largest one lies `_FAR` times as far as these."""
_FAR: Final = 2.0

Curves = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Name -> (xs, ys)."""


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % interval, and the baselines by name."""

    value: float
    low: float
    high: float
    baselines: Mapping[str, float]


def write_script(folder: Path) -> None:
    """Put plotly's script beside the pages, so that no page asks the internet for it."""
    (folder / SCRIPTS[0]).write_text(get_plotlyjs(), encoding="utf-8")


def lines(title: str, series: Curves, x: str, y: str, *, scale: Mapping[str, float] | None = None) -> Html:
    """Curves by name. `scale`: name -> place in (0, 1], when the names are steps of one scale, as their colours are."""
    colours = _cycle(len(series)) if scale is None else [_shade(scale[name]) for name in series]
    figure = go.Figure(layout=_layout(title, x, y))
    for colour, (name, (xs, ys)) in zip(colours, series.items(), strict=True):
        figure.add_scatter(
            x=list(xs),
            y=[round(value, 5) for value in ys],
            name=text(name),
            mode="lines" if len(xs) > 1 else "markers",
            line={"color": colour, "width": 2},
            hovertemplate="%{y:.3f}",
        )
    figure.update_layout(hovermode="x unified", showlegend=len(series) > 1)
    return _html(figure)


def stacked_histogram(
    title: str, series: Mapping[str, Sequence[float] | NDArray[np.number]], x: str, *, bins: int = 40
) -> Html:
    """Histograms by name over shared bins, one on top of the other; counted here, so that a page stays small. Where few
    values lie far from all others, the last bar holds them.
    """
    shown = [np.asarray(values, dtype=float) for values in series.values()]
    everything = np.concatenate(shown or [np.zeros(0)])
    most = np.quantile(everything, _USUAL, method="lower") if everything.size else 0.0
    if everything.max(initial=0.0) > _FAR * most > 0:
        shown = [np.minimum(values, most) for values in shown]
        everything = np.concatenate(shown)
        x = f"{x}; last bar \u2265 {most:,.4g}"
    edges = np.histogram_bin_edges(everything, bins=_bin_edges(everything, bins))
    centres = ((edges[1:] + edges[:-1]) / 2).tolist()
    figure = go.Figure(layout=_layout(title, x, "rows") | {"barmode": "stack", "bargap": 0.06})
    for colour, name, values in zip(_cycle(len(series)), series, shown, strict=True):
        counts = np.histogram(values, edges)[0].tolist()
        figure.add_bar(x=centres, y=counts, name=text(name), marker={"color": colour}, hovertemplate="%{y:,} rows")
    figure.update_layout(hovermode="x unified")
    return _html(figure)


def _bin_edges(values: np.ndarray, bins: int) -> Any:
    """Whole numbers get bins of whole width, or every other bin would be empty."""
    if not len(values) or (values != np.round(values)).any():
        return bins
    width = max(1, int(np.ceil((values.max() - values.min() + 1) / bins)))
    return np.arange(values.min(), values.max() + width + 1, width) - 0.5


def intervals(title: str, rows: Mapping[str, Interval]) -> Html:
    """One line per name, top to bottom: a share with its interval, and baselines as small signs."""
    layout = _layout(title, "", "") | {"height": 130 + 38 * len(rows)}
    figure = go.Figure(layout=layout)
    names = [text(name) for name in rows]
    for baseline, (sign, colour) in _BASELINES.items():
        figure.add_scatter(
            x=[row.baselines.get(baseline) for row in rows.values()],
            y=names,
            name=baseline,
            mode="markers",
            marker={"symbol": sign, "size": 9, "color": colour, "line": {"width": 2, "color": colour}},
            hovertemplate=baseline + " %{x:.1%}<extra></extra>",
        )
    figure.add_scatter(
        x=[row.value for row in rows.values()],
        y=names,
        name="score, 95 %",
        mode="markers",
        marker={"color": COLOURS[0], "size": 11},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [row.high - row.value for row in rows.values()],
            "arrayminus": [row.value - row.low for row in rows.values()],
            "thickness": 2,
            "width": 5,
            "color": COLOURS[0],
        },
        customdata=[[row.low, row.high] for row in rows.values()],
        hovertemplate="%{y}: %{x:.1%} (%{customdata[0]:.1%} to %{customdata[1]:.1%})<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False)
    figure.update_xaxes(rangemode="tozero", tickformat=".0%")
    return _html(figure)


def _layout(title: str, x: str, y: str) -> dict[str, Any]:
    return {
        "template": "none",
        "margin": {"l": 56, "r": 16, "t": 44, "b": 44},
        "legend": {
            "orientation": "h",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "x": 0,
            "traceorder": "normal",
        },
        "height": 320,
        "title": {"text": text(title), "font": {"size": 15}, "x": 0.01, "xanchor": "left"},
        "xaxis": {"title": {"text": text(x), "standoff": 8}, "zeroline": False, "automargin": True},
        "yaxis": {"title": {"text": text(y), "standoff": 8}, "zeroline": False, "automargin": True},
    }


def _shade(place: float) -> str:
    return _SHADES[max(0, math.ceil(place * len(_SHADES)) - 1)]


def _cycle(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _html(figure: go.Figure) -> Html:
    block = json_block(json.loads(figure.to_json(engine="json")), "spec")
    height = f"min-height:{figure.layout.height}px"
    return element("div", block, "panel figure", style=height)
