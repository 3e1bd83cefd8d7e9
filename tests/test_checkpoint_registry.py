"""models.yaml: what it may say, and that two writers lose nothing."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmada.checkpoint_registry import Checkpoint, find_checkpoint, load_registry, register
from mmada.errors import ParamsError

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
