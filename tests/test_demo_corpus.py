"""The embedded corpus: equal seeds give equal bytes, rows are true and distinct, dirt is as listed."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import asdict, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmada.demo_corpus import CorpusSizes, DirtCounts, make_corpus
from mmada.errors import ParamsError
from mmada.pictures import CATEGORIES, CELL, COLOURS, SHAPES, PictureSpec, recognise

SIZES = CorpusSizes(400, 1200, 300, 800, 300, 48, 48, 48)
DIRT = DirtCounts(4, 3, 3, 1, 10, 9, 8, 4, 4, 6)
TABLES = {
    "pictures/captions.jsonl": (SIZES.pictures, ("caption",)),
    "pictures/questions.jsonl": (SIZES.questions, ("question", "solution")),
    "pictures/drawings.jsonl": (SIZES.drawings, ("prompt", "response")),
    "problems/problems.jsonl": (SIZES.problems, ("question", "response")),
    "text/text.jsonl": (SIZES.texts, ("content",)),
}
Row = dict[str, Any]
_THING = f"(?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)})"


@pytest.fixture(scope="module", params=[3, 1009])
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus")
    make_corpus(out, seed=request.param, sizes=SIZES, dirt=DIRT)
    return out


def _planted(corpus: Path) -> dict[str, list[tuple[str, int]]]:
    listed = json.loads((corpus / "planted.json").read_text())
    return {reason: [tuple(row) for row in entry["rows"]] for reason, entry in listed.items()}


def _clean(corpus: Path, file: str) -> list[Row]:
    dirty = {tuple(row) for rows in _planted(corpus).values() for row in rows}
    lines = (corpus / file).read_text().splitlines()
    return [json.loads(line) for number, line in enumerate(lines) if (file, number) not in dirty]


def _line(corpus: Path, file: str, number: int) -> str:
    return (corpus / file).read_text().splitlines()[number]


def _objects(corpus: Path, image: str) -> Counter[tuple[str, str]]:
    pixels = np.asarray(Image.open(corpus / "pictures" / image))
    return Counter((thing.shape, thing.colour) for thing in recognise(pixels))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|\d|[+=-]", text.lower())


def _grams(text: str, size: int) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def _tree_digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [path.relative_to(folder).as_posix().encode() + path.read_bytes() for path in files]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_equal_seed_gives_equal_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    sizes = CorpusSizes(60, 120, 60, 120, 60, 24, 24, 24)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_corpus(tmp_path / name, seed=seed, sizes=sizes, dirt=DIRT)
    digests = [_tree_digest(tmp_path / name) for name in "abc"]
    assert digests[0] == digests[1] != digests[2]


def test_counts_are_as_asked(corpus: Path) -> None:
    assert {file: len(_clean(corpus, file)) for file in TABLES} == {file: n for file, (n, _) in TABLES.items()}
    assert {reason: len(rows) for reason, rows in _planted(corpus).items()} == asdict(DIRT)
    for name, number in (("problems", 48), ("questions", 48), ("prompts", 48)):
        assert len((corpus / f"heldout/{name}.jsonl").read_text().splitlines()) == number


def test_clean_rows_are_far_from_each_other(corpus: Path) -> None:
    for file, (_, fields) in TABLES.items():
        groups: dict[str, list[set[tuple[str, ...]]]] = defaultdict(list)
        for row in _clean(corpus, file):
            picture = row.get("image", row.get("file_name", ""))
            groups[picture].append(_grams("\n".join(row[field] for field in fields), 5))
        closest = max(_closest(grams) for grams in groups.values())
        assert closest < 0.7, f"{file}: {closest}"


def _closest(texts: list[set[tuple[str, ...]]]) -> float:
    """Largest Jaccard similarity of two texts."""
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    best = 0.0
    for index, grams in enumerate(texts):
        common = Counter(other for gram in grams for other in holders[gram])
        shared = ((n, len(grams) + len(texts[other]) - n) for other, n in common.items())
        best = max([best, *(n / union for n, union in shared)])
        for gram in grams:
            holders[gram].append(index)
    return best


def test_nothing_clean_is_held_out(corpus: Path) -> None:
    asked = [json.loads(line) for line in (corpus / "heldout/problems.jsonl").read_text().splitlines()]
    clean = [_grams(row["question"] + " " + row["response"], 8) for row in _clean(corpus, "problems/problems.jsonl")]
    for item in asked:
        grams = _grams(item["question"], 8)
        assert max(len(grams & other) / len(grams) for other in clean) < 0.7
    prompts = {json.loads(line)["prompt"] for line in (corpus / "heldout/prompts.jsonl").read_text().splitlines()}
    drawn = {row["prompt"] for row in _clean(corpus, "pictures/drawings.jsonl")}
    captioned = {row["caption"] for row in _clean(corpus, "pictures/captions.jsonl")}
    assert not prompts & (drawn | captioned)
    unseen = {path.read_bytes() for path in (corpus / "heldout/images").iterdir()}
    used = {row["file_name"] for row in _clean(corpus, "pictures/captions.jsonl")}
    assert not unseen & {(corpus / "pictures" / name).read_bytes() for name in used}


def test_captions_and_thoughts_are_true(corpus: Path) -> None:
    for row in _clean(corpus, "pictures/drawings.jsonl"):
        planned = Counter((shape, colour) for colour, shape in re.findall(r"(\w+) (\w+) [a-d][1-4]", row["response"]))
        assert planned == _objects(corpus, row["image"])
    numbers = {"one": 1, "two": 2, "three": 3, "four": 4, "a": 1, "an": 1}
    for row in _clean(corpus, "pictures/captions.jsonl"):
        found = _objects(corpus, row["file_name"])
        named = re.findall(r"\b(one|two|three|four|an?) (?:\w+ )?(circle|square|triangle|cross)", row["caption"])
        assert re.search(r"[a-d][1-4]", row["caption"]) or sum(numbers[n] for n, _ in named) == found.total()


def test_answers_about_pictures_are_true(corpus: Path) -> None:
    for row in _clean(corpus, "pictures/questions.jsonl"):
        pixels = np.asarray(Image.open(corpus / "pictures" / row["image"]))
        things = recognise(pixels)
        places = {f"{'abcd'[int(t.column // CELL)]}{int(t.row // CELL) + 1}": t for t in things}
        assert row["solution"].endswith(f"</think>{row['answer']}")
        named = [(place, thing) for thing, place in re.findall(rf"({_THING}) ([a-d][1-4])", row["solution"])]
        named += re.findall(rf"([a-d][1-4]): ({_THING})", row["solution"])
        assert len(named) == {"count": 0, "colour": 1, "shape": 1, "position": 2}[row["kind"]]
        for place, thing in named:
            assert f"{places[place].colour} {places[place].shape}" == thing
        if row["kind"] == "count":
            what = re.sub(r"how many |things|are there\?|\s", "", row["question"])
            matching = [t for t in things if what in ("", t.colour) or what.startswith(t.shape)]
            assert str(len(matching)) == row["answer"]
            listed = re.findall(r"\b[a-d][1-4]\b", row["solution"])
            assert sorted(listed) == sorted(place for place, thing in places.items() if thing in matching)


def test_arithmetic_is_right(corpus: Path) -> None:
    for row in _clean(corpus, "problems/problems.jsonl"):
        gains_and_losses = re.findall(
            r"(?:finds|gets|buys|makes|put in|\+) (\d+)|(?:gives away|loses|sells|breaks|take out|-) (\d+)",
            row["question"],
        )
        start = int(re.findall(r"\d+", row["question"])[0])
        totals = list(accumulate((int(gain or 0) - int(loss or 0) for gain, loss in gains_and_losses), initial=start))
        assert len(totals) == int(row["kind"][-1]) + 1
        assert row["response"] == "<think>{}</think>{}".format("\n".join(map(str, totals)), row["answer"])
        assert row["answer"] == str(totals[-1])
        assert 0 <= min(totals) <= max(totals) <= 30


def test_held_out_prompts_cover_the_categories(corpus: Path) -> None:
    rows = [json.loads(line) for line in (corpus / "heldout/prompts.jsonl").read_text().splitlines()]
    assert Counter(row["category"] for row in rows) == dict.fromkeys(CATEGORIES, 8)
    assert all(PictureSpec.from_json(row["spec"]).category == row["category"] for row in rows)
    kinds = [json.loads(line)["kind"] for line in (corpus / "heldout/questions.jsonl").read_text().splitlines()]
    assert set(Counter(kinds).values()) == {12}


def test_dirt_has_the_defect_that_it_is_listed_for(corpus: Path) -> None:
    planted = _planted(corpus)
    for file, number in planted["malformed_json"]:
        with pytest.raises(json.JSONDecodeError):
            json.loads(_line(corpus, file, number))
    for reason in ("image_truncated", "image_mislabelled"):
        for file, number in planted[reason]:
            name = json.loads(_line(corpus, file, number))["file_name"]
            with pytest.raises(OSError, match=r"truncated|cannot identify"):
                Image.open(corpus / "pictures" / name).load()
    for file, number in planted["duplicate_exact"]:
        lines = (corpus / file).read_text().splitlines()
        assert lines.count(lines[number]) == 2
    for file, number in planted["answer_wrong"]:
        row = json.loads(_line(corpus, file, number))
        assert row.get("response", row.get("solution")).split("</think>")[1] != row["answer"]
    for file, number in planted["thought_unclosed"]:
        assert "</think>" not in json.loads(_line(corpus, file, number))["response"]
    for file, number in planted["row_too_long"]:
        assert len(_line(corpus, file, number)) > 1_000_000


def test_more_rows_than_the_pictures_carry_are_refused() -> None:
    with pytest.raises(ParamsError, match="three questions"):
        CorpusSizes(10, 31, 10, 1, 1, 1, 1, 1)


def test_more_prompts_than_there_are_is_an_error_and_not_a_run_without_end(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"different prompts for drawings.*lower that number"):
        make_corpus(tmp_path, seed=3, sizes=replace(SIZES, heldout_prompts=1_000_000), dirt=DIRT)
