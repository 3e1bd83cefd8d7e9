"""Two outputs differ by what was put in: raw files, samples counted one by one, settings, versions of stages."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from mmada.cli import app
from mmada.contracts.records import ORIGIN
from mmada.errors import InputError
from mmada.lineage.difference import Change, SampleChange, difference, find_lineage, version_before
from mmada.lineage.manifest import Artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run
from mmada.lineage.render import difference_lines
from mmada.lineage.trace import Lineage, trace


@dataclass(frozen=True)
class _Version:
    """What a model is made of. texts: rows of the corpus texts; photos stay."""

    texts: range
    loops: float = 0.5
    rate: float = 0.1
    annotate: int = 8


BEFORE = _Version(range(10))
AFTER = _Version(range(3, 25), loops=0.4, annotate=9)


class _Project:
    """Models that were made one after the other, without the stages."""

    def __init__(self, root: Path) -> None:
        self.root, self.store, self.made = root, ProvenanceStore(root / "data" / "provenance"), 0

    def model(self, version: _Version, key: str = "stage1") -> Artifact:
        texts = self._output("ingest@texts", {}, str(version.texts), raw={"raw/texts.jsonl": str(version.texts)})
        photos = self._output("ingest@photos", {}, "photos", raw={"raw/photos.jsonl": "photos"})
        content = f"{version.texts} {version.annotate}"
        facts = self._output("annotate", {"texts": texts, "photos": photos}, content, version=version.annotate)
        limits = {"selection": {"max_loop_share": version.loops, "leave_out": []}}
        selected = self._output("select", {"facts": facts}, repr(version), params=limits)
        shards = self._output("write_shards", {"selected": selected}, repr(version), rows=_rows(version))
        params = {f"training.{key}": {"optimiser": {"learning_rate": version.rate}}}
        return self._output(f"train@{key}", {"shards": shards}, repr(version) + key, params=params)

    def _output(self, address: str, inputs: dict[str, Artifact], content: str, **run: Any) -> Artifact:
        stage, _, key = address.partition("@")
        self.made += 1
        folder = self.root / f"{self.made}" / address
        folder.mkdir(parents=True)
        (folder / "file").write_text(content)
        version = run.get("version", 1)
        artifact = write_manifest(folder, stage=stage, key=key, version=version, metadata={})
        rows = []
        if "rows" in run:
            rows = [folder / "rows.parquet"]
            run["rows"].write_parquet(rows[0])
        record = Run(
            stage=stage,
            key=key,
            version=version,
            path=address,
            inputs={name: (read.id, read.path.as_posix()) for name, read in inputs.items()},
            raw_files={path: _sha(text) for path, text in run.get("raw", {}).items()},
            params=run.get("params", {}),
            started=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.made),
        )
        self.store.append(artifact, record, rows=rows)
        return artifact


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _rows(version: _Version) -> pl.DataFrame:
    samples = [("texts", f"text {row}") for row in version.texts] + [("photos", f"photo {row}") for row in range(5)]
    return pl.DataFrame(
        {
            "key": [name for _, name in samples],
            "corpus": [corpus for corpus, _ in samples],
            "task": "lm",
            "row_id": [_sha(name) for _, name in samples],
            "origins": [[] for _ in samples],
        },
        schema_overrides={"origins": pl.List(ORIGIN)},
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Project:
    monkeypatch.chdir(tmp_path)
    return _Project(tmp_path)


def _lineage(project: _Project, model: Artifact) -> Lineage:
    return trace(model.path, project.store, project.root)


def test_what_was_put_in_is_named_and_counted(project: _Project) -> None:
    old, new = project.model(BEFORE), project.model(AFTER)
    found = difference(_lineage(project, old), _lineage(project, new), project.root)
    assert found.raw_files == [Change("raw/texts.jsonl", _sha("range(0, 10)"), _sha("range(3, 25)"))]
    assert found.samples == [SampleChange("photos", 5, 5, 0, 0), SampleChange("texts", 10, 22, 15, 3)]
    assert found.params == [Change("selection.max_loop_share", 0.5, 0.4)]
    assert found.versions == [Change("annotate", 8, 9)]
    changed = {change.name for change in found.outputs}
    assert changed == {"ingest@texts", "annotate", "select", "write_shards", "train@stage1"}
    assert found.code == []
    back = difference(_lineage(project, new), _lineage(project, old), project.root)
    assert back.samples[1] == SampleChange("texts", 22, 10, 3, 15)


def test_an_output_differs_from_itself_in_nothing(project: _Project) -> None:
    lineage = _lineage(project, project.model(BEFORE))
    found = difference(lineage, lineage, project.root)
    assert not [*found.outputs, *found.params, *found.raw_files, *found.versions, *found.code]
    assert list(difference_lines(found))[-1] == "they are the same"


def test_two_blocks_of_training_are_compared_setting_by_setting(project: _Project) -> None:
    old, new = project.model(BEFORE), project.model(_Version(range(10), rate=0.2), key="faster")
    found = difference(_lineage(project, old), _lineage(project, new), project.root)
    assert found.params == [Change("training.faster.optimiser.learning_rate", 0.1, 0.2)]


def test_the_version_before_is_the_one_that_was_made_last(project: _Project) -> None:
    models = [project.model(_Version(range(size))) for size in (4, 5, 6)]
    project.model(_Version(range(7)), key="stage2")
    before = version_before(_lineage(project, models[2]))
    assert before.root == models[1].id
    with pytest.raises(InputError, match=r"no version of train@stage1 before"):
        version_before(_lineage(project, models[0]))


def test_the_command_takes_folders_and_ids_and_says_what_is_none(project: _Project) -> None:
    old, new = project.model(BEFORE), project.model(AFTER)
    told = CliRunner().invoke(app, ["diff", new.path.as_posix()])
    assert "texts  10 -> 22: 15 added, 3 removed" in told.stdout
    assert "selection.max_loop_share  0.5 -> 0.4" in told.stdout
    assert "photos" not in told.stdout
    given = CliRunner().invoke(app, ["diff", new.id[:20], old.id, "--json"])
    assert json.loads(given.stdout)["samples"][1]["added"] == 15
    with pytest.raises(InputError, match="no folder and no id"):
        find_lineage("nothing", project.store, project.root)
