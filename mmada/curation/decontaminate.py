"""Find every benchmark item in every row: pictures by their pixels, texts whole and by n-grams. Exhaustive,
no sampling.

- An item that shows a picture is found by the picture: its question alone is asked of many pictures.
- A drawing prompt is found as the whole prompt of a row that draws.
- A text item is found when it is the whole of a row's prompt or text, at any length, or, from `ngram` words
on,
  when the row holds at least the share `containment` of its n-grams.
- A shorter one, of four words or more, is also found as a whole line or sentence of a row.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmada.contracts.facts import BENCHMARK_MATCHES
from mmada.curation.words import Hashes, Words, joined, ngrams, row_text, split_words, text_keys

_DRAWING_TASKS: Final = ("t2i", "r2i")
_SENTENCE_WORDS: Final = 4
"""Words from which on a question that is too short for n-grams is its own evidence: "what is it?" stands anywhere."""
_SENTENCE_END: Final = r"([.!?:;])\s+"


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
    grams = ngrams(words, ngram)
    owners = grams.owners
    asked = ((items["kind"] != "pictures") & (items["pixels_sha256"] == "")).to_numpy()
    wanted = (asked & (words.counts >= ngram))[owners]
    pairs = np.unique(np.stack([grams.hashes[wanted], owners[wanted].astype(np.uint64)], axis=1), axis=0)
    gram_items = pairs[:, 1].astype(np.int64)
    table = items.select("item_id", "benchmark", "kind", "pixels_sha256").with_columns(
        whole_key=pl.Series(text_keys(words), dtype=pl.UInt64),
        num_grams=pl.Series(np.bincount(gram_items, minlength=items.height), dtype=pl.Int64),
        has_words=pl.Series(words.counts > 0),
        is_sentence=pl.Series(asked & (words.counts >= _SENTENCE_WORDS) & (words.counts < ngram)),
    )
    starts = ngrams(words, _SENTENCE_WORDS)
    openings = np.unique(starts.hashes[starts.offsets[:-1][table["is_sentence"].to_numpy()]])
    return BenchmarkIndex(
        table, pairs[:, 0], gram_items, _prefixes(pairs[:, 0]), openings, _prefixes(openings), ngram, digest
    )


def find_matches(rows: pl.DataFrame, index: BenchmarkIndex, *, containment: float) -> pl.DataFrame:
    """All BENCHMARK_MATCHES of the index in rows (row_id, task, prompt, response, pixels_sha256)."""
    prompts = split_words(rows["prompt"])
    texts = joined(prompts, split_words(rows["response"]))
    found = pl.concat(
        [
            _picture_matches(rows, index),
            _whole_matches(rows, index, prompts, texts),
            _gram_matches(rows, index, ngrams(texts, index.ngram), containment),
            _sentence_matches(rows, index, ngrams(texts, _SENTENCE_WORDS)),
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


def _whole_matches(rows: pl.DataFrame, index: BenchmarkIndex, prompts: Words, texts: Words) -> pl.DataFrame:
    keys = rows.select("row_id", "task").with_columns(
        prompt_key=pl.Series(text_keys(prompts), dtype=pl.UInt64),
        text_key=pl.Series(text_keys(texts), dtype=pl.UInt64),
    )
    items = index.items.filter((pl.col("pixels_sha256") == "") & pl.col("has_words"))
    drawings = keys.filter(pl.col("task").is_in(_DRAWING_TASKS)).join(
        items.filter(kind="pictures"), left_on="prompt_key", right_on="whole_key"
    )
    questions = items.filter(pl.col("kind") != "pictures")
    asked = [keys.join(questions, left_on=key, right_on="whole_key") for key in ("prompt_key", "text_key")]
    return pl.concat([_as_matches(found, "whole") for found in (drawings, *asked)])


def _gram_matches(rows: pl.DataFrame, index: BenchmarkIndex, grams: Words, containment: float) -> pl.DataFrame:
    known = _known(grams.hashes, index.grams, index.may_hold)
    owners = np.searchsorted(grams.offsets, known, side="right") - 1
    hits = pl.DataFrame({"position": owners, "gram": grams.hashes[known]}).unique()
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


def _sentence_matches(rows: pl.DataFrame, index: BenchmarkIndex, grams: Words) -> pl.DataFrame:
    known = _known(grams.hashes, index.openings, index.may_open)
    hopeful = rows[np.unique(np.searchsorted(grams.offsets, known, side="right") - 1)]
    lines = row_text().str.replace_all(_SENTENCE_END, "$1\n").str.split("\n")
    sentences = hopeful.select("row_id", sentence=lines).explode("sentence")
    keys = pl.Series(text_keys(split_words(sentences["sentence"])), dtype=pl.UInt64)
    items = index.items.filter("is_sentence")
    found = sentences.with_columns(key=keys).join(items, left_on="key", right_on="whole_key")
    return _as_matches(found, "sentence")


def _prefixes(hashes: Hashes) -> NDArray[np.bool_]:
    """Which first bits the hashes have, with so many bits that one in 64 prefixes occurs, and 2 ** 16 prefixes at
    least.
    """
    bits = max(16, 6 + int(hashes.size).bit_length())
    result = np.zeros(1 << bits, bool)
    result[hashes >> np.uint64(64 - bits)] = True
    return result


def _known(hashes: Hashes, wanted: Hashes, prefixes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Positions of the hashes that are among those wanted (sorted, with their _prefixes)."""
    bits = prefixes.size.bit_length() - 1
    hopeful = np.flatnonzero(prefixes[hashes >> np.uint64(64 - bits)])
    if not hopeful.size:
        return hopeful
    found = np.minimum(np.searchsorted(wanted, hashes[hopeful]), wanted.size - 1)
    known: NDArray[np.int64] = hopeful[wanted[found] == hashes[hopeful]]
    return known


def _as_matches(found: pl.DataFrame, how: str) -> pl.DataFrame:
    return found.with_columns(how=pl.lit(how), containment=pl.lit(1.0)).select(list(BENCHMARK_MATCHES))
