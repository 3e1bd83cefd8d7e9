"""How training went: loss per task, cross-entropy by share of masked tokens, rewards."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmada.site import figures
from mmada.site.html import Content, element, join, page, section

Curve = Sequence[Mapping[str, float]]
"""Logged steps of one run; each has `step` and metrics by name."""


def read_curves(folder: Path) -> dict[str, Curve]:
    """Training stage -> its logged steps, in order of name; empty where nothing was trained."""
    return {
        path.stem: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    }


def training_page(curves: Mapping[str, Curve]) -> str:
    """The page; one section per training stage."""
    body: list[Content] = [
        section(name, element("div", join(_figures(name, curve)), "columns")) for name, curve in curves.items()
    ]
    if not body:
        body = [element("p", "No training stage has run yet: `dvc repro` runs them.")]
    return page(
        "training",
        "Loss per task and by share of masked tokens; rewards of reinforcement learning.",
        body,
        plots=True,
    )


def _figures(name: str, curve: Curve) -> Iterator[Content]:
    groups = (
        ("loss/", "Loss per task", "loss"),
        ("reward/", "Mean reward", "reward"),
        (
            "cross_entropy/",
            "Cross-entropy by task and share of masked tokens (upper end of the bin)",
            "nats per token",
        ),
        ("kl", "Divergence from the reference model", "nats per token"),
    )
    for prefix, title, unit in groups:
        series = _series(curve, prefix)
        if series:
            yield figures.lines(f"{title}, {name}", series, "step", unit)


def _series(curve: Curve, prefix: str) -> dict[str, tuple[list[float], list[float]]]:
    names = sorted({metric for point in curve for metric in point if metric.startswith(prefix)})
    return {
        metric.removeprefix(prefix) or metric: (
            [point["step"] for point in curve if metric in point],
            [point[metric] for point in curve if metric in point],
        )
        for metric in names
    }
