"""models.yaml: what it may say, and that two writers lose nothing."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmada.checkpoint_registry import (
    Checkpoint,
    check_decoding,
    check_pipeline,
    find_checkpoint,
    load_registry,
    register,
)
from mmada.errors import ParamsError
from mmada.params_patch import patch_params
from mmada.params_schema import load_params

ROOT = Path(__file__).parent.parent

TEXT = """# a remark that must survive
checkpoints:
  init: {path: data/models/init, origin: pipeline}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text(TEXT)
    return path


def _external(digit: int) -> Checkpoint:
    return Checkpoint(path=f"data/checkpoints/{digit}", origin="external", id=f"{digit:064x}")


def test_registering_keeps_comments_and_earlier_entries(registry: Path) -> None:
    register("other", _external(1), registry)
    register("other", _external(1), registry)
    assert registry.read_text().startswith("# a remark that must survive")
    assert list(load_registry(registry)) == ["init", "other"]
    assert find_checkpoint("other", registry) == _external(1)


def test_a_name_stands_for_one_checkpoint(registry: Path) -> None:
    register("other", _external(1), registry)
    with pytest.raises(ParamsError, match="'other' stands for data/checkpoints/1"):
        register("other", _external(2), registry)


def test_an_unknown_name_lists_the_known(registry: Path) -> None:
    with pytest.raises(ParamsError, match="no checkpoint 'stage9'; it has: init"):
        find_checkpoint("stage9", registry)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("checkpoints:\n  init: {path: x, origin: made_up}\n", r"checkpoints\.init\.origin"),
        ("checkpoints:\n  init: {path: x, origin: external, id: xyz}\n", r"checkpoints\.init\.id"),
        ("checkpoints:\n  Init!: {path: x, origin: pipeline}\n", "checkpoints"),
        ("models: {}\n", "no mapping `checkpoints`"),
        ("checkpoints: [", "not valid YAML"),
    ],
)
def test_a_wrong_entry_is_named(registry: Path, wrong: str, message: str) -> None:
    registry.write_text(wrong)
    with pytest.raises(ParamsError, match=message):
        load_registry(registry)


def test_writers_at_the_same_time_lose_nothing(registry: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: register(f"c{n}", _external(n), registry), range(1, 17)))
    assert set(load_registry(registry)) == {"init", *(f"c{n}" for n in range(1, 17))}


def test_entries_of_the_pipeline_follow_the_training_stages(tmp_path: Path) -> None:
    """Published recipe: other stages than the demo's. A checkpoint made elsewhere stays, and so do comments."""
    for name in ("params.yaml", "models.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    registry = tmp_path / "models.yaml"
    register("other", _external(1), registry)
    before = load_params(tmp_path / "params.yaml")
    assert check_pipeline(before, registry) == []
    after = patch_params(tmp_path / "params.yaml", ROOT / "docs/params/published_8b.yaml")
    assert after.training.keys().isdisjoint(before.training)
    assert load_registry(registry).keys() == {"init", "other", *after.training}
    assert check_pipeline(after, registry) == []
    assert registry.read_text().startswith("# Registered checkpoints")
    assert "\n  stage1_1: {path: data/models/stage1_1, origin: pipeline}\n" in registry.read_text()


def test_an_entry_that_no_stage_makes_is_named(tmp_path: Path) -> None:
    params = load_params(ROOT / "params.yaml")
    registry = tmp_path / "models.yaml"
    registry.write_text(TEXT)
    assert check_pipeline(params, registry) == ["stage1", "stage2", "stage3"]
    registry.write_text(TEXT + "  old: {path: data/models/stage0, origin: pipeline}\n")
    with pytest.raises(ParamsError, match="old is the pipeline's data/models/stage0, which no stage makes"):
        check_pipeline(params, registry)


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        ("{stag1: {default: *worked}}", r"names checkpoint 'stag1'; allowed: \['default', 'init', 'other', 'stage1', "),
        (
            "{other: {default: *worked, arithmetics: *worked}}",
            r"other names \['arithmetics'\]; allowed: \['arithmetic',",
        ),
    ],
)
def test_decoding_of_what_is_not_there_is_named(tmp_path: Path, decoding: str, message: str) -> None:
    for name in ("params.yaml", "models.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    registry, file = tmp_path / "models.yaml", tmp_path / "params.yaml"
    register("other", _external(1), registry)
    file.write_text(file.read_text() + "    other: {default: *worked}\n")
    check_decoding(load_params(file), registry)
    file.write_text(file.read_text().replace("    other: {default: *worked}\n", f"    {decoding[1:-1]}\n"))
    with pytest.raises(ParamsError, match=message):
        check_decoding(load_params(file), registry)


def test_a_patch_beside_a_broken_registry_changes_nothing(tmp_path: Path) -> None:
    params = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    (tmp_path / "models.yaml").write_text("models: {}\n")
    with pytest.raises(ParamsError, match="no mapping `checkpoints`"):
        patch_params(params, ROOT / "docs/params/published_8b.yaml")
    assert params.read_bytes() == (ROOT / "params.yaml").read_bytes()
