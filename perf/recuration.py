"""What a hundredth more rows costs: `mmada run annotate` and `mmada run select` before and after, and from nothing."""

import json
import os
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from mmada.contracts.image_codes import IMAGE_CODES
from mmada.contracts.tables import write_table
from mmada.lineage.manifest import read_artifact, write_manifest
from mmada.params_schema import Paths, load_params
from mmada.unit_store import WORK_DIR
from perf.projects import COLUMNS, make_project, raw_corpus, run

ROWS = 62_500
MORE = ROWS // 100
HELD_OUT = 500


def bench_recuration() -> dict[str, float]:
    """Seconds by the clock, start of Python included, for rows of about 200 words whose answers are checked; the facts
    after the appended rows are asserted to be those of a rebuild.

    Thoughts and problems are those of GSM8K, which MMADA_REALDATA has.
    """
    problems = _problems()
    held_out, problems = problems[:HELD_OUT], problems[HELD_OUT:]
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        project = make_project(Path(name), _patch())
        _append(project / "raw" / "held_out.jsonl", held_out)
        _append(project / "raw" / "rows.jsonl", [_row(rng, problems) for _ in range(ROWS)])
        paths = load_params(project / "params.yaml").paths
        for stage in ("ingest@problems", "benchmark_items@arithmetic", "fit_text_tokenizer"):
            run(project, "mmada", "run", stage)
        _no_pictures(project, paths)
        annotate, memory = run(project, "mmada", "run", "annotate")
        select, _ = run(project, "mmada", "run", "select")
        _append(project / "raw" / "rows.jsonl", [_row(rng, problems) for _ in range(MORE)])
        run(project, "mmada", "run", "ingest@problems")
        annotate_again, _ = run(project, "mmada", "run", "annotate")
        select_again, _ = run(project, "mmada", "run", "select")
        facts = read_artifact(project / paths.facts).id
        shutil.rmtree(project / WORK_DIR)
        run(project, "mmada", "run", "annotate")
        assert read_artifact(project / paths.facts).id == facts, "not the facts of a rebuild"
        return {
            "annotate_s": annotate,
            "annotate_again_s": annotate_again,
            "annotate_share": annotate_again / annotate,
            "share": (annotate_again + select_again) / (annotate + select),
            "select_s": select,
            "peak_mb": memory / 1e6,
        }


def _patch() -> dict[str, Any]:
    """One corpus, one benchmark, and one training stage, because there must be one."""
    columns = {"prompt": COLUMNS["prompt"], "reference": COLUMNS["reference"]}
    held_out = {"path": "raw/held_out.jsonl", "kind": "reasoning", "format": "questions", "columns": columns}
    data = {"corpora": {"problems": 1, **dict.fromkeys(("captions", "questions", "texts"))}, "direct_answers": []}
    return {
        "demo_corpora": {"demo": None},
        "corpora": {
            "problems": raw_corpus("rows.jsonl"),
            **dict.fromkeys(("captions", "questions", "drawings", "texts")),
        },
        "benchmarks": {
            "arithmetic": held_out | {"max_items": HELD_OUT},
            "scene_questions": None,
            "scene_drawing": None,
        },
        "selection": {"max_text_tokens": 2048},
        "model": {"max_sequence_length": 2112},
        "training": {"stage1": {"data": data}, "stage2": None, "stage3": None},
    }


def _problems() -> list[dict[str, str]]:
    file = Path(os.environ["MMADA_REALDATA"]) / "text_math" / "gsm8k_train.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def _row(rng: random.Random, problems: list[dict[str, str]]) -> dict[str, str]:
    """A problem and a thought of its solution after that of two others."""
    before, between, asked = rng.sample(problems, 3)
    solutions = [one["answer"].partition("####") for one in (before, between, asked)]
    answer = solutions[-1][2].strip()
    thought = "\n".join(solution for solution, _, _ in solutions)
    return {"question": asked["question"], "response": f"<think>{thought}</think>{answer}", "answer": answer}


def _append(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def _no_pictures(project: Path, paths: Paths) -> None:
    codes = project / paths.codes
    write_table(
        pl.DataFrame(schema=pl.Schema(IMAGE_CODES)), codes / "problems" / "codes-000000-000.parquet", IMAGE_CODES
    )
    write_manifest(codes, stage="tokenize_images", version=1, metadata={})
