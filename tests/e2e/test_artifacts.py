"""What the page of a run shows, of a workspace that holds everything."""

import base64
import io
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows import artifacts
from flows.run_workspace import RunRequest, RunWorkspace


@pytest.fixture(scope="module")
def published(finished: Path) -> dict[str, Any]:
    """Artifacts of the finished project, as if a run had just made it: kind -> markdown, table or link."""
    made: dict[str, Any] = {}

    def keep(content: Any = None, *, key: str, link: str = "", **_: str) -> None:
        made[key.rpartition("-")[0]] = content or link

    with pytest.MonkeyPatch.context() as patch:
        for name in ("create_markdown_artifact", "create_table_artifact", "create_link_artifact"):
            patch.setattr(artifacts, name, keep)
        patch.setenv(artifacts.SITE_URL, "http://127.0.0.1:4201")
        request = RunRequest("pipeline everything", "0" * 40, {})
        artifacts.publish_run_artifacts(RunWorkspace(finished, finished, request), logging.getLogger())
    return made


def _picture(markdown: str) -> Image.Image:
    found = re.search(r"!\[\]\(data:image/png;base64,([^)]*)\)", markdown)
    assert found
    return Image.open(io.BytesIO(base64.b64decode(found.group(1))))


def test_a_run_shows_rows_lineage_curves_reconstructions_and_its_site(published: dict[str, Any]) -> None:
    assert published.keys() == {
        "rows", "gate", "trace", "training-stage1", "training-stage2", "training-stage3", "reconstructions",
        "site-index", "site-lineage",
    }  # fmt: skip
    stages = {row["stage"]: row for row in published["rows"]}
    assert all(row["rows in"] == row["kept"] + row["dropped"] for row in stages.values())
    assert stages["select"]["dropped"] > 0
    assert stages["select"]["by reason"]
    assert "ingest@captions" in published["trace"]
    assert {row["passes"] for row in published["gate"]} == {"yes"}


def test_pictures_travel_inside_the_artifacts(published: dict[str, Any]) -> None:
    assert _picture(published["training-stage1"]).width == 880
    sheet = _picture(published["reconstructions"])
    assert (sheet.width, sheet.height) == (6 * 132, 4 * 132), "12 pictures beside 12 reconstructions"
    assert "PSNR in dB" in published["reconstructions"]
