"""Search for benchmark items in rows of about 200 words, beside open-r1's way: a set of 8-grams in plain Python."""

import json
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl

from mmada.contracts.benchmark_items import BENCHMARK_ITEMS
from mmada.curation.decontaminate import BenchmarkIndex, build_index, find_matches
from mmada.workers import num_workers

ROWS = 60_000
ROWS_OF_PEER = 3_000
ROWS_PER_UNIT = 5_000
ITEMS = 1_500
NGRAM = 8
CONTAINMENT = 0.8


def bench_decontamination() -> dict[str, float]:
    """Rows a second of ours on all cores and in processor time of one, and of the peer on one core.

    Rows and items are made of the problems of GSM8K, which MMADA_REALDATA has.
    """
    file = Path(os.environ["MMADA_REALDATA"]) / "text_math" / "gsm8k_train.jsonl"
    problems = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    index = build_index(_items([problem["question"] for problem in problems[:ITEMS]]), ngram=NGRAM)
    rows = _rows(" ".join(f"{row['question']} {row['answer']}" for row in problems[ITEMS:]).split())
    units = list(rows.iter_slices(ROWS_PER_UNIT))
    find_matches(units[0], index, containment=CONTAINMENT)  # tables are made at the first call
    started = time.process_time()
    find_matches(units[1], index, containment=CONTAINMENT)
    per_core = ROWS_PER_UNIT / (time.process_time() - started)
    with ProcessPoolExecutor(num_workers(), get_context("spawn"), _keep, (index,)) as pool:
        list(pool.map(_search, units[: num_workers()]))
        started = time.perf_counter()
        list(pool.map(_search, units))
        on_all = ROWS / (time.perf_counter() - started)
    peer = _peer([problem["question"] for problem in problems[:ITEMS]], rows.head(ROWS_OF_PEER))
    return {"rows_per_s": on_all, "rows_per_core_s": per_core, "peer_rows_per_core_s": peer, "ratio": per_core / peer}


def _items(questions: list[str]) -> pl.DataFrame:
    blank = {name: "" for name in BENCHMARK_ITEMS}
    items = [
        blank | {"item_id": str(number), "benchmark": "gsm8k", "kind": "reasoning", "prompt": question}
        for number, question in enumerate(questions)
    ]
    return pl.DataFrame(items, schema=pl.Schema(BENCHMARK_ITEMS))


def _rows(words: list[str]) -> pl.DataFrame:
    """Prompts of 60 and responses of 140 words."""
    last = len(words) - 140
    return pl.DataFrame({"row_id": [str(number) for number in range(ROWS)]}).with_columns(
        task=pl.lit("chat"),
        prompt=pl.Series([" ".join(words[start : start + 60]) for start in _starts(53, last)]),
        response=pl.Series([" ".join(words[start : start + 140]) for start in _starts(97, last)]),
        pixels_sha256=pl.lit(""),
    )


def _starts(step: int, last: int) -> list[int]:
    return [number * step % last for number in range(ROWS)]


_STATE: dict[str, Any] = {}


def _keep(index: BenchmarkIndex) -> None:
    _STATE["index"] = index


def _search(rows: pl.DataFrame) -> int:
    return find_matches(rows, _STATE["index"], containment=CONTAINMENT).height


def _peer(questions: list[str], rows: pl.DataFrame) -> float:
    """Rows per second of processor time of scripts/decontaminate.py of huggingface/open-r1, written down again."""
    held: set[str] = set()
    for question in questions:
        held |= _grams(question)
    texts = (rows["prompt"] + "\n" + rows["response"]).to_list()
    started = time.process_time()
    sum(bool(_grams(text) & held) for text in texts)
    return len(texts) / (time.process_time() - started)


def _grams(text: str) -> set[str]:
    words = re.sub(r"[^\w\s]", " ", text.lower()).split()
    return {" ".join(words[start : start + NGRAM]) for start in range(len(words) - NGRAM + 1)}
