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


@pytest.mark.parametrize(
    ("change", "message"),
    [({"mask": 126349}, "reserved id"), ({"mask": 126080}, "coincide"), ({"size": 134000}, "embedding rows")],
)
def test_a_layout_that_cannot_work_is_refused(change, message):
    import dataclasses

    with pytest.raises(ParamsError, match=message):
        dataclasses.replace(Vocab.published(), **change)
