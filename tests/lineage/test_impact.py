"""Impact names what a search through every lineage by hand would name."""

import random
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from mmada.contracts.records import ORIGIN
from mmada.errors import InputError
from mmada.lineage.impact import Impact, impact
from mmada.lineage.manifest import Artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run
from mmada.lineage.trace import trace

STARTED = datetime(2026, 1, 1, tzinfo=UTC)


def _sha(name: str) -> str:
    return f"{random.Random(name).getrandbits(256):064x}"


class _Project:
    """Outputs of stages with provenance, without the stages."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = ProvenanceStore(root / "provenance")

    def made(
        self, address: str, inputs: dict[str, Artifact], raw: Sequence[str] = (), rows: pl.DataFrame | None = None
    ) -> Artifact:
        stage, _, key = address.partition("@")
        folder = self.root / address
        folder.mkdir()
        (folder / "file").write_text(address)
        if rows is not None:
            rows.write_parquet(folder / "rows.parquet")
        artifact = write_manifest(folder, stage=stage, key=key, version=1, metadata={})
        run = Run(
            stage=stage,
            key=key,
            version=1,
            path=address,
            inputs={name: (read.id, read.path.as_posix()) for name, read in inputs.items()},
            raw_files={path: _sha(path) for path in raw},
            params={},
            started=STARTED,
        )
        self.store.append(artifact, run, rows=[] if rows is None else [folder / "rows.parquet"])
        return artifact


def _rows(*samples: tuple[str, str, Sequence[str]]) -> pl.DataFrame:
    """Row index of samples (corpus, row, raw files with that row)."""
    return pl.DataFrame(
        {
            "key": [f"{row}-lm-0" for _, row, _ in samples],
            "corpus": [corpus for corpus, _, _ in samples],
            "row_id": [_sha(row) for _, row, _ in samples],
            "origins": [
                [{"corpus": corpus, "source_file": file, "file_sha256": _sha(file), "row": 0} for file in files]
                for corpus, _, files in samples
            ],
        },
        schema_overrides={"origins": pl.List(ORIGIN)},
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> _Project:
    """Two corpora; the first model is trained on the first of them, the second on top of it on the second."""
    project = _Project(tmp_path_factory.mktemp("project"))
    made = project.made
    texts = made("ingest@texts", {}, ["raw/texts/a.jsonl", "raw/texts/b.jsonl"])
    photos = made("ingest@photos", {}, ["raw/photos/table.jsonl", "raw/photos/1.png"])
    items = made("benchmark_items@held", {}, ["raw/held.jsonl"])
    tokenizer = made("fit_text_tokenizer", {"ingested texts": texts, "ingested photos": photos})
    selected = made("select", {"ingested texts": texts, "ingested photos": photos, "items": items})
    init = made("init_model", {"tokenizer": tokenizer})
    first, both = ("texts", "one", ["raw/texts/a.jsonl"]), ("texts", "two", ["raw/texts/a.jsonl", "raw/texts/b.jsonl"])
    shards1 = made("write_shards@1", {"selected": selected, "ingested texts": texts}, rows=_rows(first, both))
    photo = ("photos", "three", ["raw/photos/table.jsonl"])
    shards2 = made("write_shards@2", {"selected": selected, "ingested photos": photos}, rows=_rows(photo))
    model1 = made("train@1", {"shards": shards1, "parent": init})
    model2 = made("train@2", {"shards": shards2, "parent": model1})
    for name, model in {"init": init, "1": model1, "2": model2}.items():
        made(f"evaluate@{name}", {"model": model, "items held": items})
    return project


def _by_relation(found: Impact, relation: str) -> set[str]:
    return {output.address for output in found.affected if output.relation == relation}


def test_a_table_is_in_the_shards_that_hold_its_rows_and_in_what_was_trained_on_them(project: _Project) -> None:
    found = impact("raw/texts/b.jsonl", project.store)
    containing = {"ingest@texts", "write_shards@1", "train@1", "train@2", "evaluate@1", "evaluate@2"}
    assert _by_relation(found, "contains") == containing
    assert {"fit_text_tokenizer", "init_model", "evaluate@init", "write_shards@2"} <= _by_relation(found, "descends")
    assert {output.address: output.samples for output in found.affected if output.samples} == {"write_shards@1": 1}


def test_a_picture_may_be_in_any_sample_of_its_corpus(project: _Project) -> None:
    found = impact("raw/photos/1.png", project.store)
    assert _by_relation(found, "contains") == {"ingest@photos"}
    assert _by_relation(found, "may contain") == {"write_shards@2", "train@2", "evaluate@2"}


def test_a_row_is_named_by_its_id_with_the_files_that_hold_it(project: _Project) -> None:
    found = impact(_sha("two"), project.store)
    assert set(found.raw_files.values()) == {("raw/texts/a.jsonl",), ("raw/texts/b.jsonl",)}
    assert "train@1" in _by_relation(found, "contains")
    assert "train@1" in _by_relation(impact(_sha("three"), project.store), "descends"), "it only shares the tokenizer"


def test_a_held_out_file_is_in_no_model(project: _Project) -> None:
    found = impact("raw/held.jsonl", project.store)
    assert _by_relation(found, "contains") == {"benchmark_items@held"}
    assert _by_relation(found, "may contain") == set()
    assert "evaluate@2" in _by_relation(found, "descends")


@pytest.mark.parametrize("asked", ["raw/texts/a.jsonl", "raw/texts/b.jsonl", "raw/photos/1.png", "raw/held.jsonl"])
def test_impact_is_trace_read_backwards(project: _Project, asked: str) -> None:
    folders = [path.parent for path in project.root.glob("*/manifest.json")]
    tracing = {folder.name for folder in folders if asked in dict(trace(folder, project.store).raw_files())}
    assert {output.address for output in impact(asked, project.store).affected} == tracing
    assert impact(_sha(asked), project.store) == impact(asked, project.store), "a file's sha256 is as good as its path"


def test_an_output_that_came_out_the_same_without_the_file_owes_it_nothing(tmp_path: Path) -> None:
    project = _Project(tmp_path)
    texts = project.made("ingest@texts", {}, ["raw/a.jsonl"])
    photos = project.made("ingest@photos", {}, ["raw/1.png"])
    magvit = project.made("train_magvit", {"ingested texts": texts, "ingested photos": photos})
    project.made("tokenize_images", {"magvit": magvit})
    assert _by_relation(impact("raw/a.jsonl", project.store), "descends") == {"train_magvit", "tokenize_images"}
    shutil.rmtree(tmp_path / "train_magvit")
    assert project.made("train_magvit", {"ingested photos": photos}).id == magvit.id
    assert _by_relation(impact("raw/a.jsonl", project.store), "descends") == set()
    assert _by_relation(impact("raw/1.png", project.store), "descends") == {"train_magvit", "tokenize_images"}


def test_a_folder_is_all_of_its_files(project: _Project) -> None:
    found = impact("./raw/texts/", project.store)
    assert set(found.raw_files.values()) == {("raw/texts/a.jsonl",), ("raw/texts/b.jsonl",)}
    assert next(output.samples for output in found.affected if output.address == "write_shards@1") == 2


@pytest.mark.parametrize("asked", ["raw/text", "raw/texts/c.jsonl", "0" * 64])
def test_what_nothing_was_made_of_is_refused(project: _Project, asked: str) -> None:
    with pytest.raises(InputError, match=r"raw files lie in raw.*dropped\*\.parquet"):
        impact(asked, project.store)


def test_a_project_without_provenance_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--project"):
        impact("raw/a.jsonl", ProvenanceStore(tmp_path))
