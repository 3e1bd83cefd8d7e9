"""The services of docker/compose.yaml can find each other: no container engine is in tests, but their clients are."""

from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import yaml

from flows.artifacts import SITE_URL
from tests.e2e.project_folder import ROOT

_SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]


def test_the_worker_addresses_services_that_there_are() -> None:
    worker = _SERVICES["worker"]["environment"]
    hosts = {urlsplit(worker[name]).hostname for name in ("PREFECT_API_URL", "AWS_ENDPOINT_URL")}
    assert hosts <= _SERVICES.keys()


def test_s3_clients_take_the_address_of_the_object_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", _SERVICES["worker"]["environment"]["AWS_ENDPOINT_URL"])
    assert boto3.client("s3", region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")


def test_pages_of_runs_hold_no_links_to_a_site_that_no_browser_reaches() -> None:
    assert _SERVICES["worker"]["environment"][SITE_URL] == "" or "ports" in _SERVICES["worker"]
