"""The graph of dvc.yaml as Prefect tasks: one task per stale stage, each running `dvc repro` of that stage alone.

The only file that knows DVC's Python interface. Nothing of the graph is restated here.
"""

import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import networkx as nx
from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo
from dvc.stage import Stage
from prefect import get_run_logger, task
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.process_tree import end_all, run_tree
from flows.remote import DVC_IS_BUSY
from mmada.dvc_lock import mend_torn_files
from mmada.environment import whole_number
from mmada.errors import InputError, MmadaError, PreemptedError, one_line

RunLogger = logging.Logger | logging.LoggerAdapter[Any]
STAGE_RUNNER: Final = cast(
    TaskRunner[PrefectFuture[Any]],
    ThreadPoolTaskRunner[Any](max_workers=whole_number("MMADA_STAGES", default=2, least=1)),
)
"""Task runner of flows that bring stages up to date: as many at once as MMADA_STAGES says."""
_BUSY_WAIT_SECONDS: Final = 5
_LOG_TAIL: Final = 40
_PROGRESS: Final = re.compile(r"\d+%\|")
_PROGRESS_SECONDS: Final = 10.0
_CHATTER: Final = (
    "To track the changes",
    "git add dvc.lock",
    "To enable auto staging",
    "dvc config core.autostage",
    "Use `dvc",
)
_USER_ERROR: Final = f"exited with {MmadaError.exit_code}"
_PREEMPTED: Final = f"exited with {PreemptedError.exit_code}"


class StageFailedError(RuntimeError):
    """A stage ended with an error; `by_user`: one that only another input or parameter mends."""

    def __init__(self, address: str, lines: Sequence[str]) -> None:
        self.by_user = any(line.rstrip().endswith(_USER_ERROR) for line in lines)
        tail = "\n".join(line for line in lines[-_LOG_TAIL:] if not _PROGRESS.search(line))
        super().__init__(f"stage {address} failed; its last lines:\n{tail}")


@dataclass(frozen=True)
class StageGraph:
    """Stages in an order in which every stage comes after the stages that it depends on.

    `stale`: those that DVC would run, or that come after one of them.
    """

    order: tuple[str, ...]
    parents: Mapping[str, frozenset[str]]
    stale: frozenset[str]


def read_stage_graph(project: Path, targets: Iterable[str] = ()) -> StageGraph:
    """Stages of dvc.yaml (those that `targets` need, or all).

    A stage whose output is not on disk, but known to dvc.lock, is not stale. Waits while DVC is busy in `project`.
    Raises InputError with DVC's words where there is no such stage, or no project that DVC can read.
    """
    names = list(targets)
    mend_torn_files(project)
    while True:
        try:
            with chdir(project), Repo() as repo:
                return _read(repo, names)
        except LockError:
            time.sleep(_BUSY_WAIT_SECONDS)
        except DvcException as error:
            raise InputError(f"DVC cannot read the graph of {project.resolve()}: {one_line(error)}") from error


def _read(repo: Repo, targets: Sequence[str]) -> StageGraph:
    graph: nx.DiGraph = repo.index.graph
    chosen = {stage for target in targets for stage in repo.stage.collect(target)}
    # In DVC's graph an edge points from a stage to what it depends on.
    wanted = chosen | {parent for stage in chosen for parent in nx.descendants(graph, stage)}
    part = graph.subgraph(wanted) if chosen else graph
    ordered = list(reversed(list(nx.lexicographical_topological_sort(part, key=lambda stage: stage.addressing))))
    stale: set[Stage] = set()
    with repo.lock:
        for stage in ordered:
            if stale & set(part.successors(stage)) or _is_stale(stage):
                stale.add(stage)
    return StageGraph(
        order=tuple(stage.addressing for stage in ordered),
        parents={stage.addressing: frozenset(parent.addressing for parent in part.successors(stage)) for stage in part},
        stale=frozenset(stage.addressing for stage in stale),
    )


def _is_stale(stage: Stage) -> bool:
    # An output that is not cached can only be made again.
    return stage.changed(allow_missing=True) or any(not out.use_cache and not out.exists for out in stage.outs)


def run_logger() -> RunLogger:
    """Log of the flow or task run that this is called in."""
    return get_run_logger()


def local_cache(project: Path) -> Path:
    """Folder of the project's DVC cache."""
    with Repo(str(project)) as repo:
        return Path(repo.cache.local_cache_dir).resolve()


def bring_up_to_date(project: Path, targets: Iterable[str] = ()) -> dict[str, str]:
    """Run what is stale among `targets` (stage addresses; none: all) and their ancestors. Call it inside a flow.

    Returns stage -> "ran", "restored" (its output was made before and came from the cache) or "unchanged". Raises
    StageFailedError when a stage fails. When the flow is cancelled, everything that runs ends with it.
    """
    graph = read_stage_graph(project, targets)
    outcome = {address: "unchanged" for address in graph.order if address not in graph.stale}
    needed = sorted({parent for address in graph.stale for parent in graph.parents[address]} - graph.stale)
    if needed:
        fetch_outputs(project, needed)
    futures: dict[str, PrefectFuture[str]] = {}
    try:
        for address in graph.order:
            if address in graph.stale:
                parents = [futures[parent] for parent in sorted(graph.parents[address] & graph.stale)]
                futures[address] = repro.submit(address, project.resolve(), wait_for=parents, return_state=False)
        outcome |= {address: future.result() for address, future in futures.items()}
    except BaseException:
        end_all()
        raise
    return outcome


def fetch_outputs(project: Path, addresses: Iterable[str]) -> None:
    """Put the outputs of stages that are up to date on disk: from the cache, or from the remote where there is one.

    Raises RuntimeError with DVC's last lines when they cannot be had.
    """
    names = list(addresses)
    log = get_run_logger()
    done = _run_dvc(project, ["checkout", *names], log)
    if done.code:
        log.info("not all outputs are in the cache; pulling them from the remote")
        done = _run_dvc(project, ["pull", *names], log)
    if done.code:
        raise RuntimeError(f"outputs of {', '.join(names)} cannot be had:\n" + "\n".join(done.lines[-_LOG_TAIL:]))


def _may_retry(_task: object, _run: object, state: State[str]) -> bool:
    try:
        state.result()
    except StageFailedError as error:
        return not error.by_user
    except Exception:
        return True
    return False


@task(task_run_name="{address}", retries=2, retry_delay_seconds=5, retry_condition_fn=_may_retry)
def repro(address: str, project: Path) -> str:
    """Bring one stage up to date with `dvc repro --single-item`; its ancestors must have run before.

    Waits while DVC says that another process is busy with the same files; goes on with training that was asked to end
    and has saved its state, if this process still runs. Raises StageFailedError with the last lines
    of output when the stage fails. Returns "ran", "restored" or "unchanged".
    """
    log = get_run_logger()
    while True:
        done = _run_dvc(project, ["repro", "--single-item", address], log)
        if done.code == 0:
            outcome = _outcome(done.lines)
            log.info("%s: %s", address, outcome)
            return outcome
        if any(line.rstrip().endswith(_PREEMPTED) for line in done.lines):
            log.info("%s: was asked to end and has saved its state; it goes on from there", address)
            continue
        if not any(phrase in line for line in done.lines for phrase in DVC_IS_BUSY):
            raise StageFailedError(address, done.lines)
        log.info("%s: waiting for another DVC process", address)
        time.sleep(_BUSY_WAIT_SECONDS)


def _outcome(lines: Sequence[str]) -> str:
    if any(line.startswith("Running stage") for line in lines):
        return "ran"
    return "restored" if any("is cached - skipping run" in line for line in lines) else "unchanged"


@dataclass(frozen=True)
class _Done:
    code: int
    lines: Sequence[str]


def _run_dvc(project: Path, arguments: Sequence[str], log: RunLogger) -> _Done:
    """Run DVC on `project` with the project's own code, whatever is installed."""
    lines: list[str] = []
    show = _Shown(log)

    def take(line: str) -> None:
        lines.append(line)
        show(line)

    environment = os.environ | {"PYTHONPATH": str(project), "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    return _Done(run_tree(command, cwd=project, environment=environment, on_line=take), lines)


class _Shown:
    """Passes lines on to a run's log, of progress bars only one every few seconds."""

    def __init__(self, log: RunLogger) -> None:
        self.log = log
        self.last_progress = 0.0

    def __call__(self, line: str) -> None:
        if not line.strip() or line.strip().startswith(_CHATTER):
            return
        if _PROGRESS.search(line):
            if time.monotonic() - self.last_progress < _PROGRESS_SECONDS:
                return
            self.last_progress = time.monotonic()
        self.log.info("%s", line)
