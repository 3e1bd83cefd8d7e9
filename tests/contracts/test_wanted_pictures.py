"""Some of many pictures, and their codes, without reading the others."""

from pathlib import Path

import polars as pl
import pytest

from mmada.contracts.image_codes import IMAGE_CODES, read_code_facts, read_codes
from mmada.contracts.ingested import part_name, picture_digests, read_pictures
from mmada.contracts.records import PICTURES, Schema
from mmada.contracts.tables import write_table
from mmada.errors import ContractError

DIGESTS = [f"{number:064x}" for number in range(6)]


def _write(file: Path, schema: Schema, digests: list[str]) -> None:
    kinds = {pl.String: "x", pl.Int64: 1, pl.Float64: 1.0, pl.Binary: b"x"}
    rows = [{name: kinds[kind] for name, kind in schema.items()} | {"image_sha256": digest} for digest in digests]
    write_table(pl.DataFrame(rows, schema=pl.Schema(schema)), file, schema)


@pytest.mark.parametrize("wanted", [[], DIGESTS[1:5:3], DIGESTS, ["f" * 64]])
def test_what_is_wanted_is_found_in_whichever_part_it_lies(tmp_path: Path, wanted: list[str]) -> None:
    for span in range(3):
        some = DIGESTS[2 * span : 2 * span + 2]
        _write(tmp_path / part_name("pictures", span, 0), PICTURES, some)
        _write(tmp_path / "codes" / "corpus" / f"codes-{span}.parquet", IMAGE_CODES, some)
    assert picture_digests(tmp_path, "pictures").to_list() == DIGESTS
    expected = [digest for digest in DIGESTS if digest in wanted]
    assert read_pictures(tmp_path, "pictures", wanted=wanted)["image_sha256"].to_list() == expected
    assert read_codes(tmp_path / "codes", wanted=wanted)["image_sha256"].to_list() == expected
    assert read_codes(tmp_path / "codes").drop("codes").equals(read_code_facts(tmp_path / "codes"))


def test_a_corpus_without_pictures_has_none(tmp_path: Path) -> None:
    assert picture_digests(tmp_path, "pictures").is_empty()
    assert read_pictures(tmp_path, "pictures", wanted=DIGESTS).schema == pl.Schema(PICTURES)
    assert read_codes(tmp_path, wanted=DIGESTS).schema == pl.Schema(IMAGE_CODES)


def test_a_part_that_is_no_table_is_named(tmp_path: Path) -> None:
    file = tmp_path / part_name("pictures", 0, 0)
    file.write_bytes(b"no parquet")
    with pytest.raises(ContractError, match=file.name):
        read_pictures(tmp_path, "pictures", wanted=DIGESTS)
