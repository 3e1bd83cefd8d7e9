"""Evaluate checkpoints that nobody has evaluated yet: one that was just published, and all that were missed."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.artifacts import publish_scores
from flows.checkpoint_events import remove_dropped
from flows.evaluations import Candidate, candidates, evaluate_checkpoints, find_candidate, regression_state
from flows.requests import CURRENT, FirstCheckpoint, base_commit
from flows.run_workspace import RunRequest, run_workspace_if_free
from flows.stage_graph import STAGE_RUNNER, StageFailedError, run_logger
from mmada.evaluation.graph_scores import score_store
from mmada.evaluation.score_store import Entry


@flow(name="reevaluate", task_runner=STAGE_RUNNER)
def reevaluate(checkpoint: FirstCheckpoint = "") -> State[object]:
    """Score every checkpoint that has no score by the current suite.

    An event starts it when a checkpoint is published, and a schedule from time to time. One run at a time does the
    work; one that finds another at it ends at once, because that one looks again before it ends. One checkpoint that
    cannot be evaluated keeps no other from its scores; the run fails in the end, and names it.

    Args:
        checkpoint: Id, registered name or folder of the one to begin with; empty begins with any. All others follow.
    """
    project, log = Path.cwd(), run_logger()
    first = first_candidates(project, checkpoint)
    request = RunRequest("evaluations", base_commit(project, CURRENT), {})
    made: list[Entry] = []
    failed: set[str] = set()
    seen: set[str] = set()
    while not seen.issuperset(candidate.model.id for candidate in candidates(project)):
        with run_workspace_if_free(project, request) as workspace:
            if workspace is None:
                return Completed(message="another run is evaluating; it looks again before it ends")
            wanted = {one.model.id: one for one in [*first, *candidates(project)]}
            before = {entry.identity for entry in score_store(project).entries()}
            done = evaluate_checkpoints(workspace, wanted.values(), log)
            new = [entry for entry in done.entries if entry.identity not in before]
            if new:
                workspace.finish("Evaluate " + ", ".join(entry.name for entry in new), log)
            seen |= wanted.keys()
        publish_scores(project, new, log)
        remove_dropped(project, log)  # those that waited for their scores
        made += new
        failed |= {name for name, reason in done.without.items() if isinstance(reason, StageFailedError)}
    state = regression_state(project, made, log)
    if failed:
        return Failed(message=f"{state.message}; could not be evaluated: {', '.join(sorted(failed))}")
    return state


def first_candidates(project: Path, checkpoint: str) -> list[Candidate]:
    """The checkpoint to begin with. Raises InputError when it is not here.

    None where it has scores: another run of this flow was quicker than the event, and since then its training run may
    have dropped it.
    """
    scored = {entry.checkpoint for entry in score_store(project).entries()}
    return [find_candidate(project, checkpoint)] if checkpoint and checkpoint not in scored else []
