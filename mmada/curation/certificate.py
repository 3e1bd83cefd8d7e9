"""The certificate of decontamination: what was searched for, in which rows, and every match."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import polars as pl

from mmada.contracts.benchmark_items import read_items
from mmada.contracts.facts import BENCHMARK_MATCHES
from mmada.contracts.ingested import parts
from mmada.contracts.records import rows_digest
from mmada.curation.decontaminate import BenchmarkIndex, build_index, find_matches
from mmada.errors import InputError, IntegrityError
from mmada.lineage.manifest import read_artifact

_PIXELS: Final = {"image_sha256": pl.String, "pixels_sha256": pl.String}


def certificate(
    index: BenchmarkIndex,
    matches: pl.DataFrame,
    row_ids: Iterable[pl.Series],
    *,
    benchmarks: Mapping[str, str],
    containment: float,
) -> dict[str, object]:
    """What annotate writes as certificate.json. Equal inputs give an equal certificate, whatever their order.

    row_ids: of all rows that were searched, in parts; benchmarks: key -> id of its items.
    """
    searched = pl.concat([pl.Series(dtype=pl.String), *row_ids]).unique()
    return {
        "index": index.digest,
        "ngram": index.ngram,
        "containment": containment,
        "benchmarks": dict(benchmarks),
        "items": dict(index.items.group_by("benchmark").len().sort("benchmark").iter_rows()),
        "rows_searched": searched.len(),
        "rows_sha256": rows_digest(searched),
        "matches": matches.rows(named=True),
    }


def recheck(
    facts: Path, ingested: Mapping[str, Path], benchmarks: Mapping[str, Path], *, ngram: int, containment: float
) -> list[str]:
    """What is wrong with the certificate in a folder of facts, entry by entry.

    Every row is searched again, by what is asked for here and without any stored result; nothing is wrong if that gives
    the same. ingested, benchmarks: folders by key. Raises InputError when there is no certificate, IntegrityError when
    it is no JSON object.
    """
    try:
        stated = json.loads((facts / "certificate.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{facts} holds no certificate.json; run `dvc repro annotate`") from None
    except ValueError as error:
        raise IntegrityError(f"{facts}/certificate.json is damaged ({error}); run `dvc repro annotate`") from None
    if not isinstance(stated, dict):
        raise IntegrityError(f"{facts}/certificate.json is no JSON object; run `dvc repro annotate`")
    index = build_index(read_items(benchmarks), ngram=ngram)
    matches, row_ids = [pl.DataFrame(schema=pl.Schema(BENCHMARK_MATCHES))], []
    for rows in _rows(ingested.values()):
        matches.append(find_matches(rows, index, containment=containment))
        row_ids.append(rows["row_id"])
    again = certificate(
        index,
        pl.concat(matches).unique().sort("row_id", "benchmark", "item_id"),
        row_ids,
        benchmarks={key: read_artifact(folder).id for key, folder in benchmarks.items()},
        containment=containment,
    )
    return [
        f"{name} is {json.dumps(stated.get(name))[:100]}, searching again gives {json.dumps(value)[:100]}"
        for name, value in again.items()
        if stated.get(name) != value
    ]


def _rows(ingested: Iterable[Path]) -> Iterator[pl.DataFrame]:
    for folder in ingested:
        pictures = [
            pl.read_parquet(file, columns=["image_sha256", "pixels_sha256"]) for file in parts(folder, "pictures")
        ]
        pixels = pl.concat([pl.DataFrame(schema={"image_sha256": pl.String, "pixels_sha256": pl.String}), *pictures])
        for file in parts(folder, "records"):
            rows = pl.read_parquet(file, columns=["row_id", "task", "prompt", "response", "image_sha256"])
            shown = rows.join(pixels, on="image_sha256", how="left", maintain_order="left")
            yield shown.with_columns(pl.col("pixels_sha256").fill_null(""))
