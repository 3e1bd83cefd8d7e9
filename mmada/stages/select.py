"""Apply thresholds to facts: which rows are kept, and why every other row is not. Takes seconds."""

from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.facts import (
    BENCHMARK_MATCHES,
    NEAR_DUPLICATES,
    PICTURE_PAIRS,
    SEMANTIC_KEYS,
    SEMANTIC_PAIRS,
    read_facts,
)
from mmada.contracts.ingested import parts
from mmada.contracts.records import DROPS, SELECTED
from mmada.contracts.tables import read_table, write_table
from mmada.curation.personal_data import HIDDEN, without_personal_data
from mmada.curation.select import REASONS, decide, kept_rows
from mmada.errors import InputError, ParamsError
from mmada.lineage.manifest import Artifact, open_artifact
from mmada.params_data import Corpus, Selection
from mmada.params_schema import Paths
from mmada.stage_report import StageReport

VERSION: Final = 5
OUT: Final = "selected"

_EXCERPT_CHARS: Final = 200
_PLACE: Final = ("corpus", "source_file", "row")


def select(*, out: Path, paths: Paths, corpora: dict[str, Corpus], selection: Selection) -> StageReport:
    """Writes `selected.parquet` (SELECTED) and the ledger `dropped.parquet` (DROPS), both in order of row_id.

    Raises ParamsError when the near-duplicate threshold lies below what annotate recorded, InputError when no
    row is left.
    """
    facts_folder = open_artifact(Path(paths.facts))
    ingested = {f"ingested {key}": open_artifact(Path(paths.ingested) / key) for key in corpora}
    _check_floor(selection, facts_folder)
    _check_scores(selection, facts_folder)
    if unknown := sorted(set(selection.leave_out) - set(REASONS)):
        raise ParamsError(f"selection.leave_out names {unknown}; reasons: {', '.join(REASONS)}")
    decided = decide(
        read_facts(facts_folder.path),
        read_table(facts_folder.path / "pairs.parquet", NEAR_DUPLICATES, "near duplicates"),
        read_table(facts_folder.path / "matches.parquet", BENCHMARK_MATCHES, "benchmark matches"),
        picture_pairs=read_table(facts_folder.path / "picture_pairs.parquet", PICTURE_PAIRS, "near pictures"),
        semantic_keys=read_table(facts_folder.path / "semantic_keys.parquet", SEMANTIC_KEYS, "rows with embeddings"),
        semantic_pairs=read_table(facts_folder.path / "semantic_pairs.parquet", SEMANTIC_PAIRS, "semantic duplicates"),
        **selection.model_dump(),
    )
    selected = kept_rows(decided)
    told = [name for name in DROPS if name != "excerpt"]
    dropped = decided.filter(pl.col("reason") != "").select(*told, "holds_personal_data")
    rows_in = decided.height
    del decided  # with a million rows every table counts: a third of a gigabyte here
    by_reason = dict(dropped.group_by("reason").len().sort("reason").iter_rows())
    if selected.is_empty():
        raise InputError(f"selection keeps none of {rows_in} rows ({by_reason}); loosen `selection` in params.yaml")
    write_table(selected, out / "selected.parquet", SELECTED)
    by_corpus = dict(selected.group_by("corpus").len().sort("corpus").iter_rows())
    del selected
    write_table(_ledger(dropped, ingested), out / "dropped.parquet", DROPS)
    return StageReport(
        inputs={"facts": facts_folder, **ingested},
        rows_in=rows_in,
        rows_kept=sum(by_corpus.values()),
        dropped=by_reason,
        metrics={"kept_by_corpus": by_corpus},
    )


def _check_floor(selection: Selection, facts: Artifact) -> None:
    for threshold, recorded in (
        ("near_duplicate", "near_duplicate_floor"),
        ("image_near_duplicate", "near_picture_floor"),
        ("semantic_duplicate", "semantic_floor"),
    ):
        floor = float(facts.metadata[recorded])
        if getattr(selection, threshold) < floor:
            raise ParamsError(
                f"selection.{threshold} is {getattr(selection, threshold)}, below annotation.{recorded} {floor}: pairs "
                "less alike were not recorded; lower the floor too (this recomputes facts)"
            )


def _check_scores(selection: Selection, facts: Artifact) -> None:
    given = facts.metadata["scores"]
    if unknown := sorted(set(selection.score_limits) - set(given)):
        raise ParamsError(
            f"selection.score_limits names {unknown}; the scores of annotation.scores are: {', '.join(given) or 'none'}"
        )


def _ledger(dropped: pl.DataFrame, ingested: dict[str, Artifact]) -> pl.DataFrame:
    """DROPS with the first characters of each row, for people; HIDDEN where the row holds personal data, for the ledger
    stands on pages that may be published. Reads one part of the rows at a time.

    dropped: DROPS without `excerpt`, and `holds_personal_data`.
    """
    files = [file for artifact in ingested.values() for file in parts(artifact.path, "records")]
    places = pl.concat(
        pl.read_parquet(file, columns=list(_PLACE)).with_row_index("position").with_columns(part=pl.lit(number))
        for number, file in enumerate(files)
    ).join(dropped, on=_PLACE, how="semi", maintain_order="left")
    text = pl.concat_str("prompt", pl.lit("\n"), "response").str.strip_chars().str.head(_EXCERPT_CHARS)
    excerpts = [
        pl.read_parquet(files[some["part"][0]], columns=["row_id", "prompt", "response"])[some["position"]].select(
            "row_id", excerpt=text
        )
        for some in places.partition_by("part", maintain_order=True)
    ]
    empty = pl.DataFrame(schema={name: DROPS[name] for name in ("row_id", "excerpt")})
    # By id: a conversation gives several rows of one place.
    by_id = pl.concat([empty, *excerpts]).unique("row_id", keep="any")
    told = dropped.join(by_id, on="row_id", how="left", maintain_order="left", validate="m:1")
    # A contradiction names another row's reference too.
    asked = told.select(pl.col("holds_personal_data") | (pl.col("reason") == "reference_contradictory")).to_series()
    place = asked.arg_true()
    values = without_personal_data(told["value"].gather(place))
    return told.with_columns(
        excerpt=pl.when("holds_personal_data").then(pl.lit(HIDDEN)).otherwise("excerpt"),
        value=told["value"].scatter(place, values),
    ).select(list(DROPS))
