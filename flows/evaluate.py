"""Evaluate one registered checkpoint, by another suite or another decoding if asked."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.artifacts import publish_scores
from flows.evaluations import evaluate_checkpoints, find_candidate, regression_state
from flows.requests import (
    CURRENT,
    DataVersion,
    Decoding,
    DecodingOverrides,
    RegisteredCheckpoint,
    Suite,
    base_commit,
    committed_params,
    suite_patch,
)
from flows.run_workspace import RunRequest, run_workspace
from flows.stage_graph import STAGE_RUNNER, run_logger


@flow(name="evaluate", flow_run_name="evaluate {checkpoint}", task_runner=STAGE_RUNNER)
def evaluate(
    checkpoint: RegisteredCheckpoint,
    suite: Suite = (),
    decoding: Decoding = DecodingOverrides(),  # noqa: B008  # frozen
    data_version: DataVersion = CURRENT,
) -> State[object]:
    """Score a checkpoint. What was measured before by the same suite and decoding is not measured again.

    Args:
        checkpoint: A checkpoint registered in models.yaml; `mmada register` adds one.
        suite: Benchmarks to run; none selected means all.
        decoding: What to change in the decoding; what is left empty is as in params.yaml.
        data_version: The commit or promoted version whose benchmark items and picture tokenizer are used.
    """
    project, log = Path.cwd(), run_logger()
    candidate = find_candidate(project, checkpoint)
    commit = base_commit(project, data_version)
    params = committed_params(project, commit)
    patch = decoding.patch(candidate.name, candidate.model.key, params) | suite_patch(suite, params)
    # Not the sweep's workspace: a sweep that finds that one held relies on its holder to look for other checkpoints.
    request = RunRequest("evaluate", commit, patch)
    with run_workspace(project, request, log=log) as workspace:
        done = evaluate_checkpoints(workspace, [candidate], log)
        for reason in done.without.values():
            raise reason
        workspace.finish(f"Evaluate {checkpoint}", log)
    publish_scores(project, done.entries, log)
    return regression_state(project, done.entries, log)
