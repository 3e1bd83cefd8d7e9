"""Shards follow their raw files: what stays keeps its bytes. No benchmark item gets into them, nor past them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mmada.contracts.benchmark_items import BENCHMARK_ITEMS
from mmada.contracts.code_packing import pack_codes
from mmada.contracts.image_codes import IMAGE_CODES
from mmada.contracts.records import RECORDS, SELECTED, row_id
from mmada.contracts.tables import write_table
from mmada.errors import GateError
from mmada.lineage.manifest import Artifact, write_manifest
from mmada.params_data import Decontamination, Shards
from mmada.params_schema import Paths, load_params
from mmada.params_training import TrainingData
from mmada.shards.check import check_shards
from mmada.shards.index import read_index
from mmada.stages.write_shards import VERSION, write_shards
from tests.ingested import write_ingested

PARAMS = Path(__file__).parents[2] / "params.yaml"
HELD = "Ann buys 12 pens and loses 5 of them before noon how many pens are left"
HELD_PIXELS = "f" * 64
SIZE = 10


def _row(file: str, number: int, prompt: str, image: str = "") -> dict[str, Any]:
    task = "t2i" if image else "chat"
    values = {name: "" for name in RECORDS} | {
        "row_id": row_id(task, prompt, "seven", "", image), "corpus": "problems", "source_file": file,
        "file_sha256": file, "row": number, "task": task, "prompt": prompt, "response": "seven",
        "image_sha256": image,
    }  # fmt: skip
    return values


def _file(name: str, count: int) -> list[dict[str, Any]]:
    return [_row(name, number, f"what is {name} and {number}? {number * 7919}") for number in range(count)]


class _Project:
    """What write_shards reads, made of rows; it may be called again with others."""

    def __init__(self, root: Path) -> None:
        self.root = root
        names = ("ingested", "codes", "selected", "gate", "benchmark_items")
        known = load_params(PARAMS).paths
        self.paths: Paths = known.model_copy(update={name: (root / name).as_posix() for name in names})
        self.hold(HELD)
        picture = {"image_sha256": "i", "pixels_sha256": HELD_PIXELS, "grid_rows": 1, "grid_columns": 1}
        facts = {
            "codes": pack_codes(np.zeros(1, np.uint16)),
            "psnr": 40.0,
            "pixel_std": 9.0,
            "code_entropy": 0.0,
            "structure": 1.0,
            "lost_share": 0.0,
            "blur": 0.3,
            "image_side": 64,
            "image_aspect": 1.0,
            "codes_used": 1,
        }
        codes = pl.DataFrame([picture | facts], schema=pl.Schema(IMAGE_CODES))
        write_table(codes, root / "codes/problems/codes-000000.parquet", IMAGE_CODES)
        write_manifest(root / "codes", stage="tokenize_images", version=1, metadata={})

    def hold(self, prompt: str) -> None:
        """Make the benchmark of this question and a picture."""
        items = [
            {"item_id": "i1", "kind": "reasoning", "prompt": prompt},
            {"item_id": "i2", "kind": "vqa", "prompt": "how many?", "pixels_sha256": HELD_PIXELS},
        ]
        blank = dict.fromkeys(BENCHMARK_ITEMS, "") | {"benchmark": "held"}
        table = pl.DataFrame([blank | item for item in items], schema=pl.Schema(BENCHMARK_ITEMS))
        write_table(table, self.root / "benchmark_items/held/items.parquet", BENCHMARK_ITEMS)
        write_manifest(self.root / "benchmark_items/held", stage="benchmark_items", version=1, metadata={})

    def shards(self, rows: Sequence[dict[str, Any]], name: str = "shards") -> Artifact:
        """The set of shards of these rows, all of which were kept."""
        records = pl.DataFrame(rows, schema=pl.Schema(RECORDS))
        write_ingested(self.root / "ingested/problems", records)
        write_manifest(self.root / "ingested/problems", stage="ingest", version=1, metadata={})
        origin = pl.concat_list(pl.struct("corpus", "source_file", "file_sha256", "row"))
        selected = records.with_columns(ordinal=pl.lit(0, pl.Int64), origins=origin).select(list(SELECTED))
        write_table(selected, self.root / "selected/selected.parquet", SELECTED)
        kept = write_manifest(self.root / "selected", stage="select", version=1, metadata={})
        (self.root / "gate").mkdir(exist_ok=True)
        write_manifest(self.root / "gate", stage="validate", version=1, metadata={"selected": kept.id})
        out = self.root / name
        out.mkdir()
        report = write_shards(
            out=out,
            paths=self.paths,
            data=TrainingData(corpora={"problems": 1.0}, direct_answers=()),
            shards=Shards(samples_per_shard=SIZE),
            benchmarks=dict.fromkeys(["held"], load_params(PARAMS).benchmarks["scene_questions"]),
            decontamination=Decontamination(ngram=5, containment=0.8),
        )
        assert report.rows_kept == len(rows)
        return write_manifest(out, stage="write_shards", version=VERSION, metadata={})


@pytest.fixture
def project(tmp_path: Path) -> _Project:
    return _Project(tmp_path)


def _changed(before: Artifact, after: Artifact) -> set[str]:
    return {name for name, sha256 in after.files.items() if before.files.get(name) != sha256}


def test_one_per_cent_more_rows_change_at_most_three_per_cent_of_all_bytes(project: _Project) -> None:
    before = project.shards([*_file("a.jsonl", 1500), *_file("b.jsonl", 500)], "before")
    after = project.shards([*_file("a.jsonl", 1520), *_file("b.jsonl", 500)], "after")
    assert check_shards(after.path) == []
    changed = sum(after.sizes[name] for name in _changed(before, after))
    assert changed <= 0.03 * sum(after.sizes.values())


def test_without_a_file_its_shards_are_gone_and_the_others_are_the_same_bytes(project: _Project) -> None:
    files = [_file(f"{name}.jsonl", 40) for name in "abcd"]
    before = project.shards([row for file in files for row in file], "before")
    after = project.shards([row for file in (files[0], *files[2:]) for row in file], "after")
    assert _changed(before, after) == set()
    held = {
        shard
        for shard, origins in read_index(before.path).select("shard", "origins").iter_rows()
        if any(origin["source_file"] == "b.jsonl" for origin in origins)
    }
    assert {name for name in before.files.keys() - after.files.keys() if name.endswith(".tar")} == held


def test_small_files_share_shards(project: _Project) -> None:
    made = project.shards([row for number in range(100) for row in _file(f"{number:03d}.jsonl", 1)])
    assert 5 <= sum(name.endswith(".tar") for name in made.files) <= 20


def test_the_order_of_arrival_and_the_place_change_no_byte(project: _Project, tmp_path: Path) -> None:
    rows = [*_file("a.jsonl", 30), *_file("b.jsonl", 30)]
    other = _Project(tmp_path / "elsewhere")
    assert project.shards(rows).id == other.shards(rows[::-1]).id


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        ({"prompt": f"{HELD}?"}, "held/i1 .whole"),
        ({"prompt": f"Listen well. {HELD}, do you think? Say it."}, "held/i1 .ngrams"),
        ({"prompt": "a drawing of it", "image": "i"}, "held/i2 .picture"),
    ],
)
def test_a_planted_benchmark_item_is_refused_with_its_shard(
    project: _Project, planted: dict[str, str], words: str
) -> None:
    rows = [*_file("a.jsonl", 30), _row("a.jsonl", 30, **planted)]
    with pytest.raises(GateError, match=rf"1 samples.*{rows[-1]['row_id'][:32]}.* in problems-.*\.tar: {words}"):
        project.shards(rows)


def test_a_benchmark_that_finds_nothing_changes_no_byte(project: _Project) -> None:
    rows = _file("a.jsonl", 30)
    before = project.shards(rows, "before")
    project.hold(HELD.replace("pens", "cows"))
    assert project.shards(rows, "after").id == before.id
