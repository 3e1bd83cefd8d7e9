"""How training went: loss per task, cross-entropy by share of masked tokens, rewards, pictures over time."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from mmada.params_training import TrainingBlock
from mmada.site import figures
from mmada.site.html import (
    Content,
    Html,
    Section,
    absent,
    cards,
    columns,
    element,
    folded,
    join,
    link,
    page,
    picture,
    slug,
)
from mmada.site.sampled_answers import answer_groups
from mmada.site.training_reports import Curve, Group, SampledPictures
from mmada.training.objectives import MASK_BINS

_PER_TOKEN: Final = "nats per token"
_TOGETHER: Final = (
    ("kl", "Divergence from the reference model", _PER_TOKEN),
    ("clip_share", "Tokens whose update was clipped", "share"),
    ("zero_variance_groups", "Groups without a difference in reward", "share"),
    ("answer_tokens", "Length of sampled answers", "tokens"),
)
"""Prefix of metrics that one figure shows, its title and unit."""

_MACHINERY: Final = (
    ("learning_rate", "Learning rate", "per step"),
    ("grad_norm", "Gradient norm before clipping", "norm"),
    ("tokens_per_second", "Speed", "tokens per second"),
    ("mfu", "Use of the processors' peak (model FLOPs)", "share"),
    ("padding_share", "Padding in the network's rows", "share"),
    ("data_wait", "Time spent making batches", "share"),
    ("skipped_batches", "Batches skipped so far", "batches"),
)


def training_page(
    blocks: Mapping[str, TrainingBlock],
    curves: Mapping[str, Curve],
    drawn: Mapping[str, SampledPictures],
    rollouts: Mapping[str, Sequence[Group]],
) -> str:
    """The page; one section per training block, whether or not it has left curves here."""
    return page(
        "training",
        "Loss per task and by share of masked tokens, rewards of reinforcement learning, and what the model drew on "
        "the way. Stages run in this order, each from the model of its parent.",
        [
            Section(name, join(_block(name, block, curves, drawn, rollouts.get(name, []))))
            for name, block in blocks.items()
        ],
        scripts=figures.SCRIPTS,
    )


def _block(
    name: str,
    block: TrainingBlock,
    curves: Mapping[str, Curve],
    drawn: Mapping[str, SampledPictures],
    rollouts: Sequence[Group],
) -> Iterator[Content]:
    curve = curves.get(name, [])
    mixture = ", ".join(f"{corpus} {weight:g}" for corpus, weight in block.data.corpora.items())
    done = f"{int(curve[-1]['step']):,} of {block.max_steps:,}" if curve else f"{block.max_steps:,}"
    parent = link(f"#{slug(block.init)}", block.init) if block.init != "init" else "init"
    yield cards(
        [
            ("objective", element("span", block.objective.replace("_", " "), "word")),
            ("starts from", element("span", parent, "word")),
            ("steps", element("span", done, "word")),
            ("mixture of corpora, by weight", element("span", mixture, "word small")),
        ]
    )
    if not curve:
        reason = f"No curves of {name} here: its model came from a cache, or it has not been trained yet."
        yield absent(reason, f"dvc repro --force --single-item train@{name}")
    else:
        yield columns(_curves(curve))
        yield folded("Learning rate, gradient norm, speed, padding", columns(_figures(curve, _MACHINERY)))
    if rollouts:
        yield element("h3", "Answers and their rewards")
        yield from answer_groups(rollouts)
    if curve:
        yield element("h3", "Sampled pictures over time")
        yield _pictures(drawn.get(name))


def _curves(curve: Curve) -> Iterator[Html]:
    """Losses, then a figure per task of what the metrics keep apart: bins of masked share, or rewards."""
    losses = _series(curve, "loss/")
    title = "Loss of the policy" if set(losses) == {"policy"} else "Loss per task"
    yield figures.lines(title, losses, "step", "loss")
    yield from _figures(curve, _TOGETHER)
    for task, series in _by_task(curve, "reward/").items():
        yield figures.lines(f"Mean reward: {task}", series, "step", "weighted reward")
    for task, series in _by_task(curve, "cross_entropy/").items():
        bins = {_bin(float(end)): points for end, points in series.items()}
        scale = {_bin(float(end)): float(end) for end in series}
        yield figures.lines(f"Cross-entropy by share masked: {task}", bins, "step", _PER_TOKEN, scale=scale)


def _figures(curve: Curve, groups: Sequence[tuple[str, str, str]]) -> Iterator[Html]:
    for prefix, title, unit in groups:
        series = _series(curve, prefix)
        if series:
            yield figures.lines(title, series, "step", unit)


def _by_task(curve: Curve, prefix: str) -> dict[str, figures.Curves]:
    """Task -> what is left of the metric's name -> curve."""
    named = _series(curve, prefix)
    groups = groupby(named, key=lambda name: name.partition("/")[0])
    return {task: {name.partition("/")[2]: named[name] for name in names} for task, names in groups}


def _bin(end: float) -> str:
    """Label of a bin of masked share, by its upper end."""
    return f"{100 * (end - 1 / MASK_BINS):.0f}-{100 * end:.0f} %"


def _series(curve: Curve, prefix: str) -> dict[str, tuple[list[float], list[float]]]:
    names = sorted({metric for point in curve for metric in point if metric.startswith(prefix)})
    return {
        metric.removeprefix(prefix) or metric: (
            [point["step"] for point in curve if metric in point],
            [point[metric] for point in curve if metric in point],
        )
        for metric in names
    }


def _pictures(drawn: SampledPictures | None) -> Html:
    """A row per prompt, a column per step."""
    if drawn is None or not drawn.steps:
        reason = "None: a run in one process draws them at every saved step, where one of its corpora is for drawing."
        return element("p", reason, "soft")
    head = element("tr", join(element("th", title) for title in ["", *(f"step {step:,}" for step in drawn.steps)]))
    rows = [
        element(
            "tr",
            join(
                [
                    element("td", prompt, "prompt", dir="auto"),
                    *(element("td", picture(pngs[number], prompt)) for pngs in drawn.steps.values()),
                ]
            ),
        )
        for number, prompt in enumerate(drawn.prompts)
    ]
    return element("div", element("table", join([head, *rows]), "strip"), "panel")
