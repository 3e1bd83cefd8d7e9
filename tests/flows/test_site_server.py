"""Sites over HTTP: the project's, those of runs, and no other file."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flows.site_server import start_site_server
from tests.services import free_port

RUN = "0123456789abcdef"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    for folder, text in ((tmp_path, "project"), (tmp_path / ".mmada/runs" / RUN, "run")):
        (folder / "site").mkdir(parents=True)
        (folder / "site/index.html").write_text(text)
        (folder / "params.yaml").write_text("secret")
    server = start_site_server(tmp_path, "site", host="127.0.0.1", port=(port := free_port()))
    yield f"http://127.0.0.1:{port}"
    server.shutdown()
    server.server_close()


def test_the_sites_are_shown(address: str) -> None:
    assert httpx.get(f"{address}/index.html").text == "project"
    assert httpx.get(f"{address}/").text == "project"
    assert httpx.get(f"{address}/runs/{RUN}/index.html?page=1").text == "run"


@pytest.mark.parametrize(
    "path",
    [
        "/params.yaml",
        "/../params.yaml",
        "/%2e%2e/params.yaml",
        f"/runs/{RUN}/../params.yaml",
        f"/runs/{RUN}/%2e%2e/params.yaml",
        "/runs/ffffffffffffffff/index.html",
        "/runs/..%2f..%2fparams.yaml",
    ],
)
def test_no_other_file_is(address: str, path: str) -> None:
    answer = httpx.get(httpx.URL(address).copy_with(raw_path=path.encode()))
    assert answer.status_code == 404
    assert "secret" not in answer.text
