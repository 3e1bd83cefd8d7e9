"""Selection and the gate over a million rows; the gate beside the same questions asked in plain polars."""

import contextlib
import hashlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from mmada.contracts.facts import (
    BENCHMARK_MATCHES,
    FACT_RANGES,
    NEAR_DUPLICATES,
    PICTURE_PAIRS,
    QUESTION_FACTS,
    SEMANTIC_KEYS,
    SEMANTIC_PAIRS,
    STORED_FACTS,
    facts_part,
    facts_parts,
)
from mmada.contracts.ingested import STORED_RECORDS, part_name, write_files
from mmada.contracts.tables import write_table
from mmada.lineage.manifest import write_manifest
from mmada.params_schema import Params, Paths, load_params
from perf.filling import filled
from perf.memory import peak_bytes

ROWS = 1_000_000
ROWS_PER_PART = 5_000
CORPUS = "rows"
"""The one corpus; its raw file has the same name."""


def bench_million_rows() -> dict[str, float]:
    """Seconds, processor seconds and the peak of memory, each in a process of its own; files are in the cache."""
    params = load_params(Path(__file__).parent.parent / "params.yaml")
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        _make_project(params.paths)
        for what, work in (("selection", _select), ("polars", _plain_polars), ("gate", _gate)):
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
        "peak_gb": peak_bytes() / 1e9,
    }


def _select(params: Params) -> None:
    from mmada.stages.select import select

    corpora = {CORPUS: next(iter(params.corpora.values()))}
    out = Path(params.paths.selected)
    report = select(out=out, paths=params.paths, corpora=corpora, selection=params.selection)
    write_manifest(out, stage="select", version=1, metadata=report.metadata)


def _gate(params: Params) -> None:
    from mmada.stages.validate import validate

    gate = params.gate.model_copy(update={"max_drop_share": 1.0})
    Path(params.paths.gate).mkdir(parents=True)
    validate(out=Path(params.paths.gate), paths=params.paths, gate=gate, registered=[])


def _plain_polars(params: Params) -> None:
    """What one would write by hand: the numbers alone, without rows, report, profile or certificate."""
    facts = pl.scan_parquet(facts_parts(Path(params.paths.facts)))
    selected = pl.scan_parquet(Path(params.paths.selected) / "selected.parquet")
    kept = selected.select("row_id", "corpus", "task", "ordinal").join(
        facts.select("row_id", "corpus", "num_text_tokens", "defect", "answer_correct", *FACT_RANGES).unique(
            ["row_id", "corpus"], keep="any"
        ),
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
    """Ingested rows and their facts: a tenth are copies, a tenth nearly, some are wrong, loop or hold a benchmark."""
    rng = np.random.default_rng(0)
    row = pl.Series("row", range(ROWS))
    ids = pl.Series([hashlib.sha256(str(n).encode()).hexdigest() for n in row])
    rows = pl.DataFrame({"row": row, "row_id": ids, "content_key": ids, "text_key": ids.str.head(16)}).with_columns(
        corpus=pl.lit(CORPUS),
        source_file=pl.lit(CORPUS),
        task=pl.Series(["t2i", "lm", "chat", "mmu", "r2i"])[rng.integers(0, 5, ROWS)],
        question_key=(row // 4).cast(pl.String),
        num_text_tokens=pl.Series(rng.integers(1, 128, ROWS)),
        num_thought_words=pl.Series(rng.integers(3, 90, ROWS)),
        answer_correct=pl.Series(["yes", "yes", "no", "unchecked"])[rng.integers(0, 4, ROWS)],
        loop_share=pl.Series(rng.random(ROWS) * 0.55),
        prompt=pl.concat_str(pl.lit("how many things does picture show? "), pl.col("row")),
        response=pl.concat_str(pl.col("row"), pl.lit(" and some words more " * 10)),
    )
    is_shown = rows["task"].is_in(["t2i", "mmu", "r2i"])
    shown = {
        "psnr": (15, 35),
        "pixel_std": (10, 100),
        "code_entropy": (1, 9),
        "structure": (0.2, 1),
        "lost_share": (0, 0.2),
        "blur": (0.2, 0.5),
        "image_aspect": (1, 2),
    }
    rows = rows.with_columns(
        pl.when(is_shown).then(pl.Series(rng.uniform(low, high, ROWS))).alias(name)
        for name, (low, high) in shown.items()
    ).with_columns(image_side=pl.when(is_shown).then(pl.lit(64, pl.Int64)))
    rows = rows[(row - (row % 10 == 9)).to_numpy()].with_columns(row)  # the last of ten copies the one before it
    ingested, facts = Path(paths.ingested) / CORPUS, Path(paths.facts)
    for folder in (ingested, facts / CORPUS):
        write_files(folder, {CORPUS: hashlib.sha256(b"file").hexdigest()})
    for span, some in enumerate(rows.iter_slices(ROWS_PER_PART)):
        file = ingested / part_name("records", span)
        write_table(filled(some, STORED_RECORDS), file, STORED_RECORDS)
        write_table(filled(some, STORED_FACTS), facts / facts_part(CORPUS, file), STORED_FACTS)
    _write_relations(rows, facts)
    (facts / "certificate.json").write_text(json.dumps({"benchmarks": {}, "index": ""}))
    floors = {"near_duplicate_floor": 0.7, "near_picture_floor": 0.75, "semantic_floor": 0.9, "scores": []}
    write_manifest(ingested, stage="ingest", version=1, metadata={})
    write_manifest(facts, stage="annotate", version=1, metadata=floors)


def _write_relations(rows: pl.DataFrame, facts: Path) -> None:
    """What annotate knows of several rows together."""
    questions = rows.select(pl.col("question_key").unique(maintain_order=True)).with_columns(
        num_trials=4, pass_rate=0.5, pass_rate_low=0.1, pass_rate_high=0.9
    )
    write_table(filled(questions, QUESTION_FACTS), facts / "questions.parquet", QUESTION_FACTS)
    alike = rows.filter(pl.col("row") % 10 == 3)["text_key"], rows.filter(pl.col("row") % 10 == 4)["text_key"]
    pairs = pl.DataFrame({"left": alike[0], "right": alike[1]}).select(
        text_key=pl.min_horizontal("left", "right"), twin=pl.max_horizontal("left", "right"), similarity=0.9
    )
    write_table(pairs, facts / "pairs.parquet", NEAR_DUPLICATES)
    for name, schema in (
        ("picture_pairs", PICTURE_PAIRS),
        ("semantic_keys", SEMANTIC_KEYS),
        ("semantic_pairs", SEMANTIC_PAIRS),
    ):
        write_table(pl.DataFrame(schema=pl.Schema(schema)), facts / f"{name}.parquet", schema)
    held = rows.gather_every(1000).select("row_id").with_columns(benchmark=pl.lit("sums"), containment=1.0)
    write_table(filled(held, BENCHMARK_MATCHES), facts / "matches.parquet", BENCHMARK_MATCHES)
