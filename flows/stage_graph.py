"""The graph of dvc.yaml as Prefect tasks: one task per stage, each running `dvc repro` of that single stage.

The only file that knows DVC's Python interface. Nothing of the graph is restated here.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import networkx as nx
from dvc.repo import Repo
from prefect import get_run_logger, task

from flows.remote import DVC_IS_BUSY

_BUSY_WAIT_SECONDS: Final = 5
_LOG_TAIL: Final = 40


@dataclass(frozen=True)
class StageGraph:
    """Stages in an order in which every stage comes after the stages that it depends on."""

    order: tuple[str, ...]
    parents: Mapping[str, frozenset[str]]


def read_stage_graph(project: Path, targets: Iterable[str] = ()) -> StageGraph:
    """Stages of dvc.yaml (those that `targets` need, or all). Unknown targets raise DVC's own error."""
    with Repo(str(project)) as repo:
        graph: nx.DiGraph = repo.index.graph
        chosen = {stage for target in targets for stage in repo.stage.collect(target)}
        # In DVC's graph an edge points from a stage to what it depends on.
        wanted = chosen | {parent for stage in chosen for parent in nx.descendants(graph, stage)}
        part = graph.subgraph(wanted) if chosen else graph
        ordered = reversed(list(nx.lexicographical_topological_sort(part, key=lambda stage: stage.addressing)))
        return StageGraph(
            order=tuple(stage.addressing for stage in ordered),
            parents={
                stage.addressing: frozenset(parent.addressing for parent in part.successors(stage)) for stage in part
            },
        )


@task(task_run_name="{address}", retries=2, retry_delay_seconds=5)
def repro(address: str, project: Path) -> str:
    """Bring one stage up to date with `dvc repro --single-item`; its ancestors must have run before.

    Waits while DVC says that another process is busy with the same files. Raises RuntimeError with the last
    lines of output when the stage fails. Returns "ran" or "unchanged".
    """
    logger = get_run_logger()
    while True:
        code, lines = _dvc_repro(address, project)
        if code == 0:
            ran = any(line.startswith("Running stage") for line in lines)
            logger.info("%s: %s", address, "ran" if ran else "unchanged")
            return "ran" if ran else "unchanged"
        if not any(phrase in line for line in lines for phrase in DVC_IS_BUSY):
            tail = "\n".join(lines[-_LOG_TAIL:])
            raise RuntimeError(f"stage {address} failed (dvc exit code {code}); its last lines:\n{tail}")
        logger.info("%s: waiting for another DVC process", address)
        time.sleep(_BUSY_WAIT_SECONDS)


def _dvc_repro(address: str, project: Path) -> tuple[int, list[str]]:
    """Run DVC in a process group of its own, so that cancelling the task ends the whole tree."""
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", address]
    process = subprocess.Popen(
        command,
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        lines = [line.rstrip("\n") for line in process.stdout]
        return process.wait(), lines
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
