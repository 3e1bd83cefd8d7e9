"""What a person finds on a run's page: where rows went, how the loss fell, what was drawn, scores, and the way back.

Pictures travel inside the artifacts (data URIs), so that a page needs nothing but the server that shows it. They are
markdown: below an artifact of type image, Prefect prints its whole address, which would be the picture's bytes.
"""

import base64
import importlib.util
import io
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl
from PIL import Image, ImageOps
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.run_workspace import RunWorkspace
from flows.stage_graph import RunLogger
from mmada.errors import MmadaError
from mmada.evaluation.compare import Comparison
from mmada.evaluation.graph_scores import score_store
from mmada.evaluation.score_store import Entry, ScoreStore
from mmada.lineage.manifest import MANIFEST_NAME
from mmada.lineage.provenance import ProvenanceStore
from mmada.lineage.render import trace_lines
from mmada.lineage.trace import Lineage, trace
from mmada.params_schema import load_params
from mmada.training.curve_file import read_curve

SITE_URL: Final = "MMADA_SITE_URL"
"""Environment: address under which `flows.serve` shows the sites of runs; no links to them without it."""
_PICTURES: Final = 12
_COLUMNS: Final = 6
_SIDE: Final = 128
"""Pixels to which small pictures are enlarged."""


@contextmanager
def run_artifacts(workspace: RunWorkspace, log: RunLogger) -> Iterator[None]:
    """Show on the run's page, after the block, as much as it came to; a run that failed shows what there is.

    One that is cancelled shows nothing, so that it ends at once.
    """
    try:
        yield
    except Exception:
        publish_run_artifacts(workspace, log)
        raise
    publish_run_artifacts(workspace, log)


def publish_run_artifacts(workspace: RunWorkspace, log: RunLogger) -> None:
    """Rows and lineage, the gate, loss curves, reconstructions, links to the run's site: of each what there is."""
    for publish in (_rows_and_lineage, _gate, _loss_curves, _reconstructions, _links):
        with _harmless(log):
            publish(workspace)


@contextmanager
def _harmless(log: RunLogger) -> Iterator[None]:
    """A page that cannot be shown makes no run fail."""
    try:
        yield
    except Exception:
        log.exception("an artifact could not be published")


def publish_scores(project: Path, entries: Sequence[Entry], log: RunLogger) -> None:
    """Scores with intervals, beside the parent's, and what was drawn."""
    with _harmless(log):
        _publish_scores(score_store(project), entries)


def _publish_scores(store: ScoreStore, entries: Sequence[Entry]) -> None:
    for entry in entries:
        key = entry.identity[:16]
        changes = store.changes(entry)
        scores = store.scores(entry)["benchmarks"].items()
        table = [_score_row(name, body, entry, changes.get(name)) for name, body in scores]
        create_table_artifact(
            table=table,
            key=f"scores-{key}",
            description=f"Scores of **{entry.name}** (`{entry.checkpoint[:12]}`): share of right answers, with "
            "95 % intervals, baselines, and the paired change from the parent",
        )
        _drawings(store, entry)


def _score_row(
    name: str, body: Mapping[str, Any], entry: Entry, change: tuple[Entry, Comparison] | None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "benchmark": name,
        "score": f"{body['correct'] / body['n']:.1%}",
        "95 % interval": f"{body['low']:.1%} - {body['high']:.1%}",
        "answers": body["n"],
        "constant": f"{body['constant']['share']:.1%}",
        "permuted": f"{body['permuted']['share']:.1%}",
        "change from parent": "parent not evaluated alike" if entry.parent else "no parent",
        "p": "",
    }
    if change is not None:
        _, moved = change
        row["change from parent"] = f"{moved.difference:+.1%} ({moved.low:+.1%} to {moved.high:+.1%})"
        row["p"] = f"{moved.p_value:.3g}"
    return row


def _drawings(store: ScoreStore, entry: Entry) -> None:
    for name, body in store.scores(entry)["benchmarks"].items():
        if body["kind"] != "pictures":
            continue
        graded = pl.read_parquet(store.folder(entry.identity) / f"items-{name}.parquet")
        graded = graded.filter(pl.col("picture").is_not_null()).head(_PICTURES)
        pictures = graded.get_column("picture").to_list()
        if pictures:
            table = "\n".join(
                f"| {number} | {_cell(prompt)} | {'right' if correct else 'wrong'} |"
                for number, (prompt, correct) in enumerate(graded.select("prompt", "correct").iter_rows(), 1)
            )
            create_markdown_artifact(
                f"{_contact_sheet(pictures)}\n\nRow by row:\n\n| | prompt | graded |\n|---|---|---|\n{table}",
                key=f"drawings-{_slug(name)}-{entry.identity[:16]}",
                description=f"Drawn by **{entry.name}** for {name}",
            )


def _rows_and_lineage(workspace: RunWorkspace) -> None:
    paths = load_params(workspace.folder / "params.yaml").paths
    store = ProvenanceStore(workspace.folder / paths.provenance)
    models = sorted((workspace.folder / paths.models).glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for folder in [*models, workspace.folder / paths.gate, workspace.folder / paths.selected]:
        try:
            lineage = trace(folder, store, workspace.folder)
        except MmadaError:
            continue
        if lineage.of_stage("ingest"):
            digest = workspace.request.digest
            if rows := _funnel(lineage):
                create_table_artifact(rows, key=f"rows-{digest}", description="Rows in, kept, and dropped by reason")
            text, shown = "\n".join(trace_lines(lineage)), folder.relative_to(workspace.folder)
            create_markdown_artifact(
                f"What `mmada trace {shown}` prints in `{workspace.folder}`:\n\n```\n{text}\n```",
                key=f"trace-{digest}",
                description=f"Lineage of **{folder.name}**, back to the raw files",
            )
            return


def _funnel(lineage: Lineage) -> list[dict[str, Any]]:
    rows = []
    for node in sorted(lineage.nodes.values(), key=lambda node: node.finished):
        if node.rows:
            dropped = node.rows["dropped"]
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(dropped.items()) if count)
            rows.append(
                {
                    "stage": node.address,
                    "rows in": node.rows["in"],
                    "kept": node.rows["kept"],
                    "dropped": sum(dropped.values()),
                    "by reason": reasons,
                }
            )
    return rows


def _gate(workspace: RunWorkspace) -> None:
    """What the gate found, whether it let the rows pass or not."""
    file = workspace.folder / load_params(workspace.folder / "params.yaml").paths.reports / "gate" / "outcomes.json"
    if not file.exists():
        return
    outcomes = json.loads(file.read_text(encoding="utf-8"))
    rows = [
        {
            "check": check["name"],
            "passes": "yes" if check["success"] else "by override" if check["override"] else "NO",
            "observed": f"{check['failing']:,} rows fail" if check["observed"] is None else f"{check['observed']:g}",
            "of rows": check["rows"],
            "set by": check["limit_at"] or "a contract",
            "rows that fail": "; ".join(f"{row[:12]} {value}" for row, value in check["examples"]),
        }
        for check in outcomes["checks"]
    ]
    create_table_artifact(
        rows,
        key=f"gate-{workspace.request.digest}",
        description=f"What the gate found of the selected rows `{outcomes['selected'][:12]}`; its page, and all rows "
        "that fail, lie in `reports/gate`",
    )


def _loss_curves(workspace: RunWorkspace) -> None:
    reports = workspace.folder / load_params(workspace.folder / "params.yaml").paths.reports
    for file in sorted((reports / "training").glob("*.jsonl")):
        points = read_curve(file)
        if points:
            last = points[-1]
            values = "\n".join(f"| {name} | {value:.4g} |" for name, value in last.items() if name != "step")
            create_markdown_artifact(
                f"{_markdown_image(_plot(points, file.stem))}\n\n| at step {last['step']:,} | |\n|---|---|\n{values}",
                key=f"training-{_slug(file.stem)}-{workspace.request.digest}",
                description=f"Training of **{file.stem}**, {last['step']:,} steps",
            )


def _reconstructions(workspace: RunWorkspace) -> None:
    """Pictures beside what their codes give back, when the run has pictures and codes on disk."""
    params = load_params(workspace.folder / "params.yaml")
    codes, magvit = workspace.folder / params.paths.codes, workspace.folder / params.paths.magvit
    ingested = [workspace.folder / params.paths.ingested / corpus for corpus in params.corpora]
    on_disk = all((folder / MANIFEST_NAME).exists() for folder in [codes, magvit, *ingested])
    if not on_disk or importlib.util.find_spec("torch") is None:  # a curation machine has no torch
        return
    from mmada.site.reconstructions import reconstruct  # imports torch, which takes seconds

    shots = reconstruct(codes, magvit, ingested)
    if not shots:
        return
    pictures = [data for shot in shots for data in (shot.original, shot.decoded)]
    psnr = ", ".join(f"{shot.psnr:.1f}" for shot in shots)
    create_markdown_artifact(
        f"{_contact_sheet(pictures)}\n\nEach picture stands beside what its codes give back, row by row from the worst "
        f"to the best. PSNR in dB: {psnr}",
        key=f"reconstructions-{workspace.request.digest}",
        description="Pictures, and what the picture tokenizer gives back of them",
    )


def _plot(points: Sequence[Mapping[str, float]], title: str) -> bytes:
    """PNG of losses and rewards over steps."""
    from matplotlib.figure import Figure  # takes a second to import, which a click should not wait for

    names = sorted({name for point in points for name in point if name.startswith(("loss/", "reward"))})
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="step", title=title)
    for name in names:
        known = [(point["step"], point[name]) for point in points if name in point]
        axes.plot(*zip(*known, strict=True), label=name)
    axes.grid(alpha=0.3)
    if names:
        axes.legend(fontsize="small")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


def _links(workspace: RunWorkspace) -> None:
    base = os.environ.get(SITE_URL, "")
    site = workspace.folder / load_params(workspace.folder / "params.yaml").paths.site
    if base and (site / "index.html").exists():
        for page in ("index", "lineage"):
            create_link_artifact(
                link=f"{base}/runs/{workspace.request.digest}/{page}.html",
                link_text=f"{page} page of this run's site",
                key=f"site-{page}-{workspace.request.digest}",
            )


def _contact_sheet(pictures: Sequence[bytes]) -> str:
    """One picture of many, row by row, as markdown; small ones are enlarged to be seen."""
    opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]
    side, gap = max(_SIDE, *(max(image.size) for image in opened)), 4
    columns = min(_COLUMNS, len(opened))
    sheet = Image.new("RGB", (columns * (side + gap), math.ceil(len(opened) / columns) * (side + gap)), "white")
    for place, image in enumerate(opened):
        enlarged = ImageOps.contain(image, (side, side), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (place % columns * (side + gap), place // columns * (side + gap)))
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    return _markdown_image(stream.getvalue())


def _markdown_image(png: bytes) -> str:
    return f"![](data:image/png;base64,{base64.b64encode(png).decode()})"


def _cell(text: str) -> str:
    """Text of one cell of a markdown table."""
    return " ".join(text.replace("|", "\\|").split())


def _slug(name: str) -> str:
    """Artifact keys hold lower-case letters, digits and dashes only."""
    return name.replace("_", "-")
