"""The whole site of a small project: its numbers are those of the files, its links lead somewhere, data stays text."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import pytest

from mmada.contracts.facts import FACTS
from mmada.contracts.ingested import read_dropped
from mmada.contracts.records import DROPS
from mmada.contracts.tables import write_table
from mmada.curation.select import REASONS
from mmada.evaluation.compare import compare
from mmada.evaluation.measured_scores import GRADED_ITEMS, answer_id
from mmada.lineage.manifest import read_artifact, write_manifest
from mmada.site.changes import changes
from mmada.site.checkpoint_scores import read_scores
from mmada.site.data_page import FACT_COLUMNS, Ledger, data_page, twins_of
from mmada.site.html import PAGES
from mmada.site.shown_answers import flips, side_by_side
from mmada.site.training_reports import read_sampled_pictures
from tests.site.conftest import build
from tests.site.reading_pages import Page, read_page
from tests.site.small_project import CORPORA, HOSTILE, PATHS, TEXTS

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "object": "data"}


@pytest.fixture(autouse=True)
def _in_the_project(small_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_project)


@pytest.fixture
def pages(small_project: Path) -> dict[str, Page]:
    return {name: read_page(small_project / "site" / f"{name}.html") for name in PAGES}


def _facts(site: Path) -> dict[str, str]:
    text = (site / "lineage_facts.js").read_text(encoding="utf-8")
    facts: dict[str, str] = json.loads(text.removeprefix("window.described = ").removesuffix(";\n"))
    return facts


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, Page], small_project: Path) -> None:
    for page in pages.values():
        for tag, attributes in page.elements:
            source = attributes.get(LOADED.get(tag, ""), "")
            assert not source or source.startswith("data:") or (small_project / "site" / source).is_file()


def test_every_link_leads_to_an_anchor(pages: dict[str, Page], small_project: Path) -> None:
    assert _checked_links(pages, small_project / "site") > 50


def test_ids_that_no_lineage_holds_yet_are_no_links(
    small_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(small_project, tmp_path / "copy")
    monkeypatch.chdir(copy)
    for name in (PATHS.models, PATHS.scores):
        shutil.rmtree(name)
    build(copy / "again")
    again = {name: read_page(copy / "again" / f"{name}.html") for name in PAGES}
    assert _checked_links(again, copy / "again") > 10


def _checked_links(pages: dict[str, Page], site: Path) -> int:
    """How many links there are; every one of them must lead to an anchor."""
    described = [("lineage", Page(html)) for html in _facts(site).values()]
    links = 0
    for name, page in [*pages.items(), *described]:
        for target in (attributes["href"] for tag, attributes in page.elements if tag == "a"):
            parts = urlsplit(target)
            assert not parts.scheme
            aim = parts.path.removesuffix(".html") or name
            assert not parts.fragment or parts.fragment in pages[aim].anchors, target
            links += 1
    return links


def test_hostile_text_is_shown_and_stays_text(pages: dict[str, Page], small_project: Path) -> None:
    everything = [*pages.values(), *(Page(html) for html in _facts(small_project / "site").values())]
    for page in everything:
        assert not page.values("onerror")
        assert all(urlsplit(source).scheme in ("data", "") for source in page.values("src"))
        assert not any("alert(" in script and "<" in script for script in page.scripts)
    for name in ("data", "training", "scores", "lineage"):
        assert HOSTILE in pages[name].texts, name


def test_rows_on_the_page_are_those_of_the_ledgers(pages: dict[str, Page]) -> None:
    unread = pl.concat(read_dropped(Path(PATHS.ingested) / corpus, corpus) for corpus in CORPORA)
    lost = pl.read_parquet(Path(PATHS.selected) / "dropped.parquet")
    kept = pl.read_parquet(Path(PATHS.selected) / "selected.parquet")
    raw = unread.height + len(CORPORA) * len(TEXTS)
    assert raw == kept.height + unread.height + lost.height
    for expected in (raw, kept.height, unread.height + lost.height):
        assert f"{expected}" in pages["data"].texts
        assert f"{expected}" in pages["index"].texts
    assert f"{unread.height - 5} more in the ledger (dropped.parquet)" in pages["data"].texts


def test_an_override_is_shown_with_whose_it_is_and_why(pages: dict[str, Page]) -> None:
    assert f"fails, let pass by {HOSTILE}: {HOSTILE}" in pages["data"].texts


def test_a_duplicate_stands_beside_the_row_that_is_kept() -> None:
    row = {"corpus": "problems", "source_file": "a", "row": 3, "row_id": "1", "value": "2", "excerpt": "how many?"}
    lost = pl.DataFrame([{**row, "reason": "duplicate_near"}]).select(list(DROPS))
    facts = pl.DataFrame(schema=pl.Schema(FACTS)).select(FACT_COLUMNS)
    kept = pl.DataFrame({"row_id": ["2"], "corpus": ["problems"]})
    ledger = Ledger(lost.clear(), lost, facts, kept, "id", {"2": "How many ?"})
    assert twins_of(lost) == ["2"]
    texts = [text for text in Page(data_page(ledger, None, None)).texts if text.strip()]
    assert texts.index("how many?") + 1 == texts.index("How many ?")
    assert REASONS["duplicate_near"] in texts


def test_lengths_count_what_exceeds_the_windows_and_what_the_limit_drops() -> None:
    facts = pl.DataFrame({"row_id": ["1", "2", "3"], "corpus": "problems", "num_text_tokens": [10, 600, 2000]})
    whole = pl.concat([facts, pl.DataFrame(schema=pl.Schema(FACTS))], how="diagonal").select(FACT_COLUMNS)
    row = {"corpus": "problems", "source_file": "a", "row": 3, "row_id": "3", "value": "2000", "excerpt": ""}
    lost = pl.DataFrame([{**row, "reason": "row_too_long"}]).select(list(DROPS))
    ledger = Ledger(lost.clear(), lost, whole, facts.head(2).select("row_id", "corpus"), "id", {})
    texts = [text for text in Page(data_page(ledger, None, None)).texts if text.strip()]
    begin = texts.index("tokens kept") + 1
    # Median, 95 %, longest; over 512 and 1,536; dropped; tokens kept.
    assert texts[begin : begin + 8] == ["problems", "600", "2,000", "2,000", "2", "1", "1", "610"]


def test_changes_are_those_of_compare(pages: dict[str, Page]) -> None:
    scores = read_scores(Path(PATHS.scores), ["init", "stage1"])
    for benchmark in ("drawn", "sums"):
        (change,) = changes(scores, {"stage1": "init"}, benchmark)
        expected = compare(Path(PATHS.scores) / "stage1", Path(PATHS.scores) / "init", benchmark)
        assert change.comparison == expected
        assert (len(change.gained), len(change.lost)) == (expected.only_first, expected.only_second)
        points = [100 * value for value in (expected.difference, expected.low, expected.high)]
        assert f"{points[0]:+.1f} points ({points[1]:+.1f} to {points[2]:+.1f})" in pages["scores"].texts
    assert any(change.gained for change in changes(scores, {"stage1": "init"}, "sums"))


def _answered_twice(folder: Path, right: Mapping[str, tuple[bool, bool]]) -> None:
    """Make the scores in `folder` those of two answers to each of these items of `sums`."""
    path = folder / "items-sums.parquet"
    row = pl.read_parquet(path).row(0, named=True)
    answers = [
        row | {"item_id": answer_id(item, number), "prompt": f"prompt of {item}", "correct": both[number]}
        for number in range(2)
        for item, both in right.items()
    ]
    write_table(pl.DataFrame(answers, schema=pl.Schema(GRADED_ITEMS)), path, GRADED_ITEMS)
    (folder / "manifest.json").unlink()
    write_manifest(folder, stage="evaluate", version=1, metadata={})


def test_items_with_several_answers_are_counted_and_shown_once(tmp_path: Path) -> None:
    shutil.copytree(PATHS.scores, tmp_path / "scores")
    no, half, yes = (False, False), (True, False), (True, True)
    many = {f"z{number:02}": no for number in range(20)}
    _answered_twice(tmp_path / "scores/init", {"a": no, "b": half, "c": half, "d": yes, **many})
    _answered_twice(tmp_path / "scores/stage1", {"a": yes, "b": yes, "c": (False, True), "d": half, **many})
    scores = read_scores(tmp_path / "scores", ["init", "stage1"])
    (change,) = changes(scores, {"stage1": "init"}, "sums")
    assert (change.gained, change.lost) == (["a", "b"], ["d"]), "c is right as often as before"
    assert change.comparison is not None
    assert (change.comparison.only_first, change.comparison.only_second) == (2, 1)
    gained, lost = (Page(html.text).texts for html in flips(change))
    assert (gained[0], lost[0]) == ("2", "1")
    assert [gained.count(f"prompt of {item}") for item in "abcd"] == [1, 1, 0, 0]
    assert (lost.count("right"), lost.count("wrong")) == (3, 1), "both answers before, both after"
    beside = Page(side_by_side("sums", scores).text).texts
    assert "16 more items (items-*.parquet)" in beside
    assert beside.count("right") + beside.count("wrong") == 8 * 2 * 2


def test_scores_of_other_items_are_not_compared(tmp_path: Path) -> None:
    shutil.copytree(PATHS.scores, tmp_path / "scores")
    path = tmp_path / "scores" / "stage1" / "scores.json"
    path.write_text(path.read_text().replace("items of sums", "other items"))
    path.with_name("manifest.json").unlink()
    write_manifest(path.parent, stage="evaluate", version=1, metadata={})
    (change,) = changes(read_scores(tmp_path / "scores", ["init", "stage1"]), {"stage1": "init"}, "sums")
    assert change.comparison is None
    assert "different items" in change.refused
    assert not change.gained
    assert not change.lost


def test_a_score_leads_to_raw_rows(small_project: Path) -> None:
    """Over links alone: scores, model, shards, and there the raw rows with what they say."""
    facts = _facts(small_project / "site")
    by_title = {Page(html).texts[0]: id_ for id_, html in facts.items()}
    here = by_title["evaluate@stage1"]
    for title in ("train@stage1", "write_shards@stage1"):
        targets = [target.removeprefix("#") for target in Page(facts[here]).values("href")]
        assert by_title[title] in targets
        here = by_title[title]
    assert "captions / captions.jsonl row 0" in Page(facts[here]).texts
    assert HOSTILE in Page(facts[here]).texts


def test_what_is_absent_is_said_with_the_command(pages: dict[str, Page]) -> None:
    assert "dvc repro evaluate@stage1_2 evaluate@stage3" in pages["scores"].texts
    assert "dvc repro --force --single-item train@stage1_2" in pages["training"].texts
    assert "dvc repro --force --single-item train@stage1" not in pages["training"].texts


def test_a_lineage_with_a_gap_is_said_and_the_rest_is_shown(
    small_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_project, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    lost = read_artifact(Path(PATHS.shards) / "stage1").id
    (Path(PATHS.provenance) / f"{lost}.jsonl").unlink()
    build(tmp_path / "copy" / "again")
    found = read_page(tmp_path / "copy" / "again" / "lineage.html")
    assert lost in found.text
    assert read_artifact(Path(PATHS.models) / "init").id in found.anchors


def test_sampled_pictures_are_few_and_whole(small_project: Path) -> None:
    drawn = read_sampled_pictures(small_project / PATHS.reports / "training" / "stage1")
    assert drawn is not None
    assert len(drawn.steps) == 8
    assert (min(drawn.steps), max(drawn.steps)) == (100, 2000)
    assert all(len(pictures) == 2 for pictures in drawn.steps.values())


def test_equal_input_gives_an_equal_site(small_project: Path, tmp_path: Path) -> None:
    build(tmp_path / "again")
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (small_project / "site" / path.name).read_bytes(), path.name


def test_an_empty_project_has_a_site_that_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build(tmp_path / "site")
    for name in PAGES:
        found = read_page(tmp_path / "site" / f"{name}.html")
        assert re.search(r"dvc repro", found.text), name
