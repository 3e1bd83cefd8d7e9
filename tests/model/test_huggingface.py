"""transformers reads our folders and we read what it writes."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer

import mmada.model.huggingface  # noqa: F401  # registers the model type
from mmada.errors import CheckpointError
from mmada.model.weights import load_model, save_model
from mmada.text_tokenizer import train_tokenizer
from tests.tiny import TEXTS, parity, parity_model, parity_vocab


@pytest.mark.parametrize("max_bytes", [10**9, 20_000])
@torch.no_grad()
def test_auto_classes_give_the_same_logits(tmp_path, max_bytes):
    save_model(parity_model(), parity_vocab(), tmp_path, max_shard_bytes=max_bytes)
    model = AutoModel.from_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).mask_token_id == parity_vocab().mask
    ids, seen = parity()[1]["forward.ids"], parity()[1]["forward.pad_mask"]
    assert not model.training
    assert torch.equal(model(input_ids=ids).logits, parity_model()(ids))
    assert torch.equal(model(ids, attention_mask=seen).logits, parity_model()(ids, seen.bool()))


def test_what_it_saves_is_a_folder_in_the_published_layout(tmp_path):
    save_model(parity_model(), parity_vocab(), tmp_path / "ours")
    AutoModel.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    raw = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert (raw["model_type"], raw["architectures"]) == ("mmada", ["MMadaModelLM"])
    again = load_model(tmp_path / "theirs")
    assert all(torch.equal(again.state_dict()[key], tensor) for key, tensor in parity_model().state_dict().items())


def test_a_published_config_that_names_remote_code_is_read_without_it(tmp_path):
    save_model(parity_model(), parity_vocab(), tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    remote = {"AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_llada.LLaDAModelLM"}
    (tmp_path / "config.json").write_text(json.dumps(raw | {"auto_map": remote}))
    assert type(AutoModel.from_pretrained(tmp_path)).__module__ == "mmada.model.huggingface"


def test_another_kind_of_network_is_refused(tmp_path):
    save_model(parity_model(), parity_vocab(), tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"block_type": "sequential"}))
    with pytest.raises(CheckpointError, match="block_type"):
        AutoModel.from_pretrained(tmp_path)


def test_the_card_says_sizes_and_the_image_offset_and_the_tokenizer_lies_beside_it(tmp_path):
    train_tokenizer(TEXTS * 20, tmp_path, vocab_size=320)
    save_model(parity_model(), parity_vocab(), tmp_path)
    card = (tmp_path / "README.md").read_text()
    count = sum(parameter.numel() for parameter in parity_model().parameters())
    for fact in (f"{count:,}", "code + 400", "[400, 464)", "mask 390", "AutoModel", "mmada trace"):
        assert fact in card
    assert AutoTokenizer.from_pretrained(tmp_path)("a red circle")["input_ids"]
