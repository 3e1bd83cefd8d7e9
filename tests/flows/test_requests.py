"""What a form may ask for, and the patch of params.yaml that it means."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from flows import requests
from mmada.errors import InputError
from mmada.git import git
from mmada.params_patch import patch_params
from mmada.params_schema import Params
from tests.e2e.project_folder import make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder


def _patched(project: Path, patch: object) -> object:
    file = project / "patch.json"
    file.write_text(TypeAdapter(object).dump_json(patch).decode())
    return patch_params(project / "params.yaml", file)


def test_what_is_left_empty_changes_nothing(project: Path) -> None:
    params = _committed(project)
    assert requests.TrainingOverrides().patch("stage1", params) == {}
    assert requests.DecodingOverrides().patch("c_1", "stage1", params) == {}
    assert requests.suite_patch((), params) == {}


def test_overrides_change_their_block_only(project: Path) -> None:
    before = patch_params(project / "params.yaml", _empty(project))
    overrides = requests.TrainingOverrides(max_steps=9, learning_rate=0.25, mixture={"texts": 2.0})
    after = _patched(project, overrides.patch("stage1", before))
    block = after.training["stage1"]  # type: ignore[attr-defined]
    assert (block.max_steps, block.optimiser.learning_rate) == (9, 0.25)
    assert block.data.corpora == {"texts": 2.0}, "a mixture is whole: what it leaves out is not used"
    assert block.seed == before.training["stage1"].seed
    assert after.training["stage2"] == before.training["stage2"]  # type: ignore[attr-defined]


def test_decoding_is_changed_for_every_benchmark_of_one_checkpoint(project: Path) -> None:
    patch = requests.DecodingOverrides(text_steps=3).patch("c_1", "stage1", _committed(project))
    decoding = _patched(project, patch).evaluation.decoding  # type: ignore[attr-defined]
    assert {sampling.text_steps for sampling in decoding["c_1"].values()} == {3}
    assert decoding["c_1"].keys() == decoding["stage1"].keys()
    assert {sampling.text_steps for sampling in decoding["default"].values()} != {3}


@pytest.mark.parametrize("wrong", [{"max_steps": 0}, {"learning_rate": 2}, {"batch_size": -1}, {"lerning_rate": 0.1}])
def test_an_impossible_override_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        requests.TrainingOverrides.model_validate(wrong)


def test_choices_are_those_of_the_project(project: Path) -> None:
    assert requests.training_stages() == ["stage1", "stage2", "stage3"]
    assert {"everything", "train@stage2", "evaluate@init", "build_site"} <= set(requests.targets())
    assert requests.offered_versions() == [requests.CURRENT]
    git(project, "tag", "data/first")
    git(project, "tag", "not-a-data-version")
    assert requests.offered_versions() == [requests.CURRENT, "first"]
    assert requests.base_commit(project, "first") == requests.base_commit(project, requests.CURRENT)


def test_what_is_not_committed_or_came_later_is_no_part_of_a_run(project: Path) -> None:
    """Its patch is of the parameters that the run begins with; the project's own may have moved on."""
    git(project, "tag", "data/first")
    renamed = (project / "params.yaml").read_text().replace("scene_questions", "later_questions")
    (project / "params.yaml").write_text(renamed.replace("texts", "later_texts"))
    params = requests.committed_params(project, requests.base_commit(project, "first"))
    patch = requests.TrainingOverrides(mixture={"captions": 2.0}).patch("stage1", params)
    patch |= requests.suite_patch(("arithmetic",), params)
    git(project, "checkout", "--quiet", "--", "params.yaml")
    after = _patched(project, patch)
    assert after.training["stage1"].data.corpora == {"captions": 2.0}  # type: ignore[attr-defined]
    assert list(after.benchmarks) == ["arithmetic"]  # type: ignore[attr-defined]


def test_what_a_data_version_lacks_is_refused_by_name(project: Path) -> None:
    params = _committed(project)
    with pytest.raises(InputError, match="no training stage 'stage9'; it has: stage1, stage2, stage3"):
        requests.TrainingOverrides(max_steps=3).patch("stage9", params)
    with pytest.raises(InputError, match=r"no benchmark \['later_questions'\]; it has: "):
        requests.suite_patch(("arithmetic", "later_questions"), params)


def test_a_batch_size_that_would_do_nothing_is_refused(project: Path) -> None:
    patch = requests.TrainingOverrides(batch_size=4).patch("stage1", _committed(project))
    learning = _patched(project, patch).training["stage1"].masked_prediction  # type: ignore[attr-defined]
    assert learning.batch_size == 4
    with pytest.raises(InputError, match="a batch size changes nothing in stage3"):
        requests.TrainingOverrides(batch_size=4).patch("stage3", _committed(project))


def _committed(project: Path) -> Params:
    return requests.committed_params(project, requests.base_commit(project, requests.CURRENT))


def _empty(project: Path) -> Path:
    file = project / "nothing.yaml"
    file.write_text("{}\n")
    return file
