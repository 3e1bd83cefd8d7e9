"""The Prefect UI in Chromium as a person uses it: fill in a form, follow the run, look at what it made, cancel one."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from flows.flow_process import MARKS, is_alive
from tests.browser.chromium import Page, chromium
from tests.services import Served

# The first test may wait for the small project to be made, and for a server.
pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

# Icons that Prefect's own page names (`/favicon.ico` in its index.html, `/ico/${state}.svg` before a run's state has
# been read) and that its package does not hold.
ABSENT_ICONS = ("/favicon.ico", "/favicon-dark.ico", "/ico/undefined.svg", "/ico/cancelling.svg")
_REFUSED = "Failed to load resource: the server responded with a status of {} ({})"
FORMS = {
    "pipeline": ["Target stage", "Corpus configuration", "Data version"],
    "train": ["Training stage", "Data version", "Overrides", "Steps", "Learning rate", "Mixture weights"],
    "evaluate": ["Checkpoint", "Benchmarks", "Decoding", "Think", "Guidance", "Data version"],
    "reevaluate": ["First checkpoint"],
}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path / "profile") as opened:
        yield opened


def _assert_quiet(page: Page, served: Served, *expected: str) -> None:
    """The console told of no errors but those `expected`, and no request left this machine."""
    ui = served.api.removesuffix("/api")
    absent = {f"{_REFUSED.format(404, 'Not Found')} {ui}{icon}" for icon in ABSENT_ICONS}
    assert set(page.errors) - absent == set(expected)
    asked = [urlsplit(url) for url in page.requests]
    assert {url.hostname for url in asked if url.scheme not in ("data", "blob", "about")} == {"127.0.0.1"}


def _open_form(page: Page, served: Served, flow: str) -> None:
    deployment = served.get(f"deployments/name/{flow}/mmada")["id"]
    page.open(f"{served.api.removesuffix('/api')}/deployments/deployment/{deployment}/run")
    page.wait_for_text("Validate parameters", seconds=60)


def _entry(page: Page, title: str) -> str:
    """CSS selector of the input or list below a title of the form."""
    quoted = json.dumps(title)
    page.wait_for(
        f"""[...document.querySelectorAll('.schema-form-property__label')].some(label =>
          label.innerText.replace(' (Optional)', '') === {quoted} &&
          (label.closest('.schema-form-property').querySelector('input, select').dataset.title = {quoted}))"""
    )
    return f"[data-title={quoted}]"


@pytest.mark.parametrize("flow", FORMS)
def test_a_form_reads_well(page: Page, served: Served, flow: str) -> None:
    _open_form(page, served, flow)
    titles = page.evaluate(
        "[...document.querySelectorAll('.schema-form-property__label')].map(label => label.innerText)"
    )
    titles = [title.removesuffix(" (Optional)") for title in titles]
    assert [title for title in titles if title in FORMS[flow]] == FORMS[flow]
    assert not page.evaluate("document.body.innerText.includes('None')"), "an optional number is an empty field"
    _assert_quiet(page, served)


def test_a_stage_is_trained_from_the_form(page: Page, served: Served) -> None:
    _open_form(page, served, "train")
    page.choose(_entry(page, "Training stage"), "stage1")
    page.type(_entry(page, "Steps"), "6")
    page.type(_entry(page, "Batch size"), "5")
    page.type(_entry(page, "Batch size"), "")  # a change of mind
    page.click("button[type=submit]", "Submit")
    page.wait_for("!location.pathname.endsWith('/run')")  # the form gives way to the deployment's runs
    page.wait_for("!!document.querySelector('a[href*=\"/runs/flow-run/\"]')", 120)
    # Opened by its address: the message that links to it is gone within seconds, and the list is drawn anew meanwhile.
    address = page.evaluate("document.querySelector('a[href*=\"/runs/flow-run/\"]').getAttribute('href')")
    page.open(f"{served.api.removesuffix('/api')}{address}")
    run = address.rpartition("/")[2].partition("?")[0]
    assert served.get(f"flow_runs/{run}")["parameters"]["overrides"] == {"max_steps": 6}
    page.wait_for("[...document.querySelectorAll('.state-badge')].some(one => one.innerText === 'Completed')", 240)

    page.click("#artifacts")
    for kind in ("training-stage1", "trace", "rows"):
        page.wait_for_text(f"{kind}-")
    found = served.post("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
    ids = {artifact["key"].rpartition("-")[0]: artifact["id"] for artifact in found}
    ui = served.api.removesuffix("/api")
    page.open(f"{ui}/artifacts/artifact/{ids['training-stage1']}")
    page.wait_for("[...document.images].some(one => one.src.startsWith('data:image/png') && one.naturalWidth > 400)")
    page.wait_for_text("at step 6")
    page.open(f"{ui}/artifacts/artifact/{ids['trace']}")
    page.wait_for_text("ingest@captions")
    page.open(f"{ui}/artifacts/artifact/{ids['rows']}")
    page.wait_for_text("by reason")
    page.wait_for("document.querySelectorAll('table tbody tr').length >= 6")
    _assert_quiet(page, served)


def test_cancelling_on_its_page_ends_the_whole_tree_and_frees_the_slot(page: Page, served: Served) -> None:
    long = served.start("train", stage="stage1", overrides={"max_steps": 5000})
    served.wait_for_process("mmada run train@stage1")
    page.open(f"{served.api.removesuffix('/api')}/runs/flow-run/{long}")
    page.click("button", "Cancel")
    page.click("button", "Confirm")
    asked = time.monotonic()
    while served.processes("mmada run train@stage1"):
        assert time.monotonic() - asked < 10, "a cancelled run goes on after 10 s"
        time.sleep(0.1)
    served.wait(long, "CANCELLED", seconds=60)
    page.wait_for("[...document.querySelectorAll('.state-badge')].some(one => one.innerText === 'Cancelled')", 60)
    mark = served.project / MARKS / long
    assert not mark.exists() or not is_alive(mark), "the run's own process is gone, too"
    _assert_quiet(page, served)


def test_an_impossible_request_is_refused(page: Page, served: Served) -> None:
    _open_form(page, served, "train")
    page.choose(_entry(page, "Training stage"), "stage1")
    page.type(_entry(page, "Steps"), "-5")
    page.click("button[type=submit]", "Submit")
    page.wait_for_text("-5 is less than or equal to the minimum of 0")
    assert page.evaluate("location.pathname").endswith("/run"), "the form stays, with what was filled in"
    refused = f"{served.api}/deployments/{served.get('deployments/name/train/mmada')['id']}/create_flow_run"
    _assert_quiet(page, served, f"{_REFUSED.format(409, 'Conflict')} {refused}", "vO")  # vO: Prefect's own HTTP error
    for wrong in ({"overrides": {"max_steps": -5}}, {"data_version": "never promoted"}):
        with pytest.raises(httpx.HTTPStatusError, match="Client error '4"):
            served.start("train", stage="stage1", **wrong)
