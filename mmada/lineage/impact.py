"""Which outputs contain a raw file or a raw row: provenance walked from the raw data towards models and scores.

Only provenance files and row indexes are read, for everything that was ever made and is still recorded: earlier
versions too, because a model that was published yesterday is not undone by today's `dvc repro`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Literal

import polars as pl

from mmada.errors import InputError
from mmada.lineage.provenance import ProvenanceStore

Relation = Literal["contains", "may contain", "descends"]
"""`contains`: made of samples of the raw file or row. `may contain`: the raw file is one that row indexes do not name
(a picture, or a table of which no row was kept), and the output is made of samples of a corpus that read it.
`descends`: influenced in another way: a tokenizer fitted on it, a duplicate judged by it, an item cut from it."""

_STRONGEST_FIRST: Final[tuple[Relation, ...]] = ("contains", "may contain", "descends")
_UNREACHED: Final = len(_STRONGEST_FIRST)
_SAMPLES_COME_BY: Final = {"train": ("shards", "parent"), "evaluate": ("model",)}
"""Stage -> inputs through which samples reach its output; through any other input it only descends."""

_Record = Mapping[str, Any]


@dataclass(frozen=True)
class Affected:
    """An output that the raw data asked for reaches."""

    relation: Relation
    stage: str
    key: str
    id: str
    path: str
    """Folder in the project where it was made; by now it may hold another version."""
    samples: int | None
    """For a set of shards: how many of its samples contain, or may contain, what was asked for; otherwise None."""

    @property
    def address(self) -> str:
        """stage or stage@key."""
        return f"{self.stage}@{self.key}" if self.key else self.stage


@dataclass(frozen=True)
class Impact:
    """What was asked for and every output that it reaches, the strongest relation first, then as they were made."""

    raw_files: Mapping[str, tuple[str, ...]]
    """sha256 -> paths, of the files asked for or of the files that hold the row asked for."""
    affected: tuple[Affected, ...]


def impact(asked: str, store: ProvenanceStore) -> Impact:
    """Everything that a raw file, a folder of raw files (by its path in the project, or a file's sha256) or a row id
    reaches.

    Raises InputError when nothing was made of it, or when no set of shards holds the row; IntegrityError when a row
    index is missing or damaged, so that this cannot be told.
    """
    with store.reading_rows():
        return _impact(asked, store)


def _impact(asked: str, store: ProvenanceStore) -> Impact:
    records = store.all_records()
    read: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for path, sha in record["raw_files"].items():
            read[sha].add(path)
    shards = {record["id"] for record in records if record["stage"] == "write_shards"}
    # Without the statistics in the files, which say little here, and which `verify` does not look at.
    rows = {id_: pl.scan_parquet(store.existing_rows_file(id_), use_statistics=False) for id_ in sorted(shards)}
    name = asked.removeprefix("./").rstrip("/")
    files = {
        sha
        for sha, paths in read.items()
        if name == sha or any(path == name or path.startswith(f"{name}/") for path in paths)
    }
    found: dict[str, pl.DataFrame]
    if files:
        found = {id_: _origins(table, pl.col("file_sha256").is_in(list(files))) for id_, table in rows.items()}
    elif re.fullmatch("[0-9a-f]{64}", name):
        found = {id_: _origins(table.filter(row_id=name), pl.lit(True)) for id_, table in rows.items()}
        files = {sha for origins in found.values() for sha in origins["file_sha256"]}
    if not files:
        raise InputError(_nothing_known(asked, chain.from_iterable(read.values())))
    samples: dict[str, tuple[Relation, int]] = {}
    named = {sha for origins in found.values() for sha in origins["file_sha256"]}
    corpora = {r["key"] for r in records if r["stage"] == "ingest" and (files - named) & set(r["raw_files"].values())}
    for id_, table in rows.items():
        if count := found[id_]["key"].n_unique():
            samples[id_] = ("contains", count)
        elif count := table.filter(pl.col("corpus").is_in(list(corpora))).select(pl.len()).collect().item():
            samples[id_] = ("may contain", count)
    return Impact({sha: tuple(sorted(read[sha])) for sha in sorted(files)}, _reached(records, files, samples))


def _origins(table: pl.LazyFrame, wanted: pl.Expr) -> pl.DataFrame:
    """key, file_sha256 of the samples' raw rows that are wanted."""
    exploded = table.select("key", "row_id", "origins").explode("origins")
    named = exploded.with_columns(pl.col("origins").struct.field("file_sha256"))
    return named.filter(wanted).select("key", "file_sha256").collect()


def _reached(
    records: Sequence[_Record], files: set[str], samples: Mapping[str, tuple[Relation, int]]
) -> tuple[Affected, ...]:
    """Every output that descends from the files, each with its strongest relation.

    Bytes that were made in several ways descend from the files only if every way does: once an output has come out the
    same without them, it owes them nothing. (What a set of shards contains is a matter of its bytes alone.)
    """
    rank = {id_: _STRONGEST_FIRST.index(relation) for id_, (relation, _) in samples.items()}
    ways: dict[str, list[_Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: str(record["finished"])):
        ways[record["id"]].append(record)
    changed = True
    while changed:
        changed = False
        for id_ in [id_ for id_ in ways if id_ not in samples]:
            reached = max(_rank_of_way(way, files, rank) for way in ways[id_])
            if reached < rank.get(id_, _UNREACHED):
                rank[id_], changed = reached, True
    latest = {id_: way[-1] for id_, way in ways.items()}
    order = sorted(rank, key=lambda id_: (rank[id_], latest[id_]["finished"], latest[id_]["stage"], latest[id_]["key"]))
    return tuple(
        Affected(
            relation=_STRONGEST_FIRST[rank[id_]],
            stage=latest[id_]["stage"],
            key=latest[id_]["key"],
            id=id_,
            path=latest[id_]["path"],
            samples=samples[id_][1] if id_ in samples else None,
        )
        for id_ in order
    )


def _rank_of_way(way: _Record, files: set[str], rank: Mapping[str, int]) -> int:
    """Index of the relation in which one way of making an output stands to the files, from those of its inputs."""
    if files & set(way["raw_files"].values()):
        return 0
    carriers = _SAMPLES_COME_BY.get(way["stage"], ())
    weakest = {name: 0 if name in carriers else _STRONGEST_FIRST.index("descends") for name in way["inputs"]}
    return min(
        (max(rank.get(read["id"], _UNREACHED), weakest[name]) for name, read in way["inputs"].items()),
        default=_UNREACHED,
    )


def _nothing_known(asked: str, paths: Iterable[str]) -> str:
    folders = sorted({path.rpartition("/")[0] for path in paths})
    return (
        f"no recorded output was made of {asked!r}. Name a raw file or folder by its path in the project (raw files "
        f"lie in {', '.join(folders[:5])}), a file's sha256, or the id of a row that a set of shards holds (64 hex "
        "digits; rows that were dropped are listed in dropped*.parquet of data/ingested/<corpus> and data/selected)"
    )
