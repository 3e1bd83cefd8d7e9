"""The first page: what there is, how it scores, where the time went."""

from collections.abc import Mapping, Sequence

from mmada.site.html import Content, Html, cards, element, page, section, table
from mmada.site.reports import Report
from mmada.site.scores_page import CheckpointScores


def overview_page(scores: Sequence[CheckpointScores], reports: Mapping[str, Report], outputs: Mapping[str, str]) -> str:
    """The page. `outputs`: folder -> id of every finished output."""
    seconds = sum(report["seconds"] for report in reports.values())
    ingested = [report for address, report in reports.items() if address.startswith("ingest@")]
    body: list[Content] = [
        cards(
            [
                ("checkpoints evaluated", len(scores)),
                ("raw rows read", sum(report["rows_in"] for report in ingested)),
                ("rows kept by selection", reports["select"]["rows_kept"] if "select" in reports else 0),
                ("minutes of stages", round(seconds / 60, 1)),
            ]
        ),
        section("Scores", score_table(scores)),
        section("Where the time went", _times(reports)),
        section(
            "Outputs and their ids",
            table(["output", "id"], [[path, element("span", id_, "id")] for path, id_ in outputs.items()]),
        ),
    ]
    return page("index", "Every number below comes from files of this project, and leads back to raw rows.", body)


def score_table(scores: Sequence[CheckpointScores]) -> Html:
    """A line per checkpoint, a column per benchmark."""
    benchmarks = sorted({benchmark for checkpoint in scores for benchmark in checkpoint.benchmarks})
    return table(
        ["checkpoint", *benchmarks],
        [[c.name, *(_cell(c.benchmarks.get(benchmark)) for benchmark in benchmarks)] for c in scores],
    )


def _cell(score: Mapping[str, float] | None) -> str:
    return f"{score['share']:.1%} ({score['low']:.1%} to {score['high']:.1%})" if score else "-"


def _times(reports: Mapping[str, Report]) -> Html:
    by_stage: dict[str, list[Report]] = {}
    for address, report in reports.items():
        by_stage.setdefault(address.partition("@")[0], []).append(report)
    rows: list[Sequence[Content]] = [
        [stage, len(runs), round(sum(report["seconds"] for report in runs), 1)] for stage, runs in by_stage.items()
    ]
    return table(["stage", "runs", "seconds"], sorted(rows, key=lambda row: -float(str(row[2]))))
