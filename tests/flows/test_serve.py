"""What `make serve` refuses at once, instead of trying it again and again, and what it says while it waits."""

import base64
import logging
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from flows import serve
from flows.kept_process import KeptProcess
from tests.services import free_port


@pytest.mark.parametrize(
    "wrong", [["--port", "99999"], ["--site-port", "0"], ["--limit", "0"], ["--sweep-minutes", "0"]]
)
def test_an_option_that_cannot_work_is_refused(wrong: list[str]) -> None:
    app = typer.Typer()
    app.command()(serve.serve)
    assert CliRunner().invoke(app, wrong).exit_code == 2


def _refused(capsys: pytest.CaptureFixture[str], *, port: int, no_server: bool = False) -> str:
    with pytest.raises(typer.Exit) as ended:
        serve.serve(port, port, no_server=no_server)
    assert ended.value.exit_code == 2
    return capsys.readouterr().err


def test_one_port_for_two_servers_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be both the server's and the site's" in _refused(capsys, port=free_port())


def test_an_address_without_http_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "server:4200/api")
    assert "--no-server needs PREFECT_API_URL" in _refused(capsys, port=free_port(), no_server=True)


def test_a_wrong_number_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMADA_STAGES", "two")
    assert "MMADA_STAGES is 'two'" in _refused(capsys, port=free_port())


def test_a_project_without_a_commit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy("params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "commit the project first" in _refused(capsys, port=free_port())


def test_a_worker_says_once_that_its_server_does_not_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    worker = KeptProcess("worker", ["true"], {}, tmp_path / "worker.log")
    watch = serve.Watch(tmp_path, f"http://127.0.0.1:{free_port()}/api", server=None, worker=worker, limit=1)
    with caplog.at_level(logging.INFO, "flows.serve"):
        watch.tick()
        watch.tick()
    assert [record.getMessage() for record in caplog.records] == [
        "the server of PREFECT_API_URL does not answer; waiting for it"
    ]


class _Proxy(BaseHTTPRequestHandler):
    """Lets those through who know the password, as the proxy of a team does."""

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == f"Basic {base64.b64encode(b'me:secret').decode()}"
        self.send_response(200 if known and self.path == "/api/health" else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_a_server_behind_a_proxy_with_a_password_answers(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    assert not serve._is_healthy(proxy)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:secret")
    assert serve._is_healthy(proxy)
