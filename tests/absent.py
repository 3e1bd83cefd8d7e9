"""What a test does when a tool or a corpus that it needs is not on this machine."""

import os
from typing import NoReturn

import pytest


def absent(what: str, how: str) -> NoReturn:
    """Skip the test by name; with CI=true fail it, because CI must have everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is absent, and CI must have it: {how}")
    pytest.skip(f"{what} is absent: {how}")
