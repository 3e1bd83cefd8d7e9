import numpy as np
import pytest
import torch

from mmada.errors import ContractError, ParamsError
from mmada.vocab import Vocab


def test_published_layout_places_code_0_after_the_tokenizer():
    vocab = Vocab.published()
    assert vocab.image_range == slice(126349, 134541)
    assert vocab.size - vocab.image_range.stop == 115, "dead rows at the end"


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_codes_survive_the_way_through_ids_in_every_integer_type(dtype):
    vocab = Vocab.published()
    codes = np.array([[0, 8191], [5, 4096]], dtype=dtype)
    ids = vocab.image_ids(codes)
    assert ids.dtype == np.int64
    assert (vocab.image_codes(ids) == codes).all()
    assert (vocab.image_codes(vocab.image_ids(torch.from_numpy(codes.astype(np.int64)))).numpy() == codes).all()


@pytest.mark.parametrize("bad", [-1, 8192])
def test_codes_out_of_range_are_refused(bad):
    with pytest.raises(ContractError, match="image code out of range"):
        Vocab.published().image_ids(np.array([0, bad]))


@pytest.mark.parametrize("bad", [126348, 134541])
def test_ids_that_are_no_image_are_refused(bad):
    with pytest.raises(ContractError, match="image id out of range"):
        Vocab.published().image_codes(torch.tensor([126349, bad]))


def test_no_codes_are_no_error():
    assert Vocab.published().image_ids(np.zeros((0, 4), dtype=np.uint16)).shape == (0, 4)


def test_json_round_trip_and_damage():
    vocab = Vocab.published()
    assert Vocab.from_json(vocab.to_json()) == vocab
    for text in ("{", "{}", vocab.to_json().replace('"bos"', '"bus"')):
        with pytest.raises(ContractError, match="vocabulary file"):
            Vocab.from_json(text)


def test_a_config_names_any_sizes_and_only_the_ids_it_has():
    special = {"bos": 2, "eos": 1, "mask": 90, "ipad": 93, "t2i": 88, "mmu": 89, "soi": 84, "eoi": 85, "num_text": 100}
    config = {"embedding_size": 200, "codebook_size": 64, "special": special | {"image_offset": 100}}
    vocab = Vocab.from_config(config)
    assert (vocab.image_range, vocab.size, vocab.mask, vocab.eot) == (slice(100, 164), 200, 90, None)
    assert vocab.special == {name: value for name, value in special.items() if name != "num_text"}
    with pytest.raises(ContractError, match="names no r2i id"):
        vocab.required("r2i")
    assert Vocab.from_config(config | {"special": special | {"r2i": 7}}).required("r2i") == 7
    assert Vocab.from_json(vocab.to_json()) == vocab
    assert Vocab.from_config({"embedding_size": 134656}) == Vocab.published()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"embedding_size": 134657}, "134657 embedding rows are not the 134656"),
        ({"embedding_size": 9, "special": {"num_text": 4, "image_offset": 5}}, "image_offset is 5, expected 4"),
        ({"embedding_size": 9, "codebook_size": 2, "special": {"num_text": 4}}, "incomplete"),
        ({"embedding_size": 9, "special": {"num_text": 4}}, "codebook_size"),
    ],
)
def test_a_config_that_describes_no_layout_is_refused(config, message):
    with pytest.raises(ContractError, match=message):
        Vocab.from_config(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"mask": 126349}, "reserved id"), ({"mask": 126080}, "coincide"), ({"size": 134000}, "embedding rows")],
)
def test_a_layout_that_cannot_work_is_refused(change, message):
    import dataclasses

    with pytest.raises(ParamsError, match=message):
        dataclasses.replace(Vocab.published(), **change)
