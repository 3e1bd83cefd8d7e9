"""A data version is a name for data that passed the gate, with everything that made them committed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmada.cli import app
from mmada.data_versions import check_reference, data_versions, promote
from mmada.errors import InputError, ParamsError
from mmada.git import git
from mmada.lineage.manifest import write_manifest
from mmada.params_schema import Params, load_params
from tests.e2e.project_folder import make_project


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    metadata: dict[str, object] = {}
    for name in ("selected", "gate"):
        (folder / "data" / name).mkdir(parents=True)
        (folder / "data" / name / "profile.json").write_text(f'{{"{name}": {{"counts": {{}}}}}}')
        made = write_manifest(folder / "data" / name, stage=name, version=1, metadata=metadata)
        metadata = {"selected": made.id}
    return load_params(folder / "params.yaml")


def test_a_version_names_a_commit_and_the_ids(params: Params) -> None:
    assert promote("2026-11", params) == "data/2026-11"
    assert data_versions(Path()) == ["2026-11"]
    assert '"selected"' in git(Path(), "tag", "--list", "data/2026-11", "--format=%(contents)")


def test_the_profile_is_committed_where_the_name_points(params: Params) -> None:
    Path("notes.txt").write_text("being written")
    git(Path(), "add", "notes.txt")
    promote("first", params)
    committed = git(Path(), "show", "data/first:data/profiles/first.json")
    assert committed == Path("data/gate/profile.json").read_text()
    assert git(Path(), "status", "--porcelain").strip() == "A  notes.txt"  # what else was being done is left alone


def test_rows_that_the_gate_did_not_see_have_no_name(params: Params) -> None:
    Path("data/selected/more").write_text("rows")
    write_manifest(Path("data/selected"), stage="selected", version=1, metadata={})
    with pytest.raises(InputError, match="let other rows pass"):
        promote("first", params)


def test_a_reference_without_a_profile_is_named_before_anything_runs(params: Params) -> None:
    check_reference(params)
    file = Path("params.yaml")
    file.write_text(file.read_text().replace("reference: none", "reference: nope"))
    result = CliRunner().invoke(app, ["check"])
    assert isinstance(result.exception, ParamsError)
    assert "gate.reference is 'nope', which has no profile in data/profiles; it has: none." in str(result.exception)


def test_a_name_is_given_once(params: Params) -> None:
    promote("first", params)
    with pytest.raises(InputError, match="'first' exists already"):
        promote("first", params)


@pytest.mark.parametrize("name", ["", "A", "../x", "two words", "-x", "none", "v1..2", "v1.", "v1.lock"])
def test_a_name_is_plain(params: Params, name: str) -> None:
    before = git(Path(), "rev-parse", "HEAD")
    with pytest.raises(InputError, match="no name of a data version"):
        promote(name, params)
    assert git(Path(), "rev-parse", "HEAD") == before


def test_what_is_not_committed_has_no_name(params: Params) -> None:
    Path("dvc.lock").write_text("schema: '2.0'\n")
    with pytest.raises(InputError, match=r"(?s)dvc\.lock.*git add .*dvc\.lock.* && git commit"):
        promote("first", params)


def test_data_that_did_not_pass_have_no_name(params: Params) -> None:
    Path("data/gate/manifest.json").unlink()
    with pytest.raises(InputError, match="data/gate"):
        promote("first", params)


@pytest.mark.parametrize("name", ["mine.pins.json", "mine.jsonl"])
def test_what_says_which_raw_data_were_read_is_committed_too(params: Params, name: str) -> None:
    corpus = next(iter(params.corpora.values())).model_copy(update={"path": f"data/raw/{name}"})
    params = params.model_copy(update={"corpora": {**params.corpora, "mine": corpus}})
    pointer = Path("data/raw") / (name if name.endswith(".pins.json") else f"{name}.dvc")
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.write_text("{}")
    with pytest.raises(InputError, match="is not committed"):
        promote("first", params)
    git(Path(), "add", "--force", pointer.as_posix())
    git(Path(), "commit", "--quiet", "--message", "pointer")
    promote("first", params)
    assert git(Path(), "show", f"data/first:{pointer.as_posix()}") == "{}"
