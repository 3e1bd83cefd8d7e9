"""Evaluate checkpoints that nobody has evaluated yet: one that was just published, or all that were missed."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.artifacts import publish_scores
from flows.evaluations import candidates, evaluate_checkpoints, find_candidate, regression_state, score_store
from flows.requests import CURRENT, base_commit
from flows.run_workspace import RunRequest, run_workspace
from flows.stage_graph import run_logger


@flow(name="reevaluate")
def reevaluate(checkpoint: str = "") -> State[object]:
    """Score every checkpoint that has no score by the current suite. An event starts it with a checkpoint, a schedule
    without; when both come, each checkpoint is still scored once.

    Args:
        checkpoint: Id, name or folder of one checkpoint; empty looks at all.
    """
    project, log = Path.cwd(), run_logger()
    request = RunRequest("evaluations", base_commit(project, CURRENT), {})
    with run_workspace(project, request, log=log) as workspace:
        wanted = [find_candidate(project, checkpoint)] if checkpoint else candidates(project)
        before = {entry.identity for entry in score_store(project).entries()}
        entries = evaluate_checkpoints(workspace, wanted, log)
        new = [entry for entry in entries if entry.identity not in before]
        if new:
            workspace.finish("Evaluate " + ", ".join(entry.name for entry in new), log)
    if checkpoint or new:
        publish_scores(project, entries if checkpoint else new)
    return regression_state(project, new, log)
