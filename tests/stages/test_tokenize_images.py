"""Tokenization of pictures: each distinct one once, in whatever rows, corpora and versions it comes; equal bytes."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from mmada.contracts.code_packing import unpack_codes
from mmada.contracts.image_codes import CODE_INDEX, IMAGE_CODES, read_codes
from mmada.contracts.tables import read_table
from mmada.errors import ParamsError
from mmada.lineage.manifest import write_manifest
from mmada.params_data import Corpus, Ingest, Vq
from mmada.params_schema import Params, load_params
from mmada.stages import tokenize_images as stage
from mmada.stages.ingest import ingest
from mmada.stages.tokenize_images import tokenize_images
from mmada.unit_store import UnitStore
from mmada.vq import picture_encoding
from mmada.vq.magvit import MagvitSizes, MAGVITv2, load_magvit, save_magvit
from mmada.vq.preprocess import decode_picture, preprocess

LIMITS = Ingest(
    max_row_bytes=2000, max_image_bytes=100_000, max_image_pixels=10_000, max_json_depth=20, rows_per_unit=8,
    pictures_per_part=5,
)  # fmt: skip


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture
def params(project: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Parameters of a project with a small picture tokenizer."""
    monkeypatch.setenv("MMADA_WORKERS", "1")
    monkeypatch.setattr(stage, "_PICTURES_PER_UNIT", 4)
    params = load_params(Path("params.yaml"))
    ones = (1, 1, 1, 1, 1)
    torch.manual_seed(0)
    sizes = MagvitSizes(
        ch=32, ch_mult_encoder=ones, ch_mult_decoder=ones, num_res_blocks_encoder=ones, num_res_blocks_decoder=ones,
        z_channels=13,
    )  # fmt: skip
    save_magvit(MAGVITv2(sizes).eval(), Path(params.paths.magvit))
    write_manifest(Path(params.paths.magvit), stage="train_magvit", version=1, metadata={})
    return params


def ingest_pictures(params: Params, corpora: dict[str, list[int]]) -> None:
    """Corpora of rows that each show the picture made from a number."""
    for key, numbers in corpora.items():
        raw = Path("data/raw") / key
        raw.mkdir(parents=True, exist_ok=True)
        table = pl.DataFrame({"q": ["what is it?"] * len(numbers), "a": ["x"] * len(numbers), "i": map(png, numbers)})
        table.write_parquet(raw / "rows.parquet")
        declared = Corpus(
            path=str(raw), files="*.parquet", format="parquet", task="mmu", source="made here", licence="CC0-1.0",
            columns={"prompt": "q", "response": "a", "image": "i"},
        )  # fmt: skip
        out = Path(params.paths.ingested) / key
        for old in out.glob("*"):
            old.unlink()
        ingest(out=out, key=key, corpora=declared, ingest=LIMITS, store=UnitStore(Path("units")))
        write_manifest(out, stage="ingest", key=key, version=1, metadata={})


def tokenize(params: Params, corpora: list[str], name: str, *, store: str = "units") -> tuple[Path, Any]:
    """The token table of corpora, and the report."""
    out, vq = Path(name), Vq(**{**params.vq.model_dump(), "resolution": 32})
    chosen = dict.fromkeys(corpora, next(iter(params.corpora.values())))
    report = tokenize_images(
        out=out, paths=params.paths, store=UnitStore(Path(store)), corpora=chosen, ingest=LIMITS, vq=vq
    )
    return out, report


def count_encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """sha256 of every picture that is really encoded from now on."""
    encoded: list[str] = []
    original = stage.encode_pictures

    def noted(task: Any) -> bytes:
        encoded.extend(task.pictures["image_sha256"])
        return original(task)

    monkeypatch.setattr(stage, "encode_pictures", noted)
    return encoded


def artifact_id(out: Path) -> str:
    return write_manifest(out, stage="tokenize_images", version=1, metadata={}).id


def test_codes_are_those_of_the_network_and_every_row_finds_them_by_the_index(params: Params) -> None:
    ingest_pictures(params, {"one": [0, 1, 2, 0], "two": [2, 3]})
    out, report = tokenize(params, ["one", "two"], "out")
    assert (report.rows_in, report.rows_kept) == (4, 4)
    table = read_codes(out)
    assert table["image_sha256"].n_unique() == table.height == 4
    model = load_magvit(Path(params.paths.magvit))
    decoded = [decode_picture(png(n), max_pixels=10_000) for n in range(4)]
    pixels = [preprocess(picture, size=(32, 32), policy="centre_crop") for picture in decoded]
    expected = model.encode(torch.from_numpy(np.stack(pixels))).numpy()
    assert [unpack_codes(codes, 4).tolist() for codes in table["codes"]] == expected.tolist()
    assert report.metrics["codes_used"] == len(np.unique(expected))
    for corpus, count in (("one", 4), ("two", 2)):
        (index,) = (read_table(file, CODE_INDEX, "index") for file in (out / corpus).glob("index-*"))
        assert index.height == count
        for row in index.iter_rows(named=True):
            part = read_table(out / row["part"], IMAGE_CODES, "codes")
            assert part["image_sha256"][row["position"]] == row["image_sha256"]


def test_added_pictures_cost_only_themselves_and_the_table_is_that_of_a_rebuild(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = count_encoded(monkeypatch)
    ingest_pictures(params, {"one": list(range(20))})
    before, _ = tokenize(params, ["one"], "before")
    assert len(encoded) == 20
    ingest_pictures(params, {"one": [*range(20), 20], "two": [3, 21]})
    after, _ = tokenize(params, ["one", "two"], "after")
    assert len(encoded) == 22
    rebuilt, _ = tokenize(params, ["one", "two"], "rebuilt", store="empty")
    assert len(encoded) == 44
    assert artifact_id(after) == artifact_id(rebuilt)
    old = {path.name: path.read_bytes() for path in (before / "one").iterdir()}
    changed = [path.name for path in sorted((after / "one").iterdir()) if old.get(path.name) != path.read_bytes()]
    assert changed == ["codes-000002-000.parquet", "index-000002.parquet"]


def test_a_damaged_result_is_made_again(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest_pictures(params, {"one": list(range(8))})
    first, _ = tokenize(params, ["one"], "first")
    (group,) = Path("units").glob("codes-*")
    damaged = sorted(path for path in group.rglob("*") if path.is_file())[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    encoded = count_encoded(monkeypatch)
    again, _ = tokenize(params, ["one"], "again")
    assert len(encoded) == 4
    assert artifact_id(first) == artifact_id(again)


@pytest.mark.parametrize("change", [{"crop_policy": "squash"}, {"resolution": 64}])
def test_another_size_or_crop_is_another_table(
    params: Params, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest_pictures(params, {"one": [0, 1]})
    tokenize(params, ["one"], "first")
    encoded = count_encoded(monkeypatch)
    vq = Vq(**{**params.vq.model_dump(), "resolution": 32, **change})
    corpora = dict.fromkeys(["one"], next(iter(params.corpora.values())))
    store = UnitStore(Path("units"))
    tokenize_images(out=Path("second"), paths=params.paths, store=store, corpora=corpora, ingest=LIMITS, vq=vq)
    assert len(encoded) == 2


def test_a_worker_of_another_kind_of_machine_is_refused(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest_pictures(params, {"one": [0]})
    monkeypatch.setattr(picture_encoding, "numerics_class", lambda threads: "another machine")
    with pytest.raises(ParamsError, match="this worker is another machine"):
        tokenize(params, ["one"], "out")
