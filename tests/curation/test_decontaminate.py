"""Every benchmark item is found however it was written, and nothing else is."""

import json
import random
import re
from pathlib import Path

import polars as pl
import pytest

from mmada.contracts.benchmark_items import BENCHMARK_ITEMS
from mmada.curation.decontaminate import build_index, find_matches

NGRAM = 8
LONG = "A farmer has 17 sheep and buys 5 more at the market before he sells 9 of them to his brother"
SHORT = "What is 3 - 2?"
PROMPT = "two green stars"


def _items(*rows: tuple[str, str, str, str]) -> pl.DataFrame:
    """Items of (item_id, kind, prompt, pixels_sha256)."""
    blank = {name: "" for name in BENCHMARK_ITEMS}
    return pl.DataFrame(
        [
            blank | {"item_id": item, "benchmark": "held", "kind": kind, "prompt": prompt, "pixels_sha256": pixels}
            for item, kind, prompt, pixels in rows
        ],
        schema=pl.Schema(BENCHMARK_ITEMS),
    )


ITEMS = _items(
    ("long", "reasoning", LONG, ""),
    ("short", "reasoning", SHORT, ""),
    ("drawing", "pictures", PROMPT, ""),
    ("shown", "vqa", "How many shapes are there?", "pixels-1"),
)


def _matches(task: str, prompt: str, response: str = "", pixels: str = "") -> list[tuple[str, str]]:
    rows = pl.DataFrame(
        {
            "row_id": ["r"],
            "task": [task],
            "prompt": [prompt],
            "response": [response],
            "pixels_sha256": [pixels],
        }
    )
    found = find_matches(rows, build_index(ITEMS, ngram=NGRAM), containment=0.8)
    return list(found.select("item_id", "how").iter_rows())


@pytest.mark.parametrize(
    ("task", "prompt", "response", "pixels", "expected"),
    [
        ("chat", LONG.upper().replace("17", "seventeen") + "!!", "13", "", [("long", "whole")]),
        ("chat", "Please solve this now. " + LONG + " Think well.", "13", "", [("long", "ngrams")]),
        ("lm", "", "Today: " + LONG + ". The end of it.", "", [("long", "ngrams")]),
        ("chat", "what is 3-2", "1", "", [("short", "whole")]),
        ("chat", "What is 3 + 2?", "5", "", []),
        ("lm", "", "Then he asked:\nwhat is 3 - 2? Nobody knew.", "", [("short", "sentence")]),
        ("lm", "", "But what is 3 - 2 times 7? Nobody knew.", "", []),
        ("lm", "", "**What is 3 - 2?**", "", [("short", "whole")]),
        ("lm", "", "\u201cYes. What is 3 - 2?\u201d he asked.", "", [("short", "sentence")]),
        ("lm", "", "Say <q>What is 3 - 2?</q> and go.", "", [("short", "sentence")]),
        ("chat", "\u8bf7\u56de\u7b54\u3002What is 3 - 2?Answer briefly.", "1", "", [("short", "sentence")]),
        ("chat", "A farmer has 17 cows and buys 5 more at the market before he sells 2 of them", "", "", []),
        ("t2i", "Two GREEN stars.", "", "pixels-9", [("drawing", "whole")]),
        ("r2i", "two green stars", "<think>row 1</think>", "pixels-9", [("drawing", "whole")]),
        ("t2i", "two green stars and a circle", "", "pixels-9", []),
        ("chat", "two green stars", "", "", []),
        ("mmu", "How many shapes are there?", "4", "pixels-2", []),
        ("mmu", "Which colour is the star?", "red", "pixels-1", [("shown", "picture")]),
        ("t2i", "a star", "", "pixels-1", [("shown", "picture")]),
        ("chat", "", "", "", []),
    ],
)
def test_leaks_are_found_and_others_are_not(
    task: str, prompt: str, response: str, pixels: str, expected: list[tuple[str, str]]
) -> None:
    assert _matches(task, prompt, response, pixels) == expected


def test_containment_equals_brute_force_on_20_000_texts() -> None:
    """Texts of four words only, so that chance makes thousands of matches, beside pieces of items that are planted."""
    rng = random.Random(8)

    def drawn(least: int, most: int) -> list[str]:
        return rng.choices(("ab", "cd", "ef", "gh"), k=rng.randint(least, most))

    prompts = [drawn(NGRAM, 40) for _ in range(50)]
    texts = [drawn(0, 40) + (rng.choice(prompts)[rng.randint(0, 9) :] if n % 20 == 0 else []) for n in range(20_000)]
    items = _items(*((str(n), "reasoning", " ".join(words), "") for n, words in enumerate(prompts)))
    rows = pl.DataFrame({"row_id": [str(n) for n in range(len(texts))]}).with_columns(
        task=pl.lit("lm"),
        prompt=pl.Series([" ".join(words[:5]) for words in texts]),
        response=pl.Series([" ".join(words[5:]) for words in texts]),
        pixels_sha256=pl.lit(""),
    )
    found = find_matches(rows, build_index(items, ngram=NGRAM), containment=0.05)

    def grams(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[i : i + NGRAM]) for i in range(len(words) - NGRAM + 1)}

    sought = [grams(words) for words in prompts]
    expected = {}
    for n, words in enumerate(texts):
        held = grams(words)
        for m, wanted in enumerate(sought):
            share = len(wanted & held) / len(wanted)
            if share >= 0.05:
                expected[str(n), str(m)] = share
    shares = {(row, item): share for row, item, share in found.select("row_id", "item_id", "containment").iter_rows()}
    assert len(expected) > 2000
    assert shares == pytest.approx(expected)


def test_the_index_is_named_by_its_items_not_by_their_order() -> None:
    digest = build_index(ITEMS, ngram=NGRAM).digest
    assert build_index(ITEMS.reverse(), ngram=NGRAM).digest == digest
    assert build_index(ITEMS.head(3), ngram=NGRAM).digest != digest
    assert build_index(ITEMS, ngram=NGRAM + 1).digest != digest


def test_no_benchmark_finds_nothing() -> None:
    empty = pl.DataFrame(schema=pl.Schema(BENCHMARK_ITEMS))
    rows = pl.DataFrame({"row_id": ["r"], "task": ["chat"], "prompt": [LONG], "response": [""], "pixels_sha256": [""]})
    assert find_matches(rows, build_index(empty, ngram=NGRAM), containment=0.8).is_empty()


@pytest.mark.parametrize("style", ["({}) ", "{}. ", "\\textbf{{({})}}\\ "])
@pytest.mark.parametrize("between", ["\n", " "])
def test_choices_may_stand_in_another_order_or_be_left_out(style: str, between: str) -> None:
    def asked(question: str, *choices: str) -> str:
        return question + "".join(
            between + style.format(letter) + text for letter, text in zip("ABC", choices, strict=False)
        )

    choices = ("he has thirteen sheep left", "he has nine sheep left", "he has no sheep at all")
    other = ("the left one of them", "the right one of them", "none of these two pictures")
    stem = "Which of these is true?"
    index = build_index(
        _items(
            ("long", "reasoning", asked(LONG + "?", *choices), ""), ("stem", "reasoning", asked(stem, *choices), "")
        ),
        ngram=NGRAM,
    )
    prompts = [asked(LONG + "?", *choices[::-1]), LONG, asked(stem, *other), asked(stem, *choices) + " Say why."]
    rows = pl.DataFrame({"row_id": ["reversed", "left out", "other", "same"], "prompt": prompts})
    rest = {"task": pl.lit("chat"), "response": pl.lit(""), "pixels_sha256": pl.lit("")}
    found = find_matches(rows.with_columns(**rest), index, containment=0.8)
    assert set(found.select("row_id", "item_id").rows()) == {
        ("reversed", "long"),
        ("left out", "long"),
        ("same", "stem"),
    }


def _respelled(rng: random.Random, question: str) -> str:
    """The question as others write it down: case, punctuation, numbers in words, spacing of LaTeX."""
    numbers = {str(value): word for value, word in enumerate(("zero", "one", "two", "three", "four", "five", "six"))}
    changes = (
        str.upper,
        lambda text: text.replace(", ", " ; ").replace("?", " ?!").replace("'", "\u2019"),
        lambda text: re.sub(r"(?<![\d.,])\d(?![.,]?\w)", lambda found: numbers.get(found[0], found[0]), text),
        lambda text: re.sub(r"(?<![\d.,])(\d+)(?![.,]?\w)", r"$\\,\1\\;$", text),
        lambda text: re.sub(r"\b(\d)(\d{3})\b", r"\1,\2", text),
    )
    for change in rng.sample(changes, 2):
        question = change(question)
    return question


def test_planted_leaks_are_found_in_real_rows_and_nothing_else(realdata: Path) -> None:
    lines = (realdata / "text_math" / "gsm8k_train.jsonl").read_text("utf-8").splitlines()
    problems = [(row["question"], row["answer"]) for row in map(json.loads, lines)]
    held, trained = problems[:1000], problems[1000:]
    rng = random.Random(3)
    short = [f"What is {n} times {n + 3}?" for n in range(20, 120)]
    asked = [question for question, _ in held[100:]] + short
    index = build_index(_items(*((str(n), "reasoning", text, "") for n, text in enumerate(asked))), ngram=NGRAM)
    leaks = [_respelled(rng, text) for text in asked]
    planted = [
        leak if n % 3 == 0 else f"Solve this, please.\n{leak}\nShow your work." if n % 3 == 1 else f"{leak} Answer:"
        for n, leak in enumerate(leaks)
    ]
    texts = [*planted, *(question for question, _ in trained)]
    rows = pl.DataFrame(
        {
            "row_id": [f"r{n:05d}" for n in range(len(texts))],
            "prompt": texts,
            "response": [answer for _, answer in held[100:]] + [""] * 100 + [answer for _, answer in trained],
        }
    ).with_columns(task=pl.lit("chat"), pixels_sha256=pl.lit(""))
    found = find_matches(rows, index, containment=0.8).select("row_id", "item_id").rows()
    recall = {(f"r{n:05d}", str(n)) for n in range(len(asked))} & set(found)
    assert len(recall) >= 990
    false = {row for row, item in found if int(row[1:]) >= 1000}
    assert len(false) <= 0.001 * len(trained)


def test_what_public_sets_share_is_found_exactly(realdata: Path) -> None:
    """Counts as comparing every two questions gives them."""

    def questions(pattern: str, name: str) -> list[str]:
        (file,) = realdata.glob(pattern)
        text = file.read_text("utf-8")
        rows = json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines())
        return [row[name] for row in rows]

    sets = {
        "gsm8k": questions("text_math/gsm8k_train.jsonl", "question"),
        "marco": questions("long_cot/marco_o1/CoT_demo.json", "instruction"),
        "amc": questions("long_cot/skythought/amc23_corrupt02/*.jsonl", "question"),
        "amc again": questions("long_cot/skythought/amc23_short/*.jsonl", "question"),
        "aime": questions("long_cot/skythought/aime24_ckpt140/*.jsonl", "question"),
    }
    found = {}
    for held in sets:
        items = _items(*((str(n), "reasoning", text, "") for n, text in enumerate(sets[held])))
        index = build_index(items, ngram=NGRAM)
        for searched in sets.keys() - {held}:
            rows = pl.DataFrame({"row_id": [str(n) for n in range(len(sets[searched]))], "prompt": sets[searched]})
            rest = {"task": pl.lit("chat"), "response": pl.lit(""), "pixels_sha256": pl.lit("")}
            matches = find_matches(rows.with_columns(**rest), index, containment=0.8)
            found[held, searched] = matches.height
    shared = {pair: count for pair, count in found.items() if count}
    assert shared == {
        ("gsm8k", "marco"): 9,
        ("marco", "gsm8k"): 8,
        ("amc", "amc again"): 40,
        ("amc again", "amc"): 40,
    }
