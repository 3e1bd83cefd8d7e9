"""Checkpoints from elsewhere come in on request only, whole, and are traced to where they came in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmada.checkpoint_registry import load_registry
from mmada.errors import CheckpointError, InputError, MmadaError, ParamsError
from mmada.external_checkpoints import register_checkpoint
from mmada.lineage.manifest import open_artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore
from mmada.lineage.trace import trace
from mmada.model.weights import save_model
from mmada.params_schema import Params, load_params
from mmada.text_tokenizer import make_vocab
from tests.published import publish_by_training
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.fixture
def params(project: Path) -> Params:
    magvit = project / "data/magvit"
    magvit.mkdir(parents=True)
    (magvit / "weights").write_text("codes")
    write_manifest(magvit, stage="train_magvit", version=1, metadata={})
    return load_params(project / "params.yaml")


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    vocab = make_vocab(tiny_tokenizer(tmp_path_factory), num_codes=32)
    save_model(tiny_model(vocab), vocab, folder)
    shutil.copy(tmp_path_factory.getbasetemp() / "tokenizer/tokenizer.json", folder)
    return folder


def test_a_stranger_is_refused_and_told_how_to_come_in(params: Params, model: Path) -> None:
    with pytest.raises(InputError, match=r"mmada register .* llada --external"):
        register_checkpoint(model, "llada", params, external=False)
    assert "llada" not in load_registry()


def test_a_stranger_comes_in_on_request(params: Params, model: Path) -> None:
    entry = register_checkpoint(model, "llada", params, external=True)
    assert register_checkpoint(model, "llada", params, external=True) == entry
    assert load_registry()["llada"] == entry
    assert entry.origin == "external"
    artifact = open_artifact(Path(entry.path))
    assert artifact.id == entry.id
    assert artifact.metadata["magvit"] == open_artifact(Path(params.paths.magvit)).id
    lineage = trace(Path(entry.path), ProvenanceStore(Path(params.paths.provenance)))
    assert lineage.nodes[lineage.root].address == "external@llada"


def _copy_of_our_own(params: Params, target: Path) -> Path:
    """A model of this project that lies only where it was copied to."""

    def write(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"ours")

    published = publish_by_training(Path(params.paths.checkpoints), Path(params.paths.provenance), 5, write)
    copy = shutil.copytree(published, target)
    shutil.rmtree(published)
    return copy


def test_our_own_is_known_again_wherever_it_was_copied(params: Params, tmp_path: Path) -> None:
    entry = register_checkpoint(_copy_of_our_own(params, tmp_path / "copy"), "best", params, external=False)
    assert entry.origin == "published"
    assert open_artifact(Path(entry.path)).metadata["step"] == 5


def test_what_is_no_model_is_named(params: Params, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"lacks config.json and \*.safetensors"):
        register_checkpoint(tmp_path / "empty", "x", params, external=True)


def _without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def _of_another_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_layers": 3}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_tokenizer, "tokenizer.json does not exist"),
        (_cut_short, "damaged or no safetensors"),
        (_of_another_size, "found 21 tensors, expected 30"),
    ],
)
def test_what_no_evaluation_could_load_is_refused(
    params: Params, model: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(model)
    with pytest.raises(MmadaError, match=message):
        register_checkpoint(model, "llada", params, external=True)
    assert "llada" not in load_registry()
    assert not list(Path(params.paths.checkpoints).glob("*"))


def test_damaged_bytes_of_our_own_are_refused(params: Params, model: Path) -> None:
    write_manifest(model, stage="train", key="stage1", version=1, metadata={})
    (model / "model.safetensors").write_bytes(b"changed")
    with pytest.raises(Exception, match=r"model\.safetensors"):
        register_checkpoint(model, "x", params, external=False)


@pytest.mark.parametrize("name", ["Bad Name", "x/y", "stage1"])
def test_a_refused_name_leaves_nothing_behind(params: Params, model: Path, name: str) -> None:
    with pytest.raises(ParamsError):
        register_checkpoint(model, name, params, external=True)
    assert not [path for path in Path(params.paths.checkpoints).rglob("*") if path.is_file()]
    assert not list(Path(params.paths.provenance).rglob("*.jsonl"))


def test_a_configuration_that_is_none_is_refused(params: Params, model: Path) -> None:
    (model / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="d_model"):
        register_checkpoint(model, "llada", params, external=True)


def test_a_refused_name_of_our_own_leaves_nothing_behind(params: Params, tmp_path: Path) -> None:
    """A sweep would evaluate what lies among the published checkpoints."""
    copy = _copy_of_our_own(params, tmp_path / "copy")
    with pytest.raises(ParamsError, match="choose another name"):
        register_checkpoint(copy, "stage1", params, external=False)
    assert not list(Path(params.paths.checkpoints).glob("*"))
