"""Near duplicates end to end, beside datatrove's MinHash on the same documents.

datatrove lives in an environment of its own (its dependencies are not ours): MMADA_DATATROVE names that environment's
Python. Without it only ours is measured.
"""

import json
import os
import random
import re
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import psutil

from mmada.curation.dedup import group_hashes, signatures, sketch_of, text_keys_of_groups
from mmada.curation.near_pairs import Documents, join_documents, near_duplicates
from mmada.curation.words import ngrams, split_words, text_keys
from mmada.unit_store import UnitStore

DOCUMENTS = 20_000
DOCUMENTS_OF_PEER = 4_000
PER_PART = 5_000
SHINGLE = 5
FLOOR = 0.7
PERMUTATIONS = 128

_PEER = """
import sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

if __name__ == "__main__":
    folder = sys.argv[1]
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    read = JsonlReader(folder + "/input")
    for pipeline in (
        [read, MinhashDedupSignature(folder + "/signatures", config=config)],
        [MinhashDedupBuckets(folder + "/signatures", folder + "/buckets", config=config)],
        [MinhashDedupCluster(folder + "/buckets", folder + "/remove", config=config)],
        [read, MinhashDedupFilter(folder + "/remove"), JsonlWriter(folder + "/output", compression=None)],
    ):
        LocalPipelineExecutor(pipeline, tasks=14 if isinstance(pipeline[0], MinhashDedupBuckets) else 1, workers=1,
                              skip_completed=False).run()
"""


def bench_dedup() -> dict[str, float]:
    """Documents of 200 words, a tenth of them edited copies, per second of processor time of ours and of datatrove; and
    what a hundredth more of them costs.
    """
    texts = _documents(DOCUMENTS + DOCUMENTS // 100)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds, known = _ours(folder, texts[:DOCUMENTS], [])
        more, _ = _ours(folder, texts[DOCUMENTS:], known)
        found = {
            "documents_per_core_s": DOCUMENTS / seconds,
            "hundredth_more_share": more / seconds,
            "peak_mb": psutil.Process().memory_info().rss / 1e6,
        }
        python = os.environ.get("MMADA_DATATROVE")
        if python:
            peer = _peer(folder, python, texts[:DOCUMENTS_OF_PEER])
            found |= {"peer_documents_per_core_s": peer, "ratio": found["documents_per_core_s"] / peer}
        return found


def _documents(count: int) -> list[str]:
    """Texts of 200 words of GSM8K in a random order, every tenth a copy of an earlier one with six words changed."""
    file = Path(os.environ["MMADA_REALDATA"]) / "text_math" / "gsm8k_train.jsonl"
    words = re.findall(r"[a-z]+", file.read_text("utf-8").lower())
    rng = random.Random(1)
    texts: list[list[str]] = []
    for number in range(count):
        text = rng.choices(words, k=200)
        if number % 10 == 9:
            text = list(rng.choice(texts))
            for place in rng.sample(range(200), 6):
                text[place] = rng.choice(words)
        texts.append(text)
    return [" ".join(text) for text in texts]


def _ours(
    folder: Path, texts: list[str], known: list[tuple[Path, Documents]]
) -> tuple[float, list[tuple[Path, Documents]]]:
    """Processor time for texts that come to those known, and all of them."""
    started = time.process_time()
    parts = list(known)
    for start in range(0, len(texts), PER_PART):
        some = pl.DataFrame({"prompt": texts[start : start + PER_PART], "response": ""})
        file = folder / f"{len(parts)}.parquet"
        some.write_parquet(file)
        words = split_words(some["prompt"])
        groups = group_hashes(pl.repeat("lm", some.height, eager=True), pl.repeat("", some.height, eager=True))
        documents = Documents(
            keys=text_keys_of_groups(text_keys(words), groups),
            sketches=sketch_of(groups, signatures(ngrams(words, SHINGLE), PERMUTATIONS), floor=FLOOR),
            files=np.full(some.height, len(parts), np.int32),
            rows=np.arange(some.height, dtype=np.int32),
            num_words=words.counts.astype(np.int32),
        )
        parts.append((file, documents))
    near_duplicates(
        join_documents([documents for _, documents in parts]),
        [file for file, _ in parts],
        shingle=SHINGLE,
        floor=FLOOR,
        store=UnitStore(folder / "units"),
    )
    return time.process_time() - started, parts


def _peer(folder: Path, python: str, texts: list[str]) -> float:
    """Documents per second of processor time of datatrove's four steps, in one process."""
    (folder / "input").mkdir()
    lines = (json.dumps({"text": text, "id": str(number)}) + "\n" for number, text in enumerate(texts))
    (folder / "input" / "documents.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "peer.py").write_text(_PEER)
    before = os.times()
    subprocess.run([python, "peer.py", str(folder)], cwd=folder, check=True, capture_output=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return len(texts) / spent
