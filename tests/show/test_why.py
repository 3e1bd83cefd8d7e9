"""The story of a row agrees with what selection decided, names its twins and matches, and what was made of it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from mmada.cli import app
from mmada.contracts.facts import read_facts
from mmada.curation.select import REASONS, TWIN_REASONS
from mmada.errors import InputError
from mmada.lineage.manifest import write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run
from mmada.params_schema import Params, load_params
from mmada.show.story import tell
from mmada.stage_runner import run_stage
from tests.curation.pipeline import ingest_all, small_params

ROOT = Path(__file__).resolve().parents[2]
_OF_ONE_ROW = [reason for reason in REASONS if reason not in TWIN_REASONS]


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    """A small corpus with planted dirt, selected."""
    folder = tmp_path_factory.mktemp("curated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        params = small_params()
        patch.chdir(folder)
        (folder / "params.yaml").write_text(json.dumps(params.model_dump(mode="json")))
        run_stage("make_demo_corpus@demo", params)
        ingest_all(params)
        run_stage("annotate", params)
        run_stage("select", params)
    return folder, load_params(folder / "params.yaml")


@pytest.fixture
def params(curated: tuple[Path, Params], monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(curated[0])
    return curated[1]


def ledger(params: Params) -> pl.DataFrame:
    return pl.read_parquet(Path(params.paths.selected) / "dropped.parquet")


def test_the_first_verdict_that_fails_is_the_reason_in_the_ledger(params: Params) -> None:
    dropped = ledger(params)
    assert dropped["reason"].n_unique() > 4
    for row_id, reason, value in dropped.group_by("reason").head(2).select("row_id", "reason", "value").iter_rows():
        story = tell(row_id, params)
        assert [verdict.reason for verdict in story.verdicts] == _OF_ONE_ROW
        failed = [verdict for verdict in story.verdicts if not verdict.passes]
        if "duplicate" in reason:
            assert not failed
            assert f"{reason} ({value})" in " ".join(origin["fate"] for origin in story.row.origins)
            assert row_id in [twin["row_id"] for twin in tell(value, params).twins]
        else:
            assert (failed[0].reason, failed[0].value) == (reason, value)
        assert bool(story.matches) == (reason == "contaminated")


def test_a_kept_row_passes_everything_with_its_values(params: Params) -> None:
    selected = pl.read_parquet(Path(params.paths.selected) / "selected.parquet")
    row_id = selected.filter(corpus="problems").item(0, "row_id")
    story = tell(row_id, params)
    assert all(verdict.passes for verdict in story.verdicts)
    facts = pl.concat(read_facts(Path(params.paths.facts))).filter(row_id=row_id)
    values = {verdict.reason: verdict.value for verdict in story.verdicts}
    assert values["row_too_long"] == str(facts.item(0, "num_text_tokens"))
    assert story.reached == []


def test_what_was_made_of_a_row_is_named(params: Params) -> None:
    row_id = pl.read_parquet(Path(params.paths.selected) / "selected.parquet").item(0, "row_id")
    shards = Path("shards")
    shards.mkdir()
    origin = {"corpus": "c", "source_file": "f", "file_sha256": "s", "row": 0}
    pl.DataFrame({"key": ["k"], "corpus": ["c"], "row_id": [row_id], "origins": [[origin]]}).write_parquet(
        shards / "rows"
    )
    made = write_manifest(shards, stage="write_shards", key="stage1", version=1, metadata={})
    run = Run("write_shards", "stage1", 1, "shards", {}, raw_files={"raw/a": "s"}, params={}, started=datetime.now(UTC))
    ProvenanceStore(Path(params.paths.provenance)).append(made, run, rows=[shards / "rows"])
    assert [one.address for one in tell(row_id, params).reached] == ["write_shards@stage1"]


def why(*arguments: str) -> str:
    """What `mmada why` prints. Raises what it raises."""
    result = CliRunner().invoke(app, ["why", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_threshold_that_fails_is_explained_in_a_sentence(params: Params) -> None:
    wrong = ledger(params).filter(reason="answer_wrong").row(0, named=True)
    place = f"{wrong['corpus']}/{wrong['source_file']}:{wrong['row']}"
    for asked in (wrong["row_id"], wrong["row_id"][:12], place):
        told = why(asked)
        assert f"dropped by select: answer_wrong ({wrong['value']})" in told
        assert REASONS["answer_wrong"] in told
        assert "require_correct True" in told
        assert f"max_text_tokens {params.selection.max_text_tokens}" in told


def test_json_holds_all_of_it(params: Params) -> None:
    found: dict[str, Any] = json.loads(why(ledger(params).item(0, "row_id"), "--json"))
    assert {"row", "verdicts", "matches", "alike", "twins", "reached"} == set(found)


def test_a_row_that_was_not_read_tells_so(params: Params) -> None:
    (file,) = (Path(params.paths.ingested) / "problems").glob("dropped-*.parquet")
    lost = pl.read_parquet(file).row(0, named=True)
    told = why(f"problems/{lost['source_file']}:{lost['row']}")
    assert f"dropped by ingest: {lost['reason']}" in told
    assert "thresholds" not in told


def test_an_unknown_row_is_refused(params: Params) -> None:
    with pytest.raises(InputError, match="no row_id begins with"):
        why("0" * 64)
