"""One training stage with changes, in a workspace of its own."""

from pathlib import Path

from prefect import flow

from flows.artifacts import run_artifacts
from flows.checkpoint_events import publish_models, published_on_the_way
from flows.requests import (
    CURRENT,
    DataVersion,
    Overrides,
    TrainingOverrides,
    TrainingStage,
    base_commit,
    committed_params,
)
from flows.run_workspace import RunRequest, run_workspace
from flows.stage_graph import STAGE_RUNNER, bring_up_to_date, run_logger


@flow(name="train", flow_run_name="train {stage}", task_runner=STAGE_RUNNER)
def train(
    stage: TrainingStage,
    data_version: DataVersion = CURRENT,
    overrides: Overrides = TrainingOverrides(),  # noqa: B008  # frozen
) -> dict[str, str]:
    """Train a stage on a data version. Its checkpoints are evaluated as they appear.

    Args:
        stage: The training block of params.yaml to run.
        data_version: The commit or promoted version whose code, parameters and data are used.
        overrides: What to change in that block; what is left empty stays as it is.
    """
    project, log = Path.cwd(), run_logger()
    commit = base_commit(project, data_version)
    request = RunRequest(f"train {stage}", commit, overrides.patch(stage, committed_params(project, commit)))
    with run_workspace(project, request, log=log) as workspace, run_artifacts(workspace, log):
        with published_on_the_way(workspace.folder, project, log):
            outcome = bring_up_to_date(workspace.folder, [f"train@{stage}"])
        publish_models(workspace.folder, project, outcome)
        workspace.finish(f"Train {stage}", log)
    return outcome
