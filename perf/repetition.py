"""Gopher's repetition filter over plain texts, beside datatrove's in an environment of its own.

MMADA_DATATROVE names that environment's interpreter (`python -m venv`, then `pip install datatrove spacy`).
"""

import json
import os
import subprocess
import time
from pathlib import Path

import polars as pl

from mmada.curation.gopher import excess_repetition

TEXTS = 2000
_PEER = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.filters import GopherRepetitionFilter
documents = [Document(text=text, id=str(number)) for number, text in enumerate(json.load(sys.stdin))]
filtered = GopherRepetitionFilter()
filtered.filter(documents[0])
began = time.process_time()
passed = [filtered.filter(document) is True for document in documents]
seconds = time.process_time() - began
json.dump({"seconds": seconds, "passed": passed}, sys.stdout)
"""


def bench_repetition() -> dict[str, float | str]:
    """Texts a second of processor time of both, and how often they decide alike (datatrove cuts words by spaCy)."""
    texts = _texts(Path(os.environ["MMADA_REALDATA"]))
    excess_repetition(pl.Series(texts[:10]))
    began = time.process_time()
    passed = (excess_repetition(pl.Series(texts)) <= 1).tolist()
    rate = len(texts) / (time.process_time() - began)
    found: dict[str, float | str] = {"texts_per_second": rate, "passed": sum(passed) / len(passed)}
    python = os.environ.get("MMADA_DATATROVE")
    if not python:
        return found | {"datatrove": "not measured: MMADA_DATATROVE names no interpreter that has it"}
    ran = subprocess.run([python, "-c", _PEER], input=json.dumps(texts), capture_output=True, text=True, check=True)
    peer = json.loads(ran.stdout)
    peer_rate = len(texts) / peer["seconds"]
    alike = sum(ours == theirs for ours, theirs in zip(passed, peer["passed"], strict=True))
    return found | {
        "datatrove_texts_per_second": peer_rate,
        "ratio": rate / peer_rate,
        "share_of_equal_decisions": alike / len(texts),
    }


def _texts(realdata: Path) -> list[str]:
    """Three problems with their solutions a text; in every tenth a part is repeated."""
    rows = [json.loads(line) for line in (realdata / "text_math/gsm8k_train.jsonl").open()]
    problems = [f"{row['question']} {row['answer']}" for row in rows]
    texts = ["\n".join(problems[start : start + 3]) for start in range(0, 3 * TEXTS, 3)]
    return [text + text[: len(text) // 3] if number % 10 == 0 else text for number, text in enumerate(texts)]
