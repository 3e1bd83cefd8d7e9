"""Captions in a file beside the tars, joined by the sample's key."""

import io
import json
import tarfile
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from mmada.params_data import Corpus, Ingest
from mmada.stages.ingest import ingest
from mmada.unit_store import UnitStore
from tests.stages.test_ingest import png

LIMITS = Ingest(
    max_row_bytes=2000,
    max_image_bytes=100_000,
    max_image_pixels=10_000,
    max_json_depth=20,
    rows_per_unit=2,
    pictures_per_part=2,
)
CAPTIONS = {"000": "a cat", "001": "a dog", "003": "a fish"}


def _tar(path: Path, *keys: str) -> None:
    with tarfile.open(path, "w") as archive:
        for key in keys:
            data = png(int(key))
            info = tarfile.TarInfo(f"./{key}.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _write(path: Path, captions: dict[str, str]) -> None:
    rows = [{"key": key, "caption": caption, "other": 1} for key, caption in captions.items()]
    if path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(captions))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")


def _prompts(tmp_path: Path, file: str) -> dict[str, list[str]]:
    """Prompts that were kept, and the reasons of what was not."""
    corpus = Corpus(
        path=str(tmp_path / "raw"),
        files="*.tar",
        format="webdataset",
        task="t2i",
        columns={"image": "png", "prompt": "caption"},
        captions={"file": file},  # type: ignore[arg-type]  # pydantic makes the section
        source="t",
        licence="t",
    )
    out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
    report = ingest(out=out, key="c", corpora=corpus, ingest=LIMITS, store=UnitStore(tmp_path / "units"))
    kept = pl.concat([pl.read_parquet(path) for path in sorted(out.glob("records*.parquet"))])
    return {"kept": sorted(kept["prompt"]), "dropped": sorted(report.dropped.items())}  # type: ignore[dict-item]


@pytest.mark.parametrize("kind", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("of_each", [True, False])
def test_samples_take_their_captions_and_those_without_are_dropped(tmp_path: Path, kind: str, of_each: bool) -> None:
    (tmp_path / "raw").mkdir()
    _tar(tmp_path / "raw/a.tar", "000", "001", "002")
    _tar(tmp_path / "raw/b.tar", "003", "004")
    name = f"{{stem}}.{kind}" if of_each else f"captions.{kind}"
    for stem in "ab" if of_each else ["captions"]:
        _write(tmp_path / "raw" / f"{stem}.{kind}", CAPTIONS)
    assert _prompts(tmp_path, name) == {"kept": ["a cat", "a dog", "a fish"], "dropped": [("missing_field", 2)]}


def test_a_changed_caption_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    _tar(tmp_path / "raw/a.tar", "000")
    _write(tmp_path / "raw/captions.jsonl", CAPTIONS)
    assert _prompts(tmp_path, "captions.jsonl")["kept"] == ["a cat"]
    _write(tmp_path / "raw/captions.jsonl", {"000": "a cow"})
    assert _prompts(tmp_path, "captions.jsonl")["kept"] == ["a cow"]


def test_captions_need_keys() -> None:
    with pytest.raises(ValidationError, match="webdataset"):
        Corpus(
            path="a",
            format="jsonl",
            task="lm",
            columns={"response": "a"},
            captions={"file": "c"},
            source="",
            licence="",
        )  # type: ignore[arg-type]  # pydantic makes the section
