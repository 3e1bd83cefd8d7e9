"""Real corpora and hostile files through the adapters and the ingest stage: known counts, nothing lost."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mmada.params_data import Corpus, Ingest
from mmada.sources.adapters import ADAPTERS
from mmada.sources.hugging_face import FORMAT as HUGGING_FACE
from mmada.sources.json_values import parse_json
from mmada.sources.raw_rows import Defect
from mmada.stages.ingest import ingest, limits
from mmada.unit_store import UnitStore
from tests.sources.reading_rows import rows_of

_LIMITS = Ingest(
    max_row_bytes=1_000_000,
    max_image_bytes=50_000_000,
    max_image_pixels=50_000_000,
    max_json_depth=64,
    rows_per_unit=5000,
    pictures_per_part=100,
)
_RAW_LIMITS = limits(_LIMITS)
_ROWS: dict[str, tuple[int, dict[str, Any]]] = {
    "coco": (
        85,
        {
            "path": "images/coco_ccby",
            "files": "captions.jsonl",
            "format": "image_folder",
            "task": "t2i",
            "columns": {"image": "image", "prompt": "captions.0"},
        },
    ),
    "gsm8k": (
        7473,
        {
            "path": "text_math",
            "files": "gsm8k_train.jsonl",
            "format": "jsonl",
            "task": "chat",
            "columns": {"prompt": "question", "response": "answer", "reference": "answer"},
            "reference_pattern": "#### (.+)",
        },
    ),
    "r1": (
        153,
        {
            "path": "long_cot/r1_math_traces",
            "files": "*/solutions.json",
            "sidecar": "problem.json",
            "format": "trajectories",
            "task": "chat",
            "columns": {
                "prompt": "problem",
                "response": "solution",
                "reference": "gt_answer",
                "kind": "type",
            },
        },
    ),
    "nlvr": (
        60,
        {
            "path": "images/nlvr_dev_sample",
            "files": "sentences.jsonl",
            "format": "jsonl",
            "task": "mmu",
            "columns": {
                "prompt": "sentence",
                "response": "label",
                "reference": "label",
                "image": "identifier",
            },
            "image_path": "dev-{}-0.png",
        },
    ),
    "easy_vqa": (
        9673,
        {
            "path": "images/easy_vqa_test",
            "files": "questions.json",
            "format": "json",
            "task": "mmu",
            "columns": {"prompt": "0", "response": "1", "reference": "1", "image": "2"},
            "image_path": "images/{}.png",
        },
    ),
}


@pytest.mark.parametrize("name", sorted(_ROWS))
def test_every_row_of_a_real_corpus_is_kept(
    realdata: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMADA_WORKERS", "1")
    count, declared = _ROWS[name]
    corpus = Corpus(**{**declared, "path": str(realdata / declared["path"])}, source="test", licence="test")
    report = ingest(out=tmp_path, key=name, corpora=corpus, ingest=_LIMITS, store=UnitStore(tmp_path / "units"))
    assert (report.rows_in, report.rows_kept) == (count, count)
    records = pl.read_parquet(tmp_path / "records-*.parquet")
    assert records.height == count
    assert records.filter(pl.col("prompt") == "").is_empty()
    if "reference" in declared["columns"]:
        assert records.filter(pl.col("reference") == "").is_empty()


def test_answers_of_gsm8k_are_the_numbers_after_the_marks(realdata: Path, tmp_path: Path) -> None:
    corpus = Corpus(**{**_ROWS["gsm8k"][1], "path": str(realdata / "text_math")}, source="t", licence="t", max_rows=3)
    ingest(out=tmp_path, key="g", corpora=corpus, ingest=_LIMITS, store=UnitStore(tmp_path / "units"))
    assert pl.read_parquet(tmp_path / "records-*.parquet").get_column("reference").to_list() == [
        "72",
        "10",
        "5",
    ]


def test_json_that_must_pass_passes_and_json_that_must_fail_fails(realdata: Path) -> None:
    files = sorted((realdata / "hostile" / "json_parsing").glob("*.json"))
    assert len(files) > 300
    wrong = []
    for file in files:
        is_defect = isinstance(parse_json(file.read_bytes(), _RAW_LIMITS), Defect)
        if (file.name[0] == "y" and is_defect) or (file.name[0] == "n" and not is_defect):
            wrong.append(file.name)
    assert wrong == []


@pytest.mark.parametrize("adapter", sorted(ADAPTERS.keys() - {HUGGING_FACE}))  # whose files the library finds
def test_no_hostile_file_breaks_an_adapter(realdata: Path, adapter: str) -> None:
    files = [file for file in sorted((realdata / "hostile").rglob("*")) if file.is_file()]
    assert len(files) > 500
    for file in files:
        for _, content in rows_of(file, adapter, _RAW_LIMITS):
            assert content is not None or adapter != "webdataset"


def test_hostile_pictures_are_kept_or_dropped_with_a_reason(
    realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMADA_WORKERS", "1")
    folder = realdata / "hostile" / "pillow_images"
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    table = tmp_path / "captions.csv"
    table.write_text("file_name,caption\n" + "".join(f"{name},a picture\n" for name in [*names, "absent.png"]))
    columns: dict[Any, str] = {"image": "file_name", "prompt": "caption"}
    corpus = Corpus(
        path=str(table),
        format="image_folder",
        task="t2i",
        columns=columns,
        image_path="pictures/{}",
        source="t",
        licence="t",
    )
    (tmp_path / "pictures").symlink_to(folder)
    small = _LIMITS.model_copy(update={"max_image_pixels": 4_000_000})
    out = tmp_path / "out"
    report = ingest(out=out, key="h", corpora=corpus, ingest=small, store=UnitStore(tmp_path / "units"))
    assert report.rows_in == len(names) + 1
    assert report.dropped["image_missing"] == 1
    assert set(report.dropped) <= {
        "image_missing",
        "image_truncated",
        "image_mislabelled",
        "image_unreadable",
        "image_too_large",
    }
    assert report.rows_kept > 100
