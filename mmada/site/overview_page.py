"""The first page: which models and data there are, how they score, where the time went."""

from collections.abc import Container, Mapping, Sequence
from typing import Final

from mmada.site import figures
from mmada.site.catalogue import DataVersion, ModelEntry
from mmada.site.checkpoint_scores import CheckpointScores, benchmark_names, share_text
from mmada.site.html import (
    Content,
    Html,
    Section,
    absent,
    bar,
    cards,
    columns,
    element,
    folded,
    identity,
    join,
    link,
    page,
    slug,
    table,
)
from mmada.site.reports import Report
from mmada.site.scores_page import interval_figure

_STAGES: Final = 8
"""Stages that the table of times names; the rest is summed."""


def overview_page(
    models: Sequence[ModelEntry],
    data: Sequence[DataVersion],
    scores: Sequence[CheckpointScores],
    reports: Mapping[str, Report],
    outputs: Mapping[str, str],
    traced: Container[str],
) -> str:
    """The page. `outputs`: folder -> id of every finished output; `traced`: ids that the lineage page shows."""
    drawn = [interval_figure(name, name, scores) for name in benchmark_names(scores)]
    nothing = absent("Nothing has been evaluated yet.", "dvc repro")
    ids = {path: identity(id_, linked=id_ in traced) for path, id_ in outputs.items()}
    listing = table(["output", "id"], [[element("code", path), id_] for path, id_ in ids.items()])
    sections = [
        Section("Scores", columns(drawn, "columns thirds") if drawn else nothing),
        Section("Models", _models(models, scores)),
        Section("Data versions", _data(data)),
        Section("Where the time went", _times(reports)),
        Section("Outputs", folded(f"{len(outputs)} outputs and their ids", listing)),
    ]
    return page(
        "index",
        "Every number below comes from files of this project, and leads back to raw rows.",
        sections,
        intro=_totals(models, data, reports),
        scripts=figures.SCRIPTS,
    )


def _totals(models: Sequence[ModelEntry], data: Sequence[DataVersion], reports: Mapping[str, Report]) -> Html:
    known = next((version.rows for version in data if version.rows), None)
    minutes = sum(report["seconds"] for report in reports.values()) / 60
    rows: list[tuple[str, Content]] = []
    if known is not None:
        rows = [("raw rows", known[0]), ("rows kept", known[1]), ("rows dropped, each with its reason", known[2])]
    return cards([("models", len(models)), *rows, ("minutes of all stages", f"{minutes:.1f}")])


def _models(models: Sequence[ModelEntry], scores: Sequence[CheckpointScores]) -> Html:
    benchmarks = benchmark_names(scores)
    measured = {one.name: one.benchmarks for one in scores}
    lines: list[Sequence[Content]] = []
    for model in models:
        trained = model.node.stage == "train"
        parts = [measured.get(model.name, {}).get(benchmark) for benchmark in benchmarks]
        lines.append(
            [
                link(f"training.html#{slug(model.node.key)}", model.name) if trained else element("span", model.name),
                identity(model.node.id),
                model.parent or "-",
                model.objective,
                f"{model.steps:,}" if trained else "-",
                identity(model.selected_id) if model.selected_id else "-",
                *(share_text(part) if part else "-" for part in parts),
            ]
        )
    if not lines:
        return absent("There are no models yet.", "dvc repro")
    return table(["model", "id", "parent", "made by", "steps", "data", *benchmarks], lines, "scores")


def _data(data: Sequence[DataVersion]) -> Html:
    if not data:
        return absent("No model was trained on selected rows yet.", "dvc repro")
    lines: list[Sequence[Content]] = [
        [
            identity(version.node.id),
            *(version.rows if version.rows else ("no longer here", "-", "-")),
            version.node.finished.replace("T", " ")[:16],
            element("code", version.node.code["commit"][:12] or "none"),
            ", ".join(version.models),
        ]
        for version in data
    ]
    return table(["selected rows", "raw rows", "kept", "dropped", "finished (UTC)", "commit", "models"], lines)


def _times(reports: Mapping[str, Report]) -> Html:
    """Minutes by stage; training blocks stand for themselves."""
    seconds: dict[str, list[float]] = {}
    for address, report in reports.items():
        name = address if address.startswith("train@") else address.partition("@")[0]
        seconds.setdefault(name, []).append(report["seconds"])
    if not seconds:
        return absent("No stage has left a report here: everything came from a cache.", "dvc repro --force")
    lines = sorted(seconds.items(), key=lambda line: -sum(line[1]))
    longest = sum(lines[0][1])
    rows: list[Sequence[Content]] = [
        [name, bar(sum(runs), longest), round(sum(runs) / 60, 1), len(runs)] for name, runs in lines[:_STAGES]
    ]
    rest = [second for _, runs in lines[_STAGES:] for second in runs]
    if rest:
        rows.append(["all others", bar(sum(rest), longest), round(sum(rest) / 60, 1), len(rest)])
    note = element("p", "Of the run that made each output; what came from a cache took no time this time.", "soft")
    return join([table(["stage", "", "minutes", "runs"], rows, "bars"), note])
