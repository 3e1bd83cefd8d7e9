"""Compute what selection needs to know of every row, once: facts of texts and pictures, duplicates, benchmark
matches.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from mmada.contracts.benchmark_items import read_items
from mmada.contracts.facts import (
    BENCHMARK_MATCHES,
    NEAR_DUPLICATES,
    PICTURE_PAIRS,
    QUESTION_FACTS,
    SEMANTIC_KEYS,
    SEMANTIC_PAIRS,
    STORED_FACTS,
    facts_part,
)
from mmada.contracts.image_codes import read_code_facts
from mmada.contracts.ingested import FILES, FILES_NAME, parts
from mmada.contracts.tables import all_from_parquet, read_table, to_parquet, write_table
from mmada.curation.alike_pictures import sketch
from mmada.curation.certificate import certificate
from mmada.curation.cot_facts import TEXT_FACTS, TOKEN_COUNTS, WORD_FACTS, text_facts, token_counts, word_facts
from mmada.curation.decontaminate import BenchmarkIndex, build_index, find_matches
from mmada.curation.dedup import group_hashes, shown_keys, sketch_of, text_keys_of_groups
from mmada.curation.given_scores import GivenScores, no_scores, read_scores
from mmada.curation.image_facts import with_image_facts
from mmada.curation.near_pairs import Documents, join_documents, near_duplicates
from mmada.curation.near_pictures import SKETCHES, near_pictures
from mmada.curation.question_facts import question_facts
from mmada.curation.semantic_duplicates import SemanticDuplicates, no_semantic_duplicates, semantic_duplicates
from mmada.curation.text_units import Facts, TextPart, text_facts_of
from mmada.errors import InputError
from mmada.lineage.manifest import Artifact, file_sha256, open_artifact
from mmada.params_data import Annotation, Benchmark, Corpus, Decontamination
from mmada.params_schema import Paths
from mmada.stage_report import StageReport
from mmada.text_tokenizer import TextTokenizer, load_tokenizer
from mmada.unit_store import UnitStore, unit_key
from mmada.vq.preprocess import decode_picture
from mmada.workers import LateUnit, run_units

VERSION: Final = 9
OUT: Final = "facts"

_PLACE: Final = ("row_id", "corpus", "source_file", "row", "task", "kind", "image_sha256")
_ASKED: Final = ("question_key", "content_key", "reference", "answer_correct")


@dataclass(frozen=True)
class _Part:
    """A part of records that ingest wrote."""

    corpus: str
    texts: TextPart


def annotate(
    *,
    out: Path,
    paths: Paths,
    store: UnitStore,
    annotation: Annotation,
    benchmarks: dict[str, Benchmark],
    corpora: dict[str, Corpus],
) -> StageReport:
    """Writes tables and certificate of contracts.facts, part by part as ingest wrote the rows.

    Rows that were annotated before cost nothing but reading what is known of them.
    """
    ingested = {key: open_artifact(Path(paths.ingested) / key) for key in corpora}
    items = {key: open_artifact(Path(paths.benchmark_items) / key) for key in benchmarks}
    codes, tokenizer = open_artifact(Path(paths.codes)), open_artifact(Path(paths.text_tokenizer))
    pictures = read_code_facts(codes.path)
    pixels = pictures.select("image_sha256", "pixels_sha256")
    records = [
        _Part(key, TextPart(file, artifact.files[file.name], pixels))
        for key, artifact in ingested.items()
        for file in parts(artifact.path, "records")
    ]
    index = build_index(read_items({key: items[key].path for key in items}), ngram=annotation.decontamination.ngram)
    scores = read_scores(Path(annotation.scores)) if annotation.scores else no_scores()
    rows_in, scored, documents, asked = _write_facts(out, records, pictures, scores, tokenizer, annotation, store)
    if annotation.scores and not scored:
        raise InputError(f"annotation.scores: no row and no picture has a score in {annotation.scores}; check its ids")
    for key, artifact in ingested.items():
        write_table(read_table(artifact.path / FILES_NAME, FILES, key), out / key / FILES_NAME, FILES)
    questions = question_facts(asked, seconds=annotation.verify_seconds)
    write_table(questions, out / "questions.parquet", QUESTION_FACTS)
    pairs = near_duplicates(
        join_documents(documents),
        [part.texts.file for part in records],
        shingle=annotation.shingle,
        floor=annotation.near_duplicate_floor,
        store=store,
    )
    write_table(pairs, out / "pairs.parquet", NEAR_DUPLICATES)
    sketches = _sketches(ingested.values(), store)
    alike = near_pictures(sketches, floor=annotation.near_picture_floor, store=store)
    write_table(alike, out / "picture_pairs.parquet", PICTURE_PAIRS)
    meant = _semantic_duplicates(records, annotation, store)
    write_table(meant.keys, out / "semantic_keys.parquet", SEMANTIC_KEYS)
    write_table(meant.pairs, out / "semantic_pairs.parquet", SEMANTIC_PAIRS)
    matches = _matches(records, index, annotation.decontamination, store)
    write_table(matches, out / "matches.parquet", BENCHMARK_MATCHES)
    searched = certificate(
        index,
        matches,
        (pl.read_parquet(part.texts.file, columns=["row_id"])["row_id"] for part in records),
        benchmarks={key: artifact.id for key, artifact in items.items()},
        containment=annotation.decontamination.containment,
    )
    (out / "certificate.json").write_text(json.dumps(searched, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return StageReport(
        inputs={
            **{f"ingested {key}": artifact for key, artifact in ingested.items()},
            **{f"benchmark {key}": artifact for key, artifact in items.items()},
            "codes": codes,
            "tokenizer": tokenizer,
        },
        raw_files={name: file_sha256(Path(name)) for name in (annotation.embeddings, annotation.scores) if name},
        rows_in=rows_in,
        rows_kept=rows_in,
        metrics={
            "parts": len(records),
            "near_duplicate_pairs": pairs.height,
            "near_picture_pairs": alike.height,
            "semantic_pairs": meant.pairs.height,
            "rows_with_embeddings": meant.keys.height,
            "embeddings_of_no_row": meant.num_unknown,
            "rows_with_scores": scored,
            "benchmark_matches": matches.height,
        },
        metadata={
            "near_duplicate_floor": annotation.near_duplicate_floor,
            "near_picture_floor": annotation.near_picture_floor,
            "semantic_floor": annotation.semantic_floor,
            "scores": list(scores.names),
            "benchmark_index": index.digest,
        },
    )


def _write_facts(
    out: Path,
    records: Sequence[_Part],
    pictures: pl.DataFrame,
    scores: GivenScores,
    tokenizer: Artifact,
    annotation: Annotation,
    store: UnitStore,
) -> tuple[int, int, list[Documents], pl.DataFrame]:
    """Write the parts of facts; gives the number of rows, of those with given scores, each part's texts with words, and
    what question_facts reads of all rows with a checked answer.
    """
    tables = text_facts_of([part.texts for part in records], _kinds(tokenizer, annotation), store)
    count, scored, documents, asked = 0, 0, [], []
    for number, (part, text) in enumerate(zip(records, tables, strict=True)):
        rows = pl.read_parquet(part.texts.file, columns=[*_PLACE, "reference"])
        facts = _with_text_keys(scores.of_rows(with_image_facts(rows, pictures)), text)
        shown = facts.with_columns(shown_keys(facts[name]) for name in ("text_key", "caption_key"))
        write_table(shown.select(list(STORED_FACTS)), out / facts_part(part.corpus, part.texts.file), STORED_FACTS)
        documents.append(_documents(facts, number, annotation))
        asked.append(facts.filter(pl.col("answer_correct") != "unchecked").select(_ASKED))
        count += rows.height
        scored += int((facts["scores"].list.len() > 0).sum())
    return count, scored, documents, pl.concat(asked)


def _kinds(tokenizer: Artifact, annotation: Annotation) -> list[Facts]:
    seconds, shingle, permutations = annotation.verify_seconds, annotation.shingle, annotation.minhash_permutations
    return [
        Facts(
            "tokens of texts",
            TOKEN_COUNTS,
            [VERSION, tokenizer.id],
            partial(_token_counts, tokenizer.path, tokenizer.id),
            reads=[tokenizer.path],
        ),
        Facts(
            "words of texts",
            WORD_FACTS,
            [VERSION, shingle, permutations],
            partial(word_facts, shingle=shingle, permutations=permutations),
        ),
        Facts("facts of texts", TEXT_FACTS, [VERSION, seconds], partial(text_facts, verify_seconds=seconds)),
    ]


def _token_counts(tokenizer: Path, id_: str, rows: pl.DataFrame) -> pl.DataFrame:
    return token_counts(rows, _tokenizer(tokenizer, id_))


@lru_cache(maxsize=1)
def _tokenizer(folder: Path, id_: str) -> TextTokenizer:
    """Loaded once in a process: a published one takes as long as the texts of a unit. `id_`: of what is there now."""
    return load_tokenizer(folder)


def _with_text_keys(rows: pl.DataFrame, text: pl.DataFrame) -> pl.DataFrame:
    """`rows` with the facts of their text, `group` (task and picture) and `text_key`, both as numbers."""
    joined = rows.join(text, on="row_id", how="left", validate="m:1", maintain_order="left")
    without = pl.repeat("", joined.height, eager=True)
    pixels = pl.concat([joined["pixels_sha256"], without])
    groups, tasks = np.split(group_hashes(pl.concat([joined["task"]] * 2), pixels), 2)
    keys = text_keys_of_groups(joined["words_key"].to_numpy(), groups)
    # Rows without a single word (signs only) are alike only when they are equal.
    content = pl.col("content_key").str.head(16).str.to_integer(base=16, dtype=pl.UInt64)
    return joined.with_columns(
        group=pl.Series(groups, dtype=pl.UInt64),
        text_key=pl.when(pl.col("num_words") > 0).then(pl.Series(keys, dtype=pl.UInt64)).otherwise(content),
        caption_key=pl.Series(text_keys_of_groups(joined["words_key"].to_numpy(), tasks), dtype=pl.UInt64),
    )


def _documents(facts: pl.DataFrame, number: int, annotation: Annotation) -> Documents:
    """The distinct texts with words of part `number`."""
    texts = facts.with_row_index("place").filter(pl.col("num_words") > 0).unique("text_key", maintain_order=True)
    signatures = np.frombuffer(b"".join(texts["signature"]), dtype="<u4").reshape(-1, annotation.minhash_permutations)
    return Documents(
        keys=texts["text_key"].to_numpy(),
        sketches=sketch_of(texts["group"].to_numpy(), signatures, floor=annotation.near_duplicate_floor),
        files=np.full(texts.height, number, np.int32),
        rows=texts["place"].cast(pl.Int32).to_numpy(),
        num_words=texts["num_words"].cast(pl.Int32).to_numpy(),
    )


def _sketches(ingested: Iterable[Artifact], store: UnitStore) -> pl.DataFrame:
    """SKETCHES of all files of pictures."""
    units = [
        LateUnit(unit_key("picture_sketches", VERSION, artifact.files[file.name]), partial(_read_pictures, file))
        for artifact in ingested
        for file in parts(artifact.path, "pictures")
    ]
    results = run_units(units, _sketch_unit, store, title="sketches of pictures")
    return all_from_parquet(results, SKETCHES).unique("image_sha256")


def _read_pictures(file: Path) -> pl.DataFrame:
    return pl.read_parquet(file, columns=["image_sha256", "pixels_sha256", "bytes"])


def _sketch_unit(pictures: pl.DataFrame) -> bytes:
    # Ingest has decoded them within its limits.
    sketches = [sketch(decode_picture(data, max_pixels=sys.maxsize)).tobytes() for data in pictures["bytes"]]
    table = pictures.drop("bytes").with_columns(sketch=pl.Series(sketches, dtype=pl.Binary))
    return to_parquet(table, SKETCHES)


def _semantic_duplicates(records: Sequence[_Part], annotation: Annotation, store: UnitStore) -> SemanticDuplicates:
    if not annotation.embeddings:
        return no_semantic_duplicates()
    rows = pl.concat(pl.read_parquet(part.texts.file, columns=["row_id", "task"]) for part in records).unique("row_id")
    return semantic_duplicates(Path(annotation.embeddings), rows, floor=annotation.semantic_floor, store=store)


def _matches(
    records: Sequence[_Part],
    index: BenchmarkIndex,
    limits: Decontamination,
    store: UnitStore,
) -> pl.DataFrame:
    units = [
        LateUnit(
            unit_key("benchmark_matches", VERSION, index.digest, limits.containment, part.texts.sha256), part.texts.rows
        )
        for part in records
    ]
    run = partial(_match_unit, index=index, containment=limits.containment)
    found = all_from_parquet(run_units(units, run, store, title="benchmark search"), BENCHMARK_MATCHES)
    return found.unique().sort("row_id", "benchmark", "item_id")


def _match_unit(unit: pl.DataFrame, *, index: BenchmarkIndex, containment: float) -> bytes:
    return to_parquet(find_matches(unit, index, containment=containment), BENCHMARK_MATCHES)
