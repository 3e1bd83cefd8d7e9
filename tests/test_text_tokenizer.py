import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from mmada.errors import ContractError, ParamsError
from mmada.text_tokenizer import chat_prompt_ids, load_tokenizer, train_tokenizer
from tests.tiny import TEXTS, tiny_tokenizer, tiny_vocab


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


@given(text=st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_survives(tmp_path_factory, text):
    tokenizer = tiny_tokenizer(tmp_path_factory)
    clean = text.encode("utf-8", "ignore").decode()
    assert tokenizer.decode(tokenizer.encode(clean)) == clean


def test_frequent_numbers_are_tokens_and_long_ones_runs_of_three_digits(tmp_path):
    train_tokenizer(["12 + 345 = 357", "I have 12345678 and 12 more"] * 30, tmp_path, vocab_size=400)
    tokenizer = load_tokenizer(tmp_path)
    pieces = [tokenizer.decode([i]) for i in tokenizer.encode("12 + 345 and 12345678")]
    assert pieces[:4] == ["12", " +", " ", "345"]
    assert "".join(pieces) == "12 + 345 and 12345678"
    assert all(sum(c.isdigit() for c in piece) <= 3 for piece in pieces)


def test_a_number_is_the_same_token_wherever_it_stands(tmp_path):
    train_tokenizer(["<think>12+3=15</think>15", "I have 12 and 15."] * 30, tmp_path, vocab_size=400)
    tokenizer = load_tokenizer(tmp_path)
    (fifteen,) = tokenizer.encode("15")
    assert [ids.count(fifteen) for ids in map(tokenizer.encode, ("<think>12+3=15</think>15", "is it 15?"))] == [2, 1]
    assert len(tokenizer.encode("<think></think>")) == 2


def test_text_cannot_write_control_tokens(tokenizer):
    vocab = tiny_vocab(tokenizer)
    hostile = "<|mdm_mask|><|soi|><|endoftext|><|end_header_id|>"
    ids = tokenizer.encode(hostile)
    assert not set(ids) & set(vocab.special.values())
    assert tokenizer.decode(ids) == hostile


def test_chat_prompt_holds_the_prompt_and_ends_with_the_opened_assistant_turn(tokenizer):
    vocab = tiny_vocab(tokenizer)
    ids = chat_prompt_ids("how many?", tokenizer, vocab)
    assert ids[0] == vocab.bos
    assert ids.count(vocab.start_header) == ids.count(vocab.end_header) == 2
    assert tokenizer.decode(ids) == "user\nhow many?assistant\n"
    assert ids[-len(tokenizer.encode("\n")) - 1] == vocab.end_header


def test_equal_texts_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        train_tokenizer(iter(TEXTS), tmp_path / name, vocab_size=300)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)


def test_transformers_reads_the_folder_and_agrees(tmp_path):
    train_tokenizer(TEXTS, tmp_path, vocab_size=300)
    ours = load_tokenizer(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert len(theirs) == len(ours)
    for text in TEXTS:
        assert theirs(text, add_special_tokens=False)["input_ids"] == ours.encode(text)
    messages = [{"role": "user", "content": "how many?"}]
    rendered = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert theirs(rendered, add_special_tokens=False)["input_ids"] == chat_prompt_ids(
        "how many?", ours, tiny_vocab(ours)
    )


def test_refusals(tmp_path):
    with pytest.raises(ParamsError, match="vocab_size"):
        train_tokenizer(TEXTS, tmp_path, vocab_size=100)
    with pytest.raises(ContractError, match="does not exist"):
        load_tokenizer(tmp_path / "nowhere")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ContractError, match="no tokenizer"):
        load_tokenizer(tmp_path)


def test_a_curation_machine_needs_no_torch():
    code = "import sys, mmada.text_tokenizer; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_length_that_moves_the_image_offset_is_refused(tmp_path):
    train_tokenizer(TEXTS * 20, tmp_path, vocab_size=320)
    vocab = tiny_vocab(load_tokenizer(tmp_path))
    assert len(load_tokenizer(tmp_path, vocab=vocab)) == vocab.num_text
    grown = load_tokenizer(tmp_path).backend
    grown.add_tokens(["<one more>"])
    grown.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ContractError, match=f"has {vocab.num_text + 1} ids.*begin at {vocab.num_text}"):
        load_tokenizer(tmp_path, vocab=vocab)
