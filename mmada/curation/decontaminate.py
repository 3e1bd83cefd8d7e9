"""Find every benchmark item in every row: pictures by their pixels, texts whole and by n-grams. Exhaustive,
no sampling.

- An item that shows a picture is found by the picture: its question alone is asked of many pictures.
- A drawing prompt is found as the whole prompt of a row that draws.
- A text item is found when it is the whole of a row's prompt or text, at any length, or, from `ngram` words on, when
  the row holds at least the share `containment` of its n-grams: those of its question, where choices follow it, which
  others put in another order or leave out.
- A shorter one, of four words or more, is also found as a whole line or sentence of a row.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.contracts.facts import BENCHMARK_MATCHES
from mmada.curation.normalised_text import TAG
from mmada.curation.words import Hashes, Places, Words, row_text, run_hashes, run_sums, split_words, window_hashes
from mmada.params_section import DRAWING_TASKS

_SENTENCE_WORDS: Final = 4
"""Words from which on a question that is too short for n-grams is its own evidence: "what is it?" stands anywhere."""
_LIST_LETTER: Final = r"\s\$?(?:\\(?:text(?:bf|rm)?|mathrm|mathbf)\{)?\(?"
_CHOICES: Final = rf"(?s){_LIST_LETTER}A[).:].*?{_LIST_LETTER}B[).:].*"
_QUESTION_NGRAMS: Final = 2
"""A question before choices is its own evidence from so many times `ngram` words on: "which of these is true?" stands
anywhere.
"""
_CACHED_WORDS: Final = 1 << 14
"""Words whose runs are hashed at a time, so that they stay in the processor's cache."""
_SENTENCE_END: Final = (
    rf"{TAG}|([.!?:;][\"'\u201d\u2019)\]*_]*)\s+"
    r"|([?!][\"'\u201d\u2019)\]*_]*)([A-Z])|([\u3002\uff1f\uff01])"  # without space
)


@dataclass(frozen=True)
class BenchmarkIndex:
    """What rows are searched for.

    `items`: item_id, benchmark, whole_key, num_grams; `grams`, `gram_items`: n-gram hash -> position in
    items, sorted by hash; `digest` names the index: equal items and an equal `ngram` give an equal digest.
    """

    items: pl.DataFrame
    grams: Hashes
    gram_items: NDArray[np.int64]
    may_hold: NDArray[np.bool_]
    """By the first bits of an n-gram's hash: whether any of `grams` begins with them."""
    openings: Hashes
    """First words of the items that are searched as sentences: n-grams of _SENTENCE_WORDS, sorted."""
    may_open: NDArray[np.bool_]
    ngram: int
    digest: str


def build_index(items: pl.DataFrame, *, ngram: int) -> BenchmarkIndex:
    """Index of benchmark items (contracts.benchmark_items, of any number of benchmarks)."""
    items = items.sort("benchmark", "item_id")
    content = items.select("benchmark", "item_id", "kind", "prompt", "pixels_sha256")
    digest = hashlib.sha256(f"{ngram}\n{content.write_json()}".encode()).hexdigest()
    words = split_words(items["prompt"])
    sums = run_sums(words.hashes)
    grams = window_hashes(sums, ngram, 0, _num_windows(sums, ngram))
    places, owners = _within_texts(np.arange(grams.size), words.offsets, ngram)
    asked = ((items["kind"] != "pictures") & (items["pixels_sha256"] == "")).to_numpy()
    wanted = asked[owners] & (places + ngram <= (words.offsets[:-1] + _question_words(items, words, ngram))[owners])
    pairs = np.unique(np.stack([grams[places[wanted]], owners[wanted].astype(np.uint64)], axis=1), axis=0)
    gram_items = pairs[:, 1].astype(np.int64)
    is_sentence = asked & (words.counts >= _SENTENCE_WORDS) & (words.counts < ngram)
    table = items.select("item_id", "benchmark", "kind", "pixels_sha256").with_columns(
        whole_key=pl.Series(run_hashes(sums, words.offsets[:-1], words.offsets[1:]), dtype=pl.UInt64),
        num_grams=pl.Series(np.bincount(gram_items, minlength=items.height), dtype=pl.Int64),
        has_words=pl.Series(words.counts > 0),
        is_sentence=pl.Series(is_sentence),
    )
    begin = words.offsets[:-1][is_sentence]
    openings = np.unique(run_hashes(sums, begin, begin + _SENTENCE_WORDS))
    return BenchmarkIndex(
        table, pairs[:, 0], gram_items, _prefixes(pairs[:, 0]), openings, _prefixes(openings), ngram, digest
    )


def _question_words(items: pl.DataFrame, words: Words, ngram: int) -> Places:
    """How many of each item's words are searched for: all, or those before its choices, which are its first ones."""
    before = split_words(items["prompt"].str.replace(_CHOICES, "")).counts
    return np.where(before >= _QUESTION_NGRAMS * ngram, before, words.counts)


def find_matches(rows: pl.DataFrame, index: BenchmarkIndex, *, containment: float) -> pl.DataFrame:
    """All BENCHMARK_MATCHES of the index in rows (row_id, task, prompt, response, pixels_sha256)."""
    words = split_words(rows.select(pl.concat_list("prompt", "response").explode()).to_series())
    texts = words.offsets[::2]
    sums = run_sums(words.hashes)
    keys = rows.select("row_id", "task").with_columns(
        prompt_key=pl.Series(run_hashes(sums, texts[:-1], words.offsets[1::2]), dtype=pl.UInt64),
        text_key=pl.Series(run_hashes(sums, texts[:-1], texts[1:]), dtype=pl.UInt64),
    )
    found = pl.concat(
        [
            _picture_matches(rows, index),
            _whole_matches(keys, index),
            _gram_matches(rows, texts, sums, index, containment),
            _sentence_matches(rows, texts, sums, index),
        ]
    )
    # One line per row and item: the plainest of the ways in which it was found.
    return found.unique(["row_id", "benchmark", "item_id"], keep="first", maintain_order=True).sort(
        "row_id", "benchmark", "item_id"
    )


def _picture_matches(rows: pl.DataFrame, index: BenchmarkIndex) -> pl.DataFrame:
    items = index.items.filter(pl.col("pixels_sha256") != "")
    found = rows.select("row_id", "pixels_sha256").join(items, on="pixels_sha256")
    return _as_matches(found, "picture")


def _whole_matches(keys: pl.DataFrame, index: BenchmarkIndex) -> pl.DataFrame:
    items = index.items.filter((pl.col("pixels_sha256") == "") & pl.col("has_words"))
    drawings = keys.filter(pl.col("task").is_in(DRAWING_TASKS)).join(
        items.filter(kind="pictures"), left_on="prompt_key", right_on="whole_key"
    )
    questions = items.filter(pl.col("kind") != "pictures")
    asked = [keys.join(questions, left_on=key, right_on="whole_key") for key in ("prompt_key", "text_key")]
    return pl.concat([_as_matches(found, "whole") for found in (drawings, *asked)])


def _gram_matches(
    rows: pl.DataFrame, texts: Places, sums: Hashes, index: BenchmarkIndex, containment: float
) -> pl.DataFrame:
    known = _known(sums, index.ngram, index.grams, index.may_hold)
    places, owners = _within_texts(known, texts, index.ngram)
    hits = pl.DataFrame({"position": owners, "gram": run_hashes(sums, places, places + index.ngram)}).unique()
    lookup = pl.DataFrame({"gram": index.grams, "item": index.gram_items})
    items = index.items.with_row_index("item").cast({"item": pl.Int64})
    shares = (
        hits.join(lookup, on="gram")
        .group_by("position", "item")
        .len("common")
        .join(items, on="item")
        .with_columns(containment=pl.col("common") / pl.col("num_grams"))
    )
    positions = rows.select("row_id").with_row_index("position").cast({"position": pl.Int64})
    found = shares.filter(pl.col("containment") >= containment).join(positions, on="position")
    return found.with_columns(how=pl.lit("ngrams")).select(list(BENCHMARK_MATCHES))


def _sentence_matches(rows: pl.DataFrame, texts: Places, sums: Hashes, index: BenchmarkIndex) -> pl.DataFrame:
    known = _known(sums, _SENTENCE_WORDS, index.openings, index.may_open)
    _, owners = _within_texts(known, texts, _SENTENCE_WORDS)
    hopeful = rows[np.unique(owners)]
    lines = row_text().str.replace_all(_SENTENCE_END, "$1$2$4\n$3").str.split("\n")
    sentences = hopeful.select("row_id", sentence=lines).explode("sentence")
    words = split_words(sentences["sentence"])
    keys = pl.Series(run_hashes(run_sums(words.hashes), words.offsets[:-1], words.offsets[1:]), dtype=pl.UInt64)
    items = index.items.filter("is_sentence")
    found = sentences.with_columns(key=keys).join(items, left_on="key", right_on="whole_key")
    return _as_matches(found, "sentence")


def _num_windows(sums: Hashes, n: int) -> int:
    """Runs of n words in all texts, one after the other."""
    return max(sums.size - n, 0)


def _within_texts(places: Places, texts: Places, n: int) -> tuple[Places, Places]:
    """Those of the runs of n words from `places` on that do not reach into the next text, and the text of each.

    texts: where each begins, and the end of the last.
    """
    owners = np.searchsorted(texts, places, side="right") - 1
    whole = places + n <= texts[owners + 1]
    return places[whole], owners[whole]


def _prefixes(hashes: Hashes) -> NDArray[np.bool_]:
    """Which first bits the hashes have, with so many bits that one in 64 prefixes occurs, and 2 ** 16 prefixes at
    least.
    """
    bits = max(16, 6 + int(hashes.size).bit_length())
    result = np.zeros(1 << bits, bool)
    result[hashes >> np.uint64(64 - bits)] = True
    return result


def _known(sums: Hashes, n: int, wanted: Hashes, prefixes: NDArray[np.bool_]) -> Places:
    """Where those of the runs of n words begin whose hashes are among the wanted (sorted, with their _prefixes)."""
    shift = np.uint64(64 - prefixes.size.bit_length() + 1)
    found = [np.empty(0, np.int64)]
    windows = _num_windows(sums, n) if wanted.size else 0
    for first in range(0, windows, _CACHED_WORDS):
        hashes = window_hashes(sums, n, first, min(first + _CACHED_WORDS, windows))
        hopeful = np.flatnonzero(prefixes.take((hashes >> shift).view(np.int64)))
        if hopeful.size:
            nearest = np.minimum(np.searchsorted(wanted, hashes[hopeful]), wanted.size - 1)
            found.append(first + hopeful[wanted[nearest] == hashes[hopeful]])
    return np.concatenate(found)


def _as_matches(found: pl.DataFrame, how: str) -> pl.DataFrame:
    return found.with_columns(how=pl.lit(how), containment=pl.lit(1.0)).select(list(BENCHMARK_MATCHES))
