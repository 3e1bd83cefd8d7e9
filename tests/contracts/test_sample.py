"""The one codec of samples."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmada.contracts.code_packing import NUM_CODES, pack_codes, unpack_codes, unpack_pictures
from mmada.contracts.sample import TASKS, Sample, pack, sample_key, unpack
from mmada.errors import ContractError
from mmada.params_section import PICTURE_TASKS

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    task = draw(st.sampled_from(TASKS))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    codes = draw(st.lists(st.integers(0, NUM_CODES - 1), min_size=rows * columns, max_size=rows * columns))
    picture = np.array(codes, dtype=np.uint16).reshape(rows, columns) if task in PICTURE_TASKS else None
    fields = {name: draw(texts) for name in ("prompt", "response", "reference", "corpus", "source", "licence")}
    row_id = draw(st.text("0123456789abcdef", min_size=64, max_size=64))
    return Sample(key=sample_key(row_id, task, 0), task=task, row_id=row_id, codes=picture, **fields)


@given(samples())
def test_unpack_undoes_pack(sample: Sample) -> None:
    again = unpack(sample.key, pack(sample))
    if sample.codes is None:
        assert again == sample
    else:
        assert again.codes is not None
        np.testing.assert_array_equal(again.codes, sample.codes)
        assert msgspec.structs.replace(again, codes=None) == msgspec.structs.replace(sample, codes=None)


@given(st.lists(st.integers(0, NUM_CODES - 1), max_size=100))
def test_codes_survive_packing(codes: list[int]) -> None:
    array = np.array(codes, dtype=np.uint16)
    np.testing.assert_array_equal(unpack_codes(pack_codes(array), len(codes)), array)


@given(st.integers(0, 40), st.lists(st.integers(0, 2**32), max_size=5))
def test_many_pictures_are_unpacked_at_once(count, seeds):
    pictures = [np.random.default_rng(seed).integers(0, NUM_CODES, count).astype(np.uint16) for seed in seeds]
    unpacked = unpack_pictures([pack_codes(codes) for codes in pictures], count)
    assert unpacked.shape == (len(seeds), count)
    assert all((row == codes).all() for row, codes in zip(unpacked, pictures, strict=True))


def test_a_picture_of_another_length_is_refused():
    with pytest.raises(ContractError, match="picture 1"):
        unpack_pictures([bytes(13), bytes(12)], 8)


def test_1024_codes_fit_in_1664_bytes() -> None:
    assert len(pack_codes(np.arange(1024, dtype=np.uint16))) == 1664


def test_a_code_beyond_13_bits_is_refused() -> None:
    with pytest.raises(ContractError, match="8192"):
        pack_codes(np.array([NUM_CODES], dtype=np.uint16))


@pytest.mark.parametrize("key", ["v1.5-3", "", "UPPER", "a b", "x" * 200])
def test_keys_that_webdataset_would_split_are_refused(key: str) -> None:
    sample = Sample(key, "lm", "", "text", "", "c", "s", "l", "0" * 64)
    with pytest.raises(ContractError, match="WebDataset key"):
        pack(sample)


def test_codes_of_the_wrong_length_are_refused() -> None:
    sample = Sample("k", "t2i", "p", "", "", "c", "s", "l", "0" * 64, np.zeros((2, 2), dtype=np.uint16))
    members = pack(sample) | {"codes": b"\0"}
    with pytest.raises(ContractError, match="needs 8"):
        unpack("k", members)
