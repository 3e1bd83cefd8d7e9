import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmada.errors import CheckpointError
from mmada.model.transformer import Transformer
from mmada.model.weights import (
    EMBEDDING,
    OUTPUT,
    extend_vocabulary,
    load_model,
    load_state,
    load_vocab,
    parse_config,
    save_model,
)
from mmada.vocab import Vocab
from tests.tiny import parity, parity_model, parity_vocab, tiny_model


def test_published_sizes_give_the_published_tensors():
    raw = {"d_model": 4096, "n_layers": 32, "n_heads": 32, "mlp_hidden_size": 12288}
    raw |= {"max_sequence_length": 4096, "embedding_size": 134656}
    with torch.device("meta"):
        model = Transformer(parse_config(raw, "published"))
    state = model.state_dict()
    assert len(state) == 291
    assert sum(t.numel() for t in state.values()) == 8_082_690_048
    assert state["model.transformer.blocks.31.up_proj.weight"].shape == (12288, 4096)
    assert set(parity()[0]["keys"]) == set(tiny_model(parity_vocab(), n_layers=3).state_dict())


@pytest.mark.parametrize("max_bytes", [10**9, 20_000])
def test_round_trip_in_one_file_and_in_shards(tmp_path, max_bytes):
    model, vocab = parity_model(), parity_vocab()
    save_model(model, vocab, tmp_path, max_shard_bytes=max_bytes)
    loaded = load_model(tmp_path)
    assert load_vocab(tmp_path) == vocab
    assert loaded.config == model.config
    assert all(torch.equal(loaded.state_dict()[k], v) for k, v in model.state_dict().items())
    assert (tmp_path / "model.safetensors.index.json").exists() == (max_bytes < 10**6)


def test_equal_weights_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        save_model(tiny_model(parity_vocab()), parity_vocab(), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("max_bytes", [10**9, 20_000])
def test_a_folder_of_config_and_weights_alone_is_enough(tmp_path, max_bytes):
    """Published folders hold no vocab.json; small ones say their special ids in the configuration."""
    spec = parity()[0]
    save_model(parity_model(), parity_vocab(), tmp_path, max_shard_bytes=max_bytes)
    (tmp_path / "vocab.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(spec["config"]))
    model = load_model(str(tmp_path), dtype=torch.bfloat16)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    with pytest.raises(CheckpointError, match="special"):
        load_vocab(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(spec["config"] | {"special": spec["special"]}))
    vocab = load_vocab(str(tmp_path))
    assert vocab.image_range == slice(400, 464)
    assert {name: spec["special"][name] for name in vocab.special} == vocab.special


@pytest.fixture
def folder(tmp_path):
    save_model(tiny_model(parity_vocab()), parity_vocab(), tmp_path)
    return tmp_path


def _edit_config(folder, **change):
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layers": 3}, "missing"),
        ({"n_layers": 1}, "unknown"),
        ({"mlp_hidden_size": 65}, "shape"),
        ({"weight_tying": True}, "weight_tying"),
        ({"n_kv_heads": 1}, "n_kv_heads"),
        ({"d_model": None}, "size"),
        ({"embedding_size": 481}, r"wte.weight has shape \(480, 32\), expected \(481, 32\)"),
        ({"attention_policy": "causal"}, "attention"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(folder, change, message):
    _edit_config(folder, **change)
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


def test_damaged_or_absent_files_are_refused(folder, tmp_path):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        load_model(folder)
    (folder / "vocab.json").unlink()
    with pytest.raises(CheckpointError, match="vocab"):
        load_vocab(folder)


def test_pickles_are_refused_with_the_way_out(folder):
    weights = folder / "model.safetensors"
    state = load_file(weights)
    weights.unlink()  # a new file: the tensors may still be mapped to the old one
    torch.save(state, weights)
    with pytest.raises(CheckpointError, match=r"pickle.*save_file"):
        load_model(folder)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin does, but it is a pickle"):
        load_model(folder)


@pytest.mark.parametrize("named", [{}, {"weight_map": {}}, {"weight_map": {"a": "../model.safetensors"}}])
def test_an_index_that_names_no_files_beside_it_is_refused(folder, named):
    (folder / "model.safetensors.index.json").write_text(json.dumps(named))
    with pytest.raises(CheckpointError, match="weight_map"):
        load_model(folder)


@pytest.mark.parametrize(("change", "message"), [({"size": 481}, "480.*481"), ({"mask": 391}, "390.*391")])
def test_a_vocabulary_that_does_not_fit_the_config_is_refused(folder, change, message):
    (folder / "vocab.json").write_text(dataclasses.replace(parity_vocab(), **change).to_json())
    with pytest.raises(CheckpointError, match=message):
        load_vocab(folder)


def test_a_missing_tensor_is_named(folder):
    state = load_file(folder / "model.safetensors")
    state.pop("model.transformer.ln_f.weight")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="ln_f"):
        load_model(folder)


def test_extending_the_vocabulary_keeps_old_rows_and_depends_on_the_seed(folder):
    vocab: Vocab = dataclasses.replace(parity_vocab(), size=600, num_codes=150)
    model = load_model(folder)
    state = load_state(folder)
    grown, config = extend_vocabulary(state, model.config, vocab, seed=1)
    again, _ = extend_vocabulary(state, model.config, vocab, seed=1)
    other, _ = extend_vocabulary(state, model.config, vocab, seed=2)
    assert config.embedding_size == 600
    for key in (EMBEDDING, OUTPUT):
        assert torch.equal(grown[key][:480], state[key])
        assert torch.equal(grown[key], again[key])
        assert not torch.equal(grown[key][480:], other[key][480:])
        assert float(grown[key][480:].std()) == pytest.approx(float(state[key].std()), rel=0.1)
    with pytest.raises(CheckpointError, match="rows"):
        extend_vocabulary(grown, config, parity_vocab(), seed=1)
