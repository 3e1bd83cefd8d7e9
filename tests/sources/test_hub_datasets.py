"""Datasets of the Hugging Face hub: streamed in spans of bounded rows, each data file from its beginning on once."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from mmada.contracts.ingested import read_records
from mmada.errors import InputError
from mmada.lineage.manifest import file_sha256
from mmada.sources import hugging_face
from mmada.sources.hugging_face import HubDataset, HubFile, read_hub, split_dataset
from mmada.sources.reading import CorpusSpans, Reader, cut_corpus
from mmada.sources.units import Declaration
from mmada.unit_store import UnitStore
from tests.fake_hub import COMMIT, serve_dataset
from tests.sources.reading_rows import LIMITS

pytest.importorskip("datasets")

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
_ROWS = 10  # of each of two data files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dataset").mkdir()
    for part in range(2):
        table = pl.DataFrame({"text": [f"{part}-{n}" for n in range(_ROWS)]})
        table.write_parquet(tmp_path / "dataset" / f"train-{part:05d}-of-00002.parquet")
    return tmp_path / "dataset"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Every opening of a dataset; one of the hub is the folder's."""
    paths: list[str] = []
    real = hugging_face._load

    def load(dataset: HubDataset) -> Any:
        paths.append(dataset.path)
        return real(replace(dataset, path=str(folder), revision=""))

    monkeypatch.setattr(hugging_face, "_load", load)
    return paths


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    path = tmp_path / "words.hub.json"
    path.write_text(json.dumps({"dataset": "someone/words", "revision": COMMIT}))
    return path


def _cut(path: Path, store: UnitStore, max_rows: int | None = None) -> CorpusSpans:
    declared = Declaration("huggingface", str(path), {"response": "text"}, ["response"], split="train")
    return cut_corpus(declared, "*", max_rows, Reader(LIMITS, lambda _: None, store), where="corpora.a")  # type: ignore[arg-type, return-value]


def _local(folder: Path) -> HubDataset:
    return HubDataset(str(folder), "", "content", "", "train")


def test_spans_hold_a_bounded_number_of_rows_and_together_all(folder: Path) -> None:
    spans = list(split_dataset(_local(folder), LIMITS))
    assert {span.rows for span in spans} == {LIMITS.rows_per_unit, _ROWS % LIMITS.rows_per_unit}
    rows = [
        (span.file.name, span.first_row + raw.row, raw.content["text"])  # type: ignore[index]  # an object
        for span in spans
        for raw in read_hub(span, LIMITS)
    ]
    assert rows == [(f"shard-{part:05d}-of-00002", n, f"{part}-{n}") for part in range(2) for n in range(_ROWS)]
    assert len({span.digest for span in spans}) == len(spans)


def test_pictures_are_left_as_they_are_wherever_they_stand(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    picture = {"bytes": b"no picture", "path": None}
    features = datasets.Features({"all": datasets.Sequence(datasets.Image()), "a": {"b": datasets.Image()}})
    made = datasets.Dataset.from_dict({"all": [[picture, picture]], "a": [{"b": picture}]}, features=features)
    made.to_parquet(tmp_path / "dataset/train-00000-of-00001.parquet")
    (span,) = split_dataset(_local(tmp_path / "dataset"), LIMITS)
    assert [raw.content for raw in read_hub(span, LIMITS)] == [{"all": [picture, picture], "a": {"b": picture}}]


def test_a_data_file_is_opened_once_for_its_spans(folder: Path, opened: list[str]) -> None:
    spans = list(split_dataset(_local(folder), LIMITS))
    opened.clear()
    for span in spans:
        assert len(list(read_hub(span, LIMITS))) == span.rows
    assert len(opened) == 2


def test_what_is_pinned_is_counted_once(tmp_path: Path, pinned: Path, opened: list[str]) -> None:
    store = UnitStore(tmp_path / "units")
    first = _cut(pinned, store)
    assert opened == ["someone/words"]
    again = _cut(pinned, store)
    assert opened == ["someone/words"]
    assert [task.span for task in again.tasks] == [task.span for task in first.tasks]
    assert again.digests == first.digests
    assert again.sha256 == {str(pinned): file_sha256(pinned)}
    dataset = HubDataset("someone/words", COMMIT, "", "", "train")
    assert {again.file_sha256(task) for task in again.tasks} == {HubFile(dataset, n, 2).sha256() for n in range(2)}


def test_who_needs_few_rows_streams_few(tmp_path: Path, folder: Path) -> None:
    spans = [task.span for task in _cut(folder, UnitStore(tmp_path / "units"), max_rows=4).tasks]
    assert [(span.start, span.stop) for span in spans] == [(0, 3), (3, 6)]


def test_a_folder_is_pinned_by_its_files(tmp_path: Path, folder: Path, opened: list[str]) -> None:
    store = UnitStore(tmp_path / "units")
    before = _cut(folder, store)
    assert before.sha256 == {str(file): file_sha256(file) for file in folder.iterdir()}
    opened.clear()
    assert _cut(folder, store).digests == before.digests
    assert not opened
    pl.DataFrame({"text": ["another"] * _ROWS}).write_parquet(folder / "train-00001-of-00002.parquet")
    assert not set(before.digests) & set(_cut(folder, store).digests)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"does not exist; make it with `mmada pin hf://datasets/<owner>/<name> .*words.hub.json`"),
        ("[]", "names no dataset .* make it again"),
        ('{"dataset": "someone/words"}', "names no dataset .*revision"),
        ('{"dataset": "someone/words", "revision": "main"}', "'main' is no commit .* may change; run `mmada pin hf://"),
    ],
)
def test_a_file_that_pins_no_dataset_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "words.hub.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        _cut(path, UnitStore(tmp_path / "units"))


def test_a_folder_here_that_is_called_like_a_pinned_dataset_is_not_read_for_it(
    tmp_path: Path, folder: Path, pinned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "someone").mkdir()
    folder.rename(tmp_path / "someone/words")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"the folder someone/words here .* rename it"):
        _cut(pinned, UnitStore(tmp_path / "units"))


def test_a_name_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"corpora.a.path: someone/words holds no file; .*mmada pin hf://"):
        _cut(Path("someone/words"), UnitStore(tmp_path / "units"))


def test_a_broken_data_file_is_named(tmp_path: Path, folder: Path) -> None:
    (folder / "train-00001-of-00002.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match=f"dataset {folder}.*split 'train'"):
        _cut(folder, UnitStore(tmp_path / "units"))


def test_a_dataset_of_the_hub_is_pinned_and_ingested_and_what_is_wrong_is_told(project: Path) -> None:
    served = project / "served"
    for config in ("first", "second"):
        (served / config).mkdir(parents=True)
        for part in range(2):
            table = pl.DataFrame({"text": [f"{config} {part} {n}" for n in range(_ROWS)]})
            table.write_parquet(served / config / f"train-{part:05d}-of-00002.parquet")
    configs = [{"config_name": name, "data_files": f"{name}/train-*"} for name in ("first", "second")]
    (served / "README.md").write_text(f"---\nconfigs: {json.dumps(configs)}\n---\n")
    common = {"path": "words.hub.json", "format": "huggingface", "task": "lm", "columns": {"response": "text"}}
    given = {**common, "source": "the hub", "licence": "CC0-1.0"}
    corpora = {"words": {**given, "config": "second"}, "none": {**given, "config": "third"}, "vague": given}
    (project / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"corpora": PARAMS["corpora"] | corpora}))
    with serve_dataset("someone/words", served) as hub:
        assert f"at {COMMIT}" in _mmada(hub, 0, "pin", "hf://datasets/someone/words@main", "words.hub.json")
        _mmada(hub, 0, "run", "ingest@words")
        assert "404" in _mmada(hub, 2, "pin", "hf://datasets/someone/others", "others.hub.json")
        assert "config 'third', split 'train'" in _mmada(hub, 2, "run", "ingest@none")
        assert "['first', 'second']" in _mmada(hub, 2, "run", "ingest@vague")
    records = read_records(project / "data/ingested/words", "words")
    assert records["response"].to_list() == [f"second {part} {n}" for part in range(2) for n in range(_ROWS)]
    assert "run again when the hub can be reached" in _mmada(hub, 2, "pin", "hf://datasets/a/b", "b.hub.json")
    assert not (project / "b.hub.json").exists()


def _mmada(hub: str, code: int, *command: str) -> str:
    """What a command says, in a process of its own: the library takes the hub's address when it is imported."""
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": "hf", "MMADA_WORKERS": "1"}
    arguments = [str(Path(sys.executable).with_name("mmada")), *command]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr
