"""Runs whose process is gone: marked, then started again, where they continue from what was done.

A run is dead when this machine started it and its mark is free (see `flows.flow_process`), whatever its server says.
"""

import logging
import socket
import time
from pathlib import Path
from typing import Final
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Crashed

from flows.deployments import POOL
from flows.flow_process import MARKS, is_alive, starts

MAX_STARTS: Final = 5
"""A run that died this often stays crashed: something kills it that starting again does not mend."""
_PENDING_SECONDS: Final = 60.0
_ENDED: Final = {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED}
_LOG: Final = logging.getLogger("flows.recovery")


def recover_dead_runs(client: SyncPrefectClient, project: Path) -> list[UUID]:
    """Look at all runs that this machine has started; returns those that are started again.

    A dead run becomes Crashed, then AwaitingRetry; one that was being cancelled becomes Cancelled. Marks of runs that
    ended are removed.
    """
    restarted = []
    for mark in sorted((project / MARKS).glob("*")):
        if is_alive(mark):
            continue
        try:
            run = client.read_flow_run(UUID(mark.name))
        except ObjectNotFound:
            mark.unlink()
            continue
        if _settle(client, run, mark):
            restarted.append(run.id)
    return restarted + _recover_unstarted(client, project)


def _settle(client: SyncPrefectClient, run: FlowRun, mark: Path) -> bool:
    """Bring a run whose process is gone into its right state; whether it is started again."""
    kind = run.state.type if run.state else None
    if kind in _ENDED:
        mark.unlink()
        return False
    if kind == StateType.CANCELLING:
        client.set_flow_run_state(run.id, Cancelled(message="its process had ended"), force=True)
        mark.unlink()
        return False
    if kind not in {StateType.RUNNING, StateType.CRASHED}:
        return False  # scheduled or pending: it is about to start (again)
    message = f"the process of this run ended without a word (start {starts(mark)} of {MAX_STARTS})"
    if kind == StateType.RUNNING:
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)
    if starts(mark) >= MAX_STARTS:
        mark.unlink()
        return False
    return _start_again(client, run, message)


def _recover_unstarted(client: SyncPrefectClient, project: Path) -> list[UUID]:
    """Runs that a worker of this machine took and died before it started them."""
    pending = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING])))
    restarted = []
    ours = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))  # of other pools we cannot know what is dead
    for run in client.read_flow_runs(flow_run_filter=pending, work_pool_filter=ours):
        if run.state is None or (project / MARKS / str(run.id)).exists():
            continue
        waited = time.time() - run.state.timestamp.timestamp()
        if waited > _PENDING_SECONDS and _process_is_gone(run) and _start_again(client, run, "its worker had ended"):
            restarted.append(run.id)
    return restarted


def _process_is_gone(run: FlowRun) -> bool:
    """Whether the run names no process, or one of this machine that does not exist."""
    host, _, pid = (run.infrastructure_pid or "").rpartition(":")
    if not pid.isdigit():
        return True
    return host in {"", socket.gethostname()} and not psutil.pid_exists(int(pid))


def _start_again(client: SyncPrefectClient, run: FlowRun, why: str) -> bool:
    _LOG.warning("flow run %s is started again: %s", run.name, why)
    client.set_flow_run_state(run.id, AwaitingRetry(message=f"{why}; it continues from what was done"), force=True)
    return True
