"""Search for benchmark items in rows of about 200 words, beside open-r1's way: a set of 8-grams in plain Python."""

import json
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import polars as pl

from mmada.contracts.benchmark_items import BENCHMARK_ITEMS
from mmada.curation.decontaminate import BenchmarkIndex, build_index, find_matches
from mmada.processes import Processes
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
    rows = _rows(" ".join(f"{row['question']} {row['answer']}" for row in _problems()[ITEMS:]).split())
    units = list(rows.iter_slices(ROWS_PER_UNIT))
    workers = Processes(_search, num_workers())
    with ThreadPoolExecutor(workers.slots) as threads, closing(workers):
        list(threads.map(workers, units[: workers.slots]))  # the index and tables are made at the first call
        started = time.perf_counter()
        list(threads.map(workers, units))
        on_all = ROWS / (time.perf_counter() - started)
        per_core = ROWS_PER_UNIT / float(workers(units[1]))
    peer = _peer([problem["question"] for problem in _problems()[:ITEMS]], rows.head(ROWS_OF_PEER))
    return {"rows_per_s": on_all, "rows_per_core_s": per_core, "peer_rows_per_core_s": peer, "ratio": per_core / peer}


def _problems() -> list[dict[str, str]]:
    file = Path(os.environ["MMADA_REALDATA"]) / "text_math" / "gsm8k_train.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@lru_cache(1)
def _index() -> BenchmarkIndex:
    return build_index(_items([problem["question"] for problem in _problems()[:ITEMS]]), ngram=NGRAM)


def _search(rows: pl.DataFrame) -> bytes:
    """Processor time of one unit, in seconds."""
    index = _index()
    started = time.process_time()
    find_matches(rows, index, containment=CONTAINMENT)
    return str(time.process_time() - started).encode()


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
