"""Every page in Chromium: it draws what it promises, says no error, and asks nothing of anyone."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mmada.site.html import PAGES
from tests.absent import absent
from tests.site.reading_pages import Page

# What only a page's scripts can have put there: figures, and the facts of the selected output.
DRAWN = dict.fromkeys(PAGES, "js-plotly-plot") | {"lineage": "facts"}


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        absent("Chromium", "install chromium, the site is looked at in it")
    assert found is not None
    return found


def _open(chromium: str, path: Path, profile: Path) -> tuple[Page, list[str]]:
    """The page as it stands after its scripts have run, and the lines of its console."""
    result = subprocess.run(
        [
            chromium, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
            "--enable-logging=stderr", "--virtual-time-budget=5000", "--window-size=1440,1000", "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return Page(result.stdout), [line for line in result.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_draws_itself_without_an_error(chromium: str, small_project: Path, tmp_path: Path, name: str) -> None:
    found, console = _open(chromium, small_project / "site" / f"{name}.html", tmp_path)
    assert console == []
    assert DRAWN[name] in " ".join(found.values("class")).split()


def test_a_request_to_elsewhere_would_be_refused(chromium: str, small_project: Path, tmp_path: Path) -> None:
    """The policy of the pages holds from a file, too: what the console says then is what the test above looks for."""
    site = shutil.copytree(small_project / "site", tmp_path / "site")
    path = site / "index.html"
    path.write_text(path.read_text().replace("</main>", '<img src="https://example.invalid/x.png"></main>'))
    _, console = _open(chromium, path, tmp_path / "profile")
    assert any("Content Security Policy" in line for line in console)
