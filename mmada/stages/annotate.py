"""Compute what selection needs to know of every row, once: facts of texts and pictures, duplicates, benchmark
matches.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.benchmark_items import BENCHMARK_ITEMS
from mmada.contracts.facts import BENCHMARK_MATCHES, FACTS, NEAR_DUPLICATES
from mmada.contracts.image_codes import read_codes
from mmada.contracts.ingested import read_records
from mmada.contracts.records import Schema
from mmada.contracts.tables import read_table, write_table
from mmada.curation.cot_facts import TEXT_FACTS, text_facts
from mmada.curation.decontaminate import BenchmarkIndex, build_index, find_matches
from mmada.curation.dedup import alike_texts, group_hashes, text_keys_of_groups
from mmada.curation.image_facts import with_image_facts
from mmada.lineage.manifest import Artifact, open_artifact
from mmada.params_data import Annotation, Benchmark, Corpus, Decontamination
from mmada.params_schema import Paths
from mmada.stage_report import StageReport
from mmada.text_tokenizer import load_tokenizer
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import Unit, run_units

VERSION: Final = 2
OUT: Final = "facts"

_ROWS_PER_UNIT: Final = 2000
_READ: Final = ("row_id", "task", "prompt", "response", "reference", "pixels_sha256")


def annotate(
    *,
    out: Path,
    paths: Paths,
    store: UnitStore,
    annotation: Annotation,
    benchmarks: dict[str, Benchmark],
    corpora: dict[str, Corpus],
) -> StageReport:
    """Writes tables and certificate of contracts.facts. Rows that were annotated before cost nothing."""
    inputs = {f"ingested {key}": open_artifact(Path(paths.ingested) / key) for key in corpora}
    inputs |= {f"benchmark {key}": open_artifact(Path(paths.benchmark_items) / key) for key in benchmarks}
    inputs |= {
        "codes": open_artifact(Path(paths.codes)),
        "tokenizer": open_artifact(Path(paths.text_tokenizer)),
    }
    codes = read_codes(inputs["codes"].path)
    records = pl.concat(read_records(inputs[f"ingested {key}"].path, f"ingested {key}") for key in corpora)
    rows = with_image_facts(records, codes)
    units = list(_distinct_rows(rows))
    text = _text_facts(units, inputs["tokenizer"], annotation, store)
    index = build_index(_benchmark_items(inputs, benchmarks), ngram=annotation.decontamination.ngram)
    matches = _matches(units, index, annotation.decontamination, store)

    grouped = _with_text_keys(rows, text)
    facts = grouped.select(list(FACTS))
    for key in corpora:
        write_table(facts.filter(corpus=key), out / f"facts-{key}.parquet", FACTS)
    pairs = _near_duplicates(grouped, annotation)
    write_table(pairs, out / "pairs.parquet", NEAR_DUPLICATES)
    write_table(matches, out / "matches.parquet", BENCHMARK_MATCHES)
    certificate = _certificate(index, matches, rows, inputs, annotation.decontamination)
    (out / "certificate.json").write_text(json.dumps(certificate, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return StageReport(
        inputs=inputs,
        rows_in=facts.height,
        rows_kept=facts.height,
        metrics={
            "units": len(units),
            "near_duplicate_pairs": pairs.height,
            "benchmark_matches": matches.height,
        },
        metadata={"near_duplicate_floor": annotation.near_duplicate_floor, "benchmark_index": index.digest},
    )


def _distinct_rows(rows: pl.DataFrame) -> Iterable[pl.DataFrame]:
    """Distinct rows in pieces that new files, and rows appended to a file, leave as they are."""
    distinct = rows.unique("row_id", keep="first", maintain_order=True)
    for file in distinct.partition_by("corpus", "source_file", maintain_order=True):
        yield from file.sort("row").select(_READ).iter_slices(_ROWS_PER_UNIT)


def _text_facts(
    units: list[pl.DataFrame], tokenizer: Artifact, annotation: Annotation, store: UnitStore
) -> pl.DataFrame:
    run = partial(
        _text_unit,
        tokenizer=tokenizer.path,
        verify_seconds=annotation.verify_seconds,
        shingle=annotation.shingle,
        permutations=annotation.minhash_permutations,
    )
    settings = [annotation.verify_seconds, annotation.shingle, annotation.minhash_permutations]
    keyed = [Unit(unit_key("text_facts", VERSION, tokenizer.id, settings, _digest(unit)), unit) for unit in units]
    return _gather(run_units(keyed, run, store, title="facts of texts"), TEXT_FACTS)


def _text_unit(unit: pl.DataFrame, *, tokenizer: Path, verify_seconds: float, shingle: int, permutations: int) -> bytes:
    facts = text_facts(
        unit,
        load_tokenizer(tokenizer),
        verify_seconds=verify_seconds,
        shingle=shingle,
        permutations=permutations,
    )
    return _to_bytes(facts)


def _matches(
    units: list[pl.DataFrame], index: BenchmarkIndex, limits: Decontamination, store: UnitStore
) -> pl.DataFrame:
    run = partial(_match_unit, index=index, containment=limits.containment)
    keyed = [
        Unit(unit_key("benchmark_matches", VERSION, index.digest, limits.containment, _digest(unit)), unit)
        for unit in units
    ]
    # The search of a unit takes milliseconds: processes of its own would cost more than they save.
    found = run_units(keyed, run, store, title="benchmark search", workers=1)
    return _gather(found, BENCHMARK_MATCHES).sort("row_id", "benchmark", "item_id")


def _match_unit(unit: pl.DataFrame, *, index: BenchmarkIndex, containment: float) -> bytes:
    return _to_bytes(find_matches(unit, index, containment=containment))


def _with_text_keys(rows: pl.DataFrame, text: pl.DataFrame) -> pl.DataFrame:
    """`rows` with TEXT_FACTS, `group` (task and picture) and `text_key`."""
    joined = rows.join(text, on="row_id", how="left", validate="m:1", maintain_order="left")
    groups = group_hashes(joined["task"], joined["pixels_sha256"])
    keys = text_keys_of_groups(joined["words_key"].to_numpy(), groups)
    return joined.with_columns(
        group=pl.Series(groups, dtype=pl.UInt64),
        # Rows without a single word (signs only) are alike only when they are equal.
        text_key=pl.when(pl.col("num_words") > 0).then(pl.Series(keys)).otherwise(pl.col("content_key").str.head(16)),
    )


def _near_duplicates(grouped: pl.DataFrame, annotation: Annotation) -> pl.DataFrame:
    distinct = grouped.unique("text_key", keep="first", maintain_order=True).sort("text_key")
    return alike_texts(distinct, shingle=annotation.shingle, floor=annotation.near_duplicate_floor)


def _benchmark_items(inputs: dict[str, Artifact], benchmarks: dict[str, Benchmark]) -> pl.DataFrame:
    tables = [
        read_table(inputs[f"benchmark {key}"].path / "items.parquet", BENCHMARK_ITEMS, f"benchmark {key}")
        for key in benchmarks
    ]
    return pl.concat([pl.DataFrame(schema=pl.Schema(BENCHMARK_ITEMS)), *tables])


def _certificate(
    index: BenchmarkIndex,
    matches: pl.DataFrame,
    rows: pl.DataFrame,
    inputs: dict[str, Artifact],
    limits: Decontamination,
) -> dict[str, object]:
    """What was searched for, in what, and every match; equal inputs give an equal certificate."""
    row_ids = "\n".join(rows["row_id"].unique().sort())
    return {
        "index": index.digest,
        "ngram": limits.ngram,
        "containment": limits.containment,
        "benchmarks": {
            name.removeprefix("benchmark "): artifact.id
            for name, artifact in inputs.items()
            if name.startswith("benchmark ")
        },
        "items": dict(index.items.group_by("benchmark").len().sort("benchmark").iter_rows()),
        "rows_searched": rows["row_id"].n_unique(),
        "rows_sha256": hashlib.sha256(row_ids.encode()).hexdigest(),
        "matches": matches.rows(named=True),
    }


def _digest(unit: pl.DataFrame) -> str:
    """A row's id covers its text and the bytes of its picture, hence its pixels."""
    return hashlib.sha256("\n".join(unit["row_id"]).encode()).hexdigest()


def _to_bytes(table: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    table.write_parquet(stream, compression="zstd")
    return stream.getvalue()


def _gather(parts: Iterable[bytes], schema: Schema) -> pl.DataFrame:
    empty = pl.DataFrame(schema=pl.Schema(schema))
    return pl.concat([empty, *(pl.read_parquet(io.BytesIO(part)) for part in parts)])
