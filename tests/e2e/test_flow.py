"""The Prefect flow against a real server: the same graph, the same bytes, tens of task runs."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.project_folder import ENVIRONMENT, output_ids, run


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a Prefect server of its own on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("prefect")
    environment = ENVIRONMENT | {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    api = f"http://127.0.0.1:{port}/api"
    deadline = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(f"{api}/health", timeout=2)
            break
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, "the Prefect server did not start within 90 s"
            time.sleep(0.5)
    yield api
    os.killpg(server.pid, signal.SIGTERM)
    server.wait()


def _flow(project: Path, api: str, *targets: str) -> str:
    code = f"from flows.pipeline import pipeline; print(pipeline({list(targets)!r}))"
    return run(project, sys.executable, "-c", code, PREFECT_API_URL=api, DO_NOT_TRACK="1").stdout


def test_the_flow_runs_what_is_stale_and_nothing_else(finished: Path, prefect_api: str) -> None:
    before = output_ids(finished)
    params = finished / "params.yaml"
    original = params.read_text()
    params.write_text(original.replace("min_rows: 200", "min_rows: 201"))
    try:
        printed = _flow(finished, prefect_api, "validate")
        assert "'validate': 'ran'" in printed
        assert "'annotate': 'unchanged'" in printed
        assert "train@stage1" not in printed
    finally:
        params.write_text(original)
    _flow(finished, prefect_api, "validate")
    assert output_ids(finished) == before


def test_a_failing_stage_fails_the_flow_and_says_why(finished: Path, prefect_api: str) -> None:
    params = finished / "params.yaml"
    original = params.read_text()
    params.write_text(original.replace("min_rows: 200", "min_rows: 1000000"))
    try:
        code = (
            "from flows.stage_graph import repro; from flows.pipeline import pipeline; "
            "repro.retries = 0; pipeline(['validate'])"
        )
        result = run(finished, sys.executable, "-c", code, check=False, PREFECT_API_URL=prefect_api, DO_NOT_TRACK="1")
        assert result.returncode != 0
        assert "gate.min_rows" in result.stdout
    finally:
        params.write_text(original)
        run(finished, "dvc", "repro")
