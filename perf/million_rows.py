"""The gate over a million rows, beside the same questions asked in plain polars."""

import contextlib
import hashlib
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from mmada.contracts.facts import FACT_RANGES, STORED_FACTS, facts_part, facts_parts
from mmada.contracts.ingested import part_name
from mmada.contracts.records import DROPS, SELECTED
from mmada.contracts.tables import write_table
from mmada.lineage.manifest import write_manifest
from mmada.params_schema import Params, Paths, load_params
from perf.filling import filled

ROWS = 1_000_000
ROWS_PER_PART = 5_000
KEPT = 950_000
GOLD = 600_000
"""Rows whose answer can be checked."""


def bench_gate() -> dict[str, float]:
    """Seconds, processor seconds and the peak of memory, each in a process of its own; files are in the cache."""
    params = load_params(Path(__file__).parent.parent / "params.yaml")
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        _make_project(params.paths)
        Path(params.paths.gate).mkdir(parents=True)
        for what, work in (("polars", _plain_polars), ("gate", _gate)):
            found |= {f"{what}_{unit}": value for unit, value in _alone(work, params).items()}
    return {**found, "processor_ratio": found["gate_processor_s"] / found["polars_processor_s"]}


def _alone(work: Callable[[Params], None], params: Params) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, params))


def _measured(work: Callable[[Params], None], params: Params) -> dict[str, float]:
    started, before = time.perf_counter(), time.process_time()
    work(params)
    return {
        "s": time.perf_counter() - started,
        "processor_s": time.process_time() - before,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def _gate(params: Params) -> None:
    from mmada.stages.validate import validate

    validate(out=Path(params.paths.gate), paths=params.paths, gate=params.gate, registered=[])


def _plain_polars(params: Params) -> None:
    """What one would write by hand: the numbers alone, without rows, report, profile or certificate."""
    facts = pl.scan_parquet(facts_parts(Path(params.paths.facts)))
    selected = pl.scan_parquet(Path(params.paths.selected) / "selected.parquet")
    kept = selected.select("row_id", "corpus", "task", "ordinal").join(
        facts.select("row_id", "corpus", "num_text_tokens", "defect", "answer_correct", *FACT_RANGES),
        on=["row_id", "corpus"],
    )
    is_good = [
        pl.col("num_text_tokens").is_between(1, params.gate.max_text_tokens).all(),
        (pl.col("defect") == "").all(),
        (pl.col("answer_correct") != "no").all(),
        ~pl.struct("row_id", "corpus", "ordinal").is_duplicated().any(),
        pl.col("row_id").str.contains("^[0-9a-f]{64}$").all(),
        *(pl.col(name).is_nan().any().not_() for name in ("loop_share", "psnr")),
    ]
    answers = kept.select(**{f"check{n}": check for n, check in enumerate(is_good)}).collect()
    assert all(answers.row(0))


def _make_project(paths: Paths) -> None:
    rng = np.random.default_rng(0)
    number = pl.int_range(ROWS, eager=True).alias("row")
    tasks = pl.Series(["t2i", "lm", "chat", "mmu", "r2i"])[rng.integers(0, 5, ROWS)]
    is_shown = tasks.is_in(["t2i", "mmu", "r2i"])
    rows = pl.DataFrame({"row": number}).with_columns(
        row_id=pl.Series([hashlib.sha256(str(n).encode()).hexdigest() for n in range(ROWS)]),
        task=tasks,
        num_text_tokens=pl.Series(rng.integers(1, 128, ROWS)),
        num_thought_words=pl.Series(rng.integers(0, 90, ROWS)),
        answer_correct=pl.when(number < GOLD).then(pl.lit("yes")).otherwise(pl.lit("unchecked")),
        loop_share=pl.Series(rng.random(ROWS) / 2),
        psnr=pl.when(is_shown).then(pl.Series(15 + 20 * rng.random(ROWS))),
        pixel_std=pl.when(is_shown).then(pl.Series(10 + 90 * rng.random(ROWS))),
        code_entropy=pl.when(is_shown).then(pl.Series(1 + 8 * rng.random(ROWS))),
        file_sha256=pl.lit(hashlib.sha256(b"file").hexdigest()),
    )
    keys = {"content_key": pl.col("row_id"), "text_key": pl.col("row_id").str.head(16)}
    facts = Path(paths.facts)
    for span, some in enumerate(rows.with_columns(**keys).iter_slices(ROWS_PER_PART)):
        part = facts / facts_part("rows", Path(part_name("records", span)))
        write_table(filled(some, STORED_FACTS), part, STORED_FACTS)
    search = {"benchmarks": {}, "index": ""}
    (facts / "certificate.json").write_text(json.dumps(search))
    origins = pl.concat_list(
        pl.struct(*(pl.lit("").alias(name) for name in ("corpus", "source_file", "file_sha256")), "row")
    )
    kept = rows.head(KEPT).sort("row_id").with_columns(origins=origins)
    write_table(filled(kept, SELECTED), Path(paths.selected) / "selected.parquet", SELECTED)
    lost = rows.slice(KEPT).with_columns(reason=pl.lit("duplicate_near"))
    write_table(filled(lost, DROPS), Path(paths.selected) / "dropped.parquet", DROPS)
    for folder, stage in ((paths.facts, "annotate"), (paths.selected, "select")):
        write_manifest(Path(folder), stage=stage, version=1, metadata={})
