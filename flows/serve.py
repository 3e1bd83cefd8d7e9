"""Everything that makes the Prefect UI work, with one command: server, work pool, worker, deployments, and their watch.

`make serve` runs this. It starts a server on loopback (SQLite, or the database that
PREFECT_SERVER_DATABASE_CONNECTION_URL names), makes the deployments, keeps server and worker running, starts dead runs
again, renews the deployments when their choices change, and shows the project's site. With `--no-server` it is a worker
machine of a team: PREFECT_API_URL names the server.
"""

import base64
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from flows.kept_process import KeptProcess
from mmada.data_versions import data_versions
from mmada.environment import whole_number
from mmada.errors import InputError, MmadaError
from mmada.git import GitError, git
from mmada.params_schema import load_params

_LOG: Final = logging.getLogger("flows.serve")
_HOST: Final = "127.0.0.1"
_LAST_PORT: Final = 65535
_TICK_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 30.0
_LOGS: Final = Path(".mmada/logs")
_KEPT_WORKSPACES: Final = 20


class Watch:
    """The loop that keeps everything up. `server` is None on a machine that only works."""

    def __init__(self, project: Path, api: str, *, server: KeptProcess | None, worker: KeptProcess, limit: int) -> None:
        self.project, self.api, self.server, self.worker, self.limit = project, api, server, worker, limit
        self.sweep_seconds = 900.0
        self.deployed: object = None
        self.tried: object = None
        self.tried_at = 0.0
        self.answers: bool | None = None

    def tick(self) -> None:
        """Look at everything once."""
        if self.server is not None:
            self.server.keep()
        answers = _is_healthy(self.api)
        if self.server is None and answers != self.answers:
            # Without the address: it may hold a password.
            _LOG.info("the server of PREFECT_API_URL %s", "answers" if answers else "does not answer; waiting for it")
        self.answers = answers
        if not answers:
            return
        self._renew()
        if self.deployed is not None:
            self.worker.keep()
            self._recover()

    def _renew(self) -> None:
        """Make the deployments again when their choices have changed; what failed is tried again, but not at once."""
        choices = _choices(self.project)
        rested = time.monotonic() - self.tried_at > _RETRY_SECONDS
        if choices == self.deployed or (choices == self.tried and not rested):
            return
        self.tried, self.tried_at = choices, time.monotonic()
        if self._deploy():
            first, self.deployed = self.deployed is None, choices
            if first:
                self._catch_up()

    def _deploy(self) -> bool:
        from prefect.client.orchestration import get_client

        from flows.deployments import make_pool

        with get_client(sync_client=True) as client:
            make_pool(client, limit=self.limit)
        # In a process of its own: the choices of the form are read when the flows are imported.
        command = [sys.executable, "-m", "flows.deployments", "--seconds", str(self.sweep_seconds)]
        done = subprocess.run(command, cwd=self.project, capture_output=True, text=True, check=False)
        if done.returncode:
            _LOG.error("the deployments could not be made:\n%s", (done.stdout + done.stderr)[-2000:])
            return False
        _LOG.info("deployments made: pipeline, train, evaluate, reevaluate")
        return True

    def _catch_up(self) -> None:
        """What was missed while nothing was served is not left to wait for the next sweep; old workspaces go."""
        from prefect.deployments import run_deployment

        from flows.run_workspace import drop_old_workspaces

        run_deployment("reevaluate/mmada", timeout=0)
        if dropped := drop_old_workspaces(self.project, keep=_KEPT_WORKSPACES):
            _LOG.info("%d old workspaces removed; their results are on branches runs/...", len(dropped))

    def _recover(self) -> None:
        from prefect.client.orchestration import get_client

        from flows.recovery import recover_dead_runs

        with get_client(sync_client=True) as client:
            recover_dead_runs(client, self.project)


def serve(
    port: Annotated[int, typer.Option(min=1, max=_LAST_PORT, help="Port of the Prefect server and its UI.")] = 4200,
    site_port: Annotated[int, typer.Option(min=1, max=_LAST_PORT, help="Port on which the site is shown.")] = 4201,
    limit: Annotated[int, typer.Option(min=1, help="Runs that may go on at once; the others wait.")] = 3,
    sweep_minutes: Annotated[
        float, typer.Option(min=0.1, help="Minutes between two looks for missed checkpoints.")
    ] = 15.0,
    no_server: Annotated[bool, typer.Option("--no-server", help="Work for the server of PREFECT_API_URL.")] = False,
) -> None:
    """Serve the project in the current folder until it is interrupted (Ctrl-C)."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    project = Path.cwd()
    try:
        params = load_params(project / "params.yaml")
        _check_commit(project)
        whole_number("MMADA_STAGES", default=2, least=1)  # runs read it, each in a process of its own
        api = _api_url(port, no_server=no_server)
        _check_ports([site_port] if no_server else [port, site_port])
        os.environ.update(_environment(project, api, site_port))
        watch = _make_watch(project, api, port, limit=limit, no_server=no_server)
    except MmadaError as error:
        sys.stderr.write(f"mmada: {error}\n")
        raise typer.Exit(2) from None
    watch.sweep_seconds = sweep_minutes * 60
    # What imports Prefect comes after the environment is set: it reads its settings once.
    from flows.site_server import start_site_server

    start_site_server(project, params.paths.site, host=_HOST, port=site_port)
    _LOG.info("site: http://%s:%d   logs: %s", _HOST, site_port, _LOGS)
    if not no_server:
        _LOG.info("the Prefect UI will be at http://%s:%d within seconds; Ctrl-C ends everything", _HOST, port)
    _watch_until_interrupted(watch)


def _watch_until_interrupted(watch: Watch) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        while True:
            try:
                watch.tick()
            except MmadaError as error:
                _LOG.error("%s", error)
            except Exception:
                _LOG.exception("a look at server and worker failed; the next one follows")
            time.sleep(_TICK_SECONDS)
    except KeyboardInterrupt:
        _LOG.info("ending; runs that go on are continued by the next `make serve`")
    finally:
        watch.worker.end()
        if watch.server is not None:
            watch.server.end()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _make_watch(project: Path, api: str, port: int, *, limit: int, no_server: bool) -> Watch:
    prefect = [sys.executable, "-m", "prefect"]
    server = KeptProcess(
        "server",
        [*prefect, "server", "start", "--host", _HOST, "--port", str(port)],
        os.environ,
        project / _LOGS / "server.log",
    )
    worker = KeptProcess(
        "worker",
        [*prefect, "worker", "start", "--pool", "mmada", "--type", "process", "--name", socket.gethostname()],
        os.environ,
        project / _LOGS / "worker.log",
    )
    return Watch(project, api, server=None if no_server else server, worker=worker, limit=limit)


def _environment(project: Path, api: str, site_port: int) -> Mapping[str, str]:
    """What server, worker and runs are told; what the user has set stays."""
    defaults = {
        "PREFECT_HOME": str(project / ".mmada/prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
        # SQLite has one writer: on a busy machine a click waits for its turn instead of failing.
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
        "PREFECT_WORKER_QUERY_SECONDS": "1",  # the default of 10 s is most of the time from a click to a running step
        "MMADA_SITE_URL": f"http://{_HOST}:{site_port}",
        "DVC_NO_ANALYTICS": "1",
    }
    return {name: os.environ.get(name, value) for name, value in defaults.items()} | {"PREFECT_API_URL": api}


def _api_url(port: int, *, no_server: bool) -> str:
    if not no_server:
        return f"http://{_HOST}:{port}/api"
    if not os.environ.get("PREFECT_API_URL", "").startswith(("http://", "https://")):
        raise InputError("--no-server needs PREFECT_API_URL, the server's address: http://<host>:4200/api")
    return os.environ["PREFECT_API_URL"].rstrip("/")


def _check_commit(project: Path) -> None:
    try:
        git(project, "rev-parse", "--verify", "HEAD")
    except GitError as error:
        raise InputError(f"runs work in git worktrees: commit the project first ({error})") from None


def _check_ports(ports: list[int]) -> None:
    if len(set(ports)) < len(ports):
        raise InputError(f"port {ports[0]} cannot be both the server's and the site's: set another PORT or SITE_PORT")
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError as error:
                raise InputError(
                    f"port {port} on {_HOST} cannot be used ({error.strerror}): another `make serve` may be running; "
                    "end it, or choose other ports with PORT=... SITE_PORT=... (--port, --site-port)"
                ) from None


def _is_healthy(api: str) -> bool:
    request = urllib.request.Request(f"{api}/health")
    if password := os.environ.get("PREFECT_API_AUTH_STRING"):  # which Prefect's own clients send to a proxy, too
        request.add_header("Authorization", f"Basic {base64.b64encode(password.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _choices(project: Path) -> tuple[object, ...]:
    """What the choices of the forms are made from."""
    files = [project / "params.yaml", project / "models.yaml", *sorted((project / "docs/params").glob("*.yaml"))]
    return (*((file.name, file.read_bytes()) for file in files if file.exists()), *data_versions(project))


if __name__ == "__main__":
    typer.run(serve)
