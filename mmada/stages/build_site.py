"""Build the static site from what the other stages made."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import polars as pl

from mmada.contracts.facts import STORED_FACTS, facts_parts
from mmada.contracts.ingested import STORED_RECORDS, parts, read_dropped
from mmada.contracts.records import DROPS, SELECTED
from mmada.contracts.tables import read_table, scan_columns
from mmada.errors import InputError
from mmada.evaluation.score_store import ScoreStore
from mmada.lineage.manifest import MANIFEST_NAME, Artifact, open_artifact
from mmada.lineage.provenance import ProvenanceStore
from mmada.lineage.trace import Lineage, trace
from mmada.params_data import Corpus
from mmada.params_schema import Paths
from mmada.params_training import TrainingBlock
from mmada.site.catalogue import data_versions, model_entries
from mmada.site.checkpoint_scores import read_scores
from mmada.site.data_page import FACT_COLUMNS, KEPT_COLUMNS, Ledger, data_page, twins_of
from mmada.site.figures import write_script
from mmada.site.lineage_page import lineage_page
from mmada.site.overview_page import overview_page
from mmada.site.reconstructions import Reconstruction, reconstruct
from mmada.site.reports import read_reports
from mmada.site.scores_page import scores_page
from mmada.site.shard_samples import shard_rows
from mmada.site.training_page import training_page
from mmada.site.training_reports import read_curves, read_rollouts, read_sampled_pictures
from mmada.stage_report import StageReport
from mmada.training.rollout_log import ROLLOUTS

VERSION: Final = 9
OUT: Final = "site"

_ASSETS: Final = Path(__file__).resolve().parent.parent / "site" / "assets"
_UNTRAINED: Final = "init"


def build_site(
    *, out: Path, paths: Paths, corpora: dict[str, Corpus], training: dict[str, TrainingBlock]
) -> StageReport:
    """`index.html` and its pages; nothing in them asks the internet for anything.

    What has not been made yet, or came from a cache without its reports, is said on the page with the command that
    makes it.
    """
    models = [_UNTRAINED, *training]
    inputs = _present(paths, corpora, models)
    ingested = [inputs[name].path for name in inputs if name.startswith("ingested ")]
    lineages, untraced = _lineages(inputs, ProvenanceStore(Path(paths.provenance)))
    of_models = {name: lineages[f"model {name}"] for name in models if f"model {name}" in lineages}
    by_folder = {inputs[name].path.as_posix(): found for name, found in lineages.items()}
    traced = {id_ for found in lineages.values() for id_ in found.nodes}
    scored = [name.removeprefix("scores ") for name in inputs if name.startswith("scores ")]
    order = [name for name in models if name in scored] + [name for name in scored if name not in models]
    scores = read_scores(Path(paths.scores), order)
    ledger = _ledger(inputs)
    reports = Path(paths.reports)
    drawn = {name: read_sampled_pictures(reports / "training" / name) for name in training}
    lineage = lineage_page(by_folder, shard_rows(list(lineages.values()), ingested), scores, untraced)
    pages = {
        "index": overview_page(
            model_entries(of_models),
            data_versions(of_models, ledger),
            scores,
            read_reports(reports),
            {artifact.path.as_posix(): artifact.id for artifact in inputs.values()},
            traced,
        ),
        "data": data_page(ledger, _checks(inputs), _reconstructions(inputs, ingested), traced),
        "training": training_page(
            training,
            read_curves(reports / "training"),
            {name: pictures for name, pictures in drawn.items() if pictures is not None},
            {name: read_rollouts(reports / "training" / ROLLOUTS / name) for name in training},
        ),
        "scores": scores_page(
            scores,
            {name: block.init for name, block in training.items()},
            ScoreStore(Path(paths.score_store)),
            missing=[name for name in models if name not in scored],
            outdated=[name for name in of_models if _outdated(f"scores {name}", of_models[name].root, lineages)],
        ),
        "lineage": lineage.html,
    }
    for name, text in pages.items():
        (out / f"{name}.html").write_text(text, encoding="utf-8")
    (out / "lineage_facts.js").write_text(lineage.facts, encoding="utf-8")
    shutil.copytree(_ASSETS, out, dirs_exist_ok=True)
    write_script(out)
    return StageReport(inputs=inputs, metrics={"pages": len(pages)})


def _present(paths: Paths, corpora: Iterable[str], models: Iterable[str]) -> dict[str, Artifact]:
    """Every finished output that the site tells of, by what it is."""
    folders = {f"ingested {key}": Path(paths.ingested) / key for key in corpora}
    folders |= {name: Path(getattr(paths, name)) for name in ("codes", "facts", "selected", "gate", "magvit")}
    folders |= {f"model {name}": Path(paths.models) / name for name in models}
    folders |= {f"scores {path.name}": path for path in sorted(Path(paths.scores).glob("*"))}
    return {name: open_artifact(path) for name, path in folders.items() if (path / MANIFEST_NAME).is_file()}


def _lineages(inputs: Mapping[str, Artifact], store: ProvenanceStore) -> tuple[dict[str, Lineage], list[str]]:
    """Lineages of models and scores, and why some have none: an output of a cache may have come without provenance."""
    lineages, untraced = {}, []
    for name, artifact in inputs.items():
        if name.startswith(("model ", "scores ")):
            try:
                lineages[name] = trace(artifact.path, store)
            except InputError as error:
                untraced.append(str(error))
    return lineages, untraced


def _outdated(scores: str, model_id: str, lineages: Mapping[str, Lineage]) -> bool:
    """Whether these scores are of another model."""
    if scores not in lineages:
        return False
    lineage = lineages[scores]
    return lineage.nodes[lineage.root].inputs["model"] != model_id


def _ledger(inputs: Mapping[str, Artifact]) -> Ledger | None:
    if "selected" not in inputs or "facts" not in inputs:
        return None
    unread = [
        read_dropped(artifact.path, f"ledger of {name}")
        for name, artifact in inputs.items()
        if name.startswith("ingested ")
    ]
    selected = inputs["selected"]
    deselected = read_table(selected.path / "dropped.parquet", DROPS, "ledger of selection")
    return Ledger(
        unread=pl.concat([pl.DataFrame(schema=pl.Schema(DROPS)), *unread]),
        deselected=deselected,
        facts=scan_columns(facts_parts(inputs["facts"].path), STORED_FACTS, FACT_COLUMNS, "facts").collect(),
        kept=scan_columns([selected.path / "selected.parquet"], SELECTED, KEPT_COLUMNS, "selected rows").collect(),
        selected_id=selected.id,
        twins=_beginnings(inputs, twins_of(deselected)),
    )


def _beginnings(inputs: Mapping[str, Artifact], row_ids: list[str]) -> dict[str, str]:
    """Row id -> the beginning of what the row says."""
    text = pl.concat_str("prompt", pl.lit("\n"), "response").str.strip_chars()
    files = [
        path
        for name, artifact in inputs.items()
        if name.startswith("ingested ")
        for path in parts(artifact.path, "records")
    ]
    records = scan_columns(files, STORED_RECORDS, ("row_id", "prompt", "response"), "ingested rows")
    return dict(records.filter(pl.col("row_id").is_in(row_ids)).select("row_id", text).collect().iter_rows())


def _checks(inputs: Mapping[str, Artifact]) -> list[dict[str, Any]] | None:
    if "gate" not in inputs:
        return None
    text = (inputs["gate"].path / "certificate.json").read_text(encoding="utf-8")
    checks: list[dict[str, Any]] = json.loads(text)["checks"]
    return checks


def _reconstructions(inputs: Mapping[str, Artifact], ingested: list[Path]) -> list[Reconstruction] | None:
    if "codes" not in inputs or "magvit" not in inputs:
        return None
    return reconstruct(inputs["codes"].path, inputs["magvit"].path, ingested)
