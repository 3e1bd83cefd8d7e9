"""What a person wants to read when the pipeline has ended, on the terminal."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmada.checkpoint_registry import REGISTRY_FILE
from mmada.evaluation.compare import BASELINES, SummaryRow, summary
from mmada.evaluation.metrics import Share
from mmada.lineage.manifest import MANIFEST_NAME
from mmada.lineage.provenance import ProvenanceStore
from mmada.lineage.render import trace_lines
from mmada.lineage.trace import trace
from mmada.params_schema import Params
from mmada.site.checkpoint_scores import read_scores
from mmada.site.reports import Report, read_reports

_UNTRAINED = "init"


def print_summary(params: Params) -> None:
    """Print times, drops, scores with intervals and baselines, the last model's trace, and the page."""
    reports = read_reports(Path(params.paths.reports))
    checkpoints = [_UNTRAINED, *params.training]
    folder = Path(params.paths.scores)
    evaluated = [name for name in checkpoints if (folder / name / MANIFEST_NAME).is_file()]
    rows = summary([(name, folder / name) for name in evaluated], untrained=_UNTRAINED)
    last = Path(params.paths.models) / checkpoints[-1]
    drawn = _categories(folder, checkpoints[-1])
    lines = [
        *("", "Where the time went (minutes, of the run that made each output)", *_times(reports)),
        *("", "Dropped rows by reason", *_drops(reports)),
        *(
            "",
            "Scores: share of correct items; `+` beats every baseline by more than its interval",
            *_scores(rows),
            *(
                f"  {name} has no scores: `dvc repro` gives them where {REGISTRY_FILE} registers it (`mmada check`)"
                for name in checkpoints
                if name not in evaluated
            ),
        ),
        *(("", f"Drawing by category, {checkpoints[-1]}", *drawn) if drawn else ()),
        *(
            "",
            f"mmada trace {last}",
            *trace_lines(trace(last, ProvenanceStore(Path(params.paths.provenance)))),
        ),
        *("", f"Page: {(Path(params.paths.site) / 'index.html').resolve()}"),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _times(reports: Mapping[str, Report]) -> list[str]:
    seconds: dict[str, float] = {}
    for address, report in reports.items():
        stage = address if address.startswith("train@") else address.partition("@")[0]
        seconds[stage] = seconds.get(stage, 0.0) + report["seconds"]
    lines = [f"  {stage:20s} {value / 60:6.1f}" for stage, value in sorted(seconds.items(), key=lambda kv: -kv[1])]
    return [*lines, f"  {'in all':20s} {sum(seconds.values()) / 60:6.1f}"]


def _drops(reports: Mapping[str, Report]) -> list[str]:
    total: dict[str, int] = {}
    for report in reports.values():
        for reason, count in report["dropped"].items():
            total[reason] = total.get(reason, 0) + count
    return [f"  {reason:22s} {count:6d}" for reason, count in sorted(total.items())]


def _scores(rows: Sequence[SummaryRow]) -> list[str]:
    header = f"  {'benchmark':18s} {'checkpoint':10s}   {'score':7s} {'95 % interval':17s} " + " ".join(
        f"{name:>9s}" for name in BASELINES
    )
    lines = [header]
    for row in sorted(rows, key=lambda row: row.benchmark):
        mark = "+" if row.baselines and all(row.beaten.values()) else " "
        baselines = " ".join(_percent(row.baselines.get(name)) for name in BASELINES)
        note = f"  tokenizer's ceiling {row.ceiling.value:.1%} of objects" if row.ceiling else ""
        lines.append(
            f"  {row.benchmark:18s} {row.checkpoint:10s} {mark} {row.score.value:7.1%} "
            f"{_interval(row.score):17s} {baselines}  n={row.score.n}{note}"
        )
    return lines


def _categories(folder: Path, checkpoint: str) -> list[str]:
    lines = []
    for scores in read_scores(folder, [checkpoint]):
        for name, score in scores.benchmarks.items():
            for category, part in score["categories"].items() if score["kind"] == "pictures" else ():
                share = Share(part["n"], part["correct"], part["low"], part["high"])
                lines.append(f"  {name:18s} {category:12s} {share.correct:4d}/{share.n:<4d} {_interval(share)}")
    return lines


def _percent(share: Share | None) -> str:
    return f"{'-':>9s}" if share is None else f"{share.value:9.1%}"


def _interval(share: Share) -> str:
    return f"{share.low:.1%} - {share.high:.1%}"
