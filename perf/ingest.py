"""Ingest of text rows: rows a second and memory beside Hugging Face `datasets`, and what one more file costs."""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from perf.projects import make_project, raw_corpus, run

ROWS = 3_000_000
FILES = 10_000
ROWS_PER_FILE = 100

_WORDS = [hashlib.sha256(str(n).encode()).hexdigest()[: 3 + n % 7] for n in range(50_000)]

_PEER = """
import hashlib, json, sys
import datasets

def kept(row):
    content = json.dumps([row["question"], row["response"], row["answer"]]).encode()
    return {"row_id": hashlib.sha256(content).hexdigest()}

if __name__ == "__main__":
    rows = datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=sys.argv[2], num_proc=2)
    rows = rows.map(kept, num_proc=2).select_columns(["row_id", "question", "response", "answer"])
    rows.to_parquet(sys.argv[2] + "/rows.parquet")
"""


def bench_ingest() -> dict[str, float]:
    """Rows of about 1 KB from one file, by both; then ten thousand files, and ten thousand and one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = make_project(folder, {"corpora": {"rows": raw_corpus("*.jsonl")}})
        rows = project / "raw" / "rows.jsonl"
        with rows.open("w", encoding="utf-8") as stream:
            stream.writelines(map(_row, range(ROWS)))
        seconds, memory = run(project, "mmada", "run", "ingest@rows")
        (folder / "peer.py").write_text(_PEER)
        peer_seconds, peer_memory = run(folder, sys.executable, "peer.py", str(rows), str(folder / "cache"))
        rows.unlink()
        for number in range(FILES):
            _write_file(project, number)
        all_seconds, _ = run(project, "mmada", "run", "ingest@rows")
        _write_file(project, FILES)
        one_seconds, _ = run(project, "mmada", "run", "ingest@rows")
        return {
            "rows_per_s": ROWS / seconds,
            "peak_mb": memory / 1e6,
            "peer_rows_per_s": ROWS / peer_seconds,
            "peer_peak_mb": peer_memory / 1e6,
            "ratio": peer_seconds / seconds,
            "ten_thousand_files_s": all_seconds,
            "one_more_file_s": one_seconds,
            "one_more_file_share": one_seconds / all_seconds,
        }


def _row(number: int) -> str:
    start = number * 7919 % (len(_WORDS) - 200)
    question, response = " ".join(_WORDS[start : start + 40]), " ".join(_WORDS[start + 40 : start + 140])
    return json.dumps({"id": number, "question": question, "response": response, "answer": str(number)}) + "\n"


def _write_file(project: Path, number: int) -> None:
    lines = map(_row, range(number * ROWS_PER_FILE, (number + 1) * ROWS_PER_FILE))
    (project / "raw" / f"{number:05d}.jsonl").write_text("".join(lines), encoding="utf-8")
