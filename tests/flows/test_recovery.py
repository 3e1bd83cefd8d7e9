"""Which state a run gets when its process is gone, and which runs are left alone."""

import fcntl
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.filters import WorkPoolFilter
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound

from flows.deployments import POOL
from flows.flow_process import MARKS
from flows.recovery import MAX_STARTS, recover_dead_runs


class Server:
    """What recovery asks of a Prefect server; remembers the states that runs went through."""

    def __init__(self) -> None:
        self.runs: dict[uuid.UUID, Any] = {}
        self.history: list[tuple[StateType, str | None]] = []

    def add(self, kind: StateType, *, pid: str | None = None, age: float = 0.0, pool: str = POOL) -> uuid.UUID:
        id_ = uuid.uuid4()
        state = State(type=kind, timestamp=datetime.now(UTC) - timedelta(seconds=age))
        self.runs[id_] = SimpleNamespace(id=id_, name="run", state=state, infrastructure_pid=pid, pool=pool)
        return id_

    def read_flow_run(self, id_: uuid.UUID) -> Any:
        if id_ not in self.runs:
            raise ObjectNotFound(Exception("no such run"))
        return self.runs[id_]

    def read_flow_runs(self, *, work_pool_filter: WorkPoolFilter | None = None, **_: object) -> list[Any]:
        wanted = work_pool_filter.name.any_ if work_pool_filter and work_pool_filter.name else None
        pending = [run for run in self.runs.values() if run.state.type == StateType.PENDING]
        return [run for run in pending if wanted is None or run.pool in wanted]

    def set_flow_run_state(self, id_: uuid.UUID, state: State[Any], *, force: bool) -> None:
        assert force
        self.runs[id_].state = state
        self.history.append((state.type, state.name))


@pytest.fixture
def server() -> Server:
    return Server()


def _mark(project: Path, id_: uuid.UUID, starts: int = 1) -> Path:
    mark = project / MARKS / str(id_)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text("1\n" * starts)
    return mark


def _recover(server: Server, project: Path) -> list[uuid.UUID]:
    return recover_dead_runs(server, project)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [StateType.RUNNING, StateType.CRASHED])
def test_a_dead_run_is_marked_and_started_again(server: Server, tmp_path: Path, kind: StateType) -> None:
    id_ = server.add(kind)
    mark = _mark(tmp_path, id_)
    assert _recover(server, tmp_path) == [id_]
    crashed = [] if kind == StateType.CRASHED else [(StateType.CRASHED, "Crashed")]
    assert server.history == [*crashed, (StateType.SCHEDULED, "AwaitingRetry")]
    assert mark.exists(), "the next start is counted with this one"
    assert _recover(server, tmp_path) == [], "a run that waits for its start is left alone"


def test_a_living_run_is_left_alone(server: Server, tmp_path: Path) -> None:
    mark = _mark(tmp_path, server.add(StateType.RUNNING))
    with mark.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert _recover(server, tmp_path) == []
    assert server.history == []


def test_what_dies_again_and_again_stays_crashed(server: Server, tmp_path: Path) -> None:
    mark = _mark(tmp_path, server.add(StateType.RUNNING), starts=MAX_STARTS)
    assert _recover(server, tmp_path) == []
    assert server.history == [(StateType.CRASHED, "Crashed")]
    assert not mark.exists()


def test_a_run_that_was_being_cancelled_is_cancelled(server: Server, tmp_path: Path) -> None:
    mark = _mark(tmp_path, server.add(StateType.CANCELLING))
    assert _recover(server, tmp_path) == []
    assert server.history == [(StateType.CANCELLED, "Cancelled")]
    assert not mark.exists()


@pytest.mark.parametrize("kind", [StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED])
def test_the_mark_of_an_ended_run_goes(server: Server, tmp_path: Path, kind: StateType) -> None:
    mark = _mark(tmp_path, server.add(kind))
    assert _recover(server, tmp_path) == []
    assert (server.history, mark.exists()) == ([], False)


def test_the_mark_of_a_deleted_run_goes(server: Server, tmp_path: Path) -> None:
    mark = _mark(tmp_path, uuid.uuid4())
    assert _recover(server, tmp_path) == []
    assert not mark.exists()


def test_a_run_whose_worker_died_before_it_started_is_started_again(server: Server, tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    lost = server.add(StateType.PENDING, pid=f":{dead.pid}", age=90)
    server.add(StateType.PENDING, pid=f":{dead.pid}", age=5)
    server.add(StateType.PENDING, pid="another-machine:1", age=90)
    server.add(StateType.PENDING, pid=":1", age=90)
    assert _recover(server, tmp_path) == [lost]
    assert server.history == [(StateType.SCHEDULED, "AwaitingRetry")]


def test_a_pod_of_another_pool_that_is_long_in_starting_is_left_alone(server: Server, tmp_path: Path) -> None:
    server.add(StateType.PENDING, pid="cluster:namespace:job-x7", age=600, pool="kubernetes")
    assert _recover(server, tmp_path) == []
    assert server.history == []
