"""A few samples of every set of shards with the raw rows that they came from, and what those rows say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from mmada.contracts.ingested import read_pictures, read_records
from mmada.lineage.trace import Lineage
from mmada.site.thumbnail import thumbnail_of_file

_PER_CORPUS: Final = 2


@dataclass(frozen=True)
class ShardSample:
    """One sample. `origins`: its raw rows (contracts.records.ORIGIN); `record`: the row as ingest read it.

    `record` is None where this row is no longer among the ingested ones; `picture` is a PNG, empty without one.
    """

    key: str
    corpus: str
    task: str
    origins: Sequence[Mapping[str, Any]]
    record: Mapping[str, Any] | None
    picture: bytes


@dataclass(frozen=True)
class ShardRows:
    """How many samples a set of shards holds, from how many raw rows, and a few of them from every corpus."""

    num_samples: int
    num_raw_rows: int
    samples: Sequence[ShardSample]


def shard_rows(lineages: Sequence[Lineage], ingested: Sequence[Path]) -> dict[str, ShardRows]:
    """Id of a set of shards -> its rows, for all sets in `lineages`; sets without a row index are left out."""
    tables: dict[str, pl.DataFrame] = {}
    for lineage in lineages:
        ids = [node.id for node in lineage.of_stage("write_shards")]
        if set(ids) <= set(tables):
            continue
        if all(lineage.store.rows_file(id_).exists() for id_ in ids):  # else the page shows no rows of this lineage
            tables |= dict(zip(ids, lineage.raw_rows(), strict=True))
    chosen = {id_: rows.group_by("corpus", maintain_order=True).head(_PER_CORPUS) for id_, rows in tables.items()}
    wanted = pl.concat([rows.select("row_id") for rows in chosen.values()]) if chosen else pl.DataFrame({"row_id": []})
    records = _records(ingested, set(wanted.get_column("row_id")))
    pictures = _pictures(ingested, {record["image_sha256"] for record in records.values()} - {""})
    return {
        id_: ShardRows(
            rows.height,
            int(rows.get_column("origins").list.len().sum()),
            [_sample(row, records.get(row["row_id"]), pictures) for row in chosen[id_].iter_rows(named=True)],
        )
        for id_, rows in tables.items()
    }


def _sample(row: Mapping[str, Any], record: Mapping[str, Any] | None, pictures: Mapping[str, bytes]) -> ShardSample:
    picture = b"" if record is None else pictures.get(record["image_sha256"], b"")
    return ShardSample(row["key"], row["corpus"], row["task"], row["origins"], record, picture)


def _records(ingested: Sequence[Path], row_ids: set[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for folder in ingested:
        chosen = read_records(folder, f"records of {folder}", wanted=row_ids)
        found |= {row["row_id"]: row for row in chosen.iter_rows(named=True)}
    return found


def _pictures(ingested: Sequence[Path], image_sha256s: set[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for folder in ingested:
        chosen = read_pictures(folder, f"pictures of {folder}", wanted=image_sha256s - set(found))
        for sha256, data in chosen.select("image_sha256", "bytes").iter_rows():
            found[sha256] = thumbnail_of_file(data)
    return found
