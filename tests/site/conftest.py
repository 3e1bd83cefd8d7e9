"""The site of the small project."""

import os
from pathlib import Path

import pytest

from mmada.stage_report import StageReport
from mmada.stages.build_site import build_site
from tests.site.small_project import CORPORA, PARAMS, PATHS, TRAINING, make_project, write_training_reports


def build(out: Path) -> StageReport:
    """Build the site of the project in the current folder."""
    out.mkdir()
    corpora = {name: PARAMS.corpora[name] for name in CORPORA}
    return build_site(out=out, paths=PATHS, corpora=corpora, training=TRAINING)


@pytest.fixture(scope="package")
def small_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's folder; its site lies in `site`."""
    folder = tmp_path_factory.mktemp("small")
    before = Path.cwd()
    os.chdir(folder)
    try:
        make_project()
        write_training_reports()
        build(folder / "site")
    finally:
        os.chdir(before)
    return folder
