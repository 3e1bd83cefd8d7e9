"""Figures show what they were given: every value is counted, and few far ones hide no others."""

import json
from typing import Any

import numpy as np

from mmada.site import figures
from tests.site.reading_pages import Page


def _spec(html: str) -> Any:
    (script,) = Page(html).scripts
    return json.loads(script)


def test_a_few_far_values_stand_in_the_last_bar() -> None:
    usual = {"kept": np.arange(1, 1001) % 100, "dropped": np.arange(1, 101)}
    far = usual | {"dropped": np.append(usual["dropped"], [38_000, 90_000])}
    for series, title in ((usual, "tokens"), (far, "tokens; last bar \u2265 99")):
        spec = _spec(str(figures.stacked_histogram("Lengths", series, "tokens")))
        assert spec["layout"]["xaxis"]["title"]["text"] == title
        assert [sum(bars["y"]) for bars in spec["data"]] == [len(values) for values in series.values()]
        assert max(spec["data"][1]["x"]) < 110
        assert sum(count > 0 for count in spec["data"][0]["y"]) > 30


def test_figures_of_nothing_are_empty() -> None:
    spec = _spec(str(figures.stacked_histogram("Lengths", {"kept": np.zeros(0)}, "tokens")))
    assert sum(spec["data"][0]["y"]) == 0
