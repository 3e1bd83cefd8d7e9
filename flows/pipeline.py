"""The whole graph, or what a target needs of it, as one flow run."""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow

from flows.artifacts import run_artifacts
from flows.checkpoint_events import publish_models, published_on_the_way
from flows.requests import (
    AS_COMMITTED,
    CURRENT,
    EVERYTHING,
    CorpusConfiguration,
    DataVersion,
    Target,
    base_commit,
    corpus_patch,
)
from flows.run_workspace import RunRequest, run_workspace
from flows.stage_graph import STAGE_RUNNER, bring_up_to_date, run_logger
from mmada.evaluation.graph_scores import collect_scores


@flow(name="pipeline", flow_run_name="pipeline to {target}", task_runner=STAGE_RUNNER)
def pipeline(
    target: Target = EVERYTHING,
    corpora: CorpusConfiguration = AS_COMMITTED,
    data_version: DataVersion = CURRENT,
) -> dict[str, str]:
    """From raw corpora to a target, in a workspace of its own. The bytes are those of `dvc repro`: it is what runs.

    Args:
        target: Stage to reach; everything that it needs runs first.
        corpora: Which corpora and sizes: params.yaml as it is, or with one of the patches in docs/params.
        data_version: The commit or promoted version whose code, parameters and data are used.
    """
    project, log = Path.cwd(), run_logger()
    commit = base_commit(project, data_version)
    request = RunRequest(f"pipeline {target}", commit, corpus_patch(project, corpora))
    with run_workspace(project, request, log=log) as workspace, run_artifacts(workspace, log):
        with published_on_the_way(workspace.folder, project, log):
            outcome = bring_up_to_date(workspace.folder, [] if target == EVERYTHING else [target])
        publish_models(workspace.folder, project, outcome)
        collect_scores(workspace.folder, project)
        workspace.finish(f"Pipeline to {target}", log)
    return outcome


@flow(name="pipeline in place", task_runner=STAGE_RUNNER)
def pipeline_in_place(targets: Sequence[str] = (), project: Path = Path()) -> dict[str, str]:
    """Bring `targets` (stage addresses of dvc.yaml; empty: all) up to date in the project's own folder.

    Returns stage -> "ran", "restored" or "unchanged".
    """
    return bring_up_to_date(project, targets)
