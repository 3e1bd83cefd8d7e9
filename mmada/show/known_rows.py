"""A row by its id or by its place in a raw file: what it says, where it came from, what became of it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from mmada.contracts.facts import STORED_FACTS, facts_part
from mmada.contracts.ingested import FILES, FILES_NAME, STORED_RECORDS, parts, same_part
from mmada.contracts.records import DROPS, SELECTED
from mmada.errors import InputError
from mmada.params_schema import Params
from mmada.shards.index import INDEX, index_parts
from mmada.show.asked import Place, begins_with, not_ingested, only_one, parse_row
from mmada.show.known_pictures import Picture, picture_of_row
from mmada.show.part_index import parts_with_ids, parts_with_place
from mmada.show.scanning import FILE, rows_of

_PLACE: Final = ("corpus", "source_file", "row")
_TEXT: Final = ("task", "kind", "prompt", "response", "reference", "source", "licence")


@dataclass(frozen=True)
class Row:
    """One row, or (with row_id "") a raw row that ingest could not read.

    `record`: its content; `origins`: every raw row with that content, each with its file's sha256 and `fate` ("kept",
    "not selected yet", or the stage, reason and value that dropped it); `remarks`: see _remarks; `facts`: FACTS
    without what other fields say; `shards`: where it lies in which training stage's shards. `not_made`: stages that
    have not made their part yet.
    """

    row_id: str
    record: Mapping[str, Any]
    origins: Sequence[Mapping[str, Any]]
    remarks: Sequence[str]
    picture: Picture | None
    facts: Mapping[str, Any]
    shards: Sequence[Mapping[str, Any]]
    not_made: Sequence[str]


def find_rows(asked: Sequence[str], params: Params) -> list[Row]:
    """A row for each of `asked` (see asked.parse_row). Raises InputError for what is unknown or not unique."""
    wanted = [parse_row(one) for one in asked]
    known = _ids(wanted, params)
    return [_find(one, given, known, params) for one, given in zip(wanted, asked, strict=True)]


def only_picture(rows: Sequence[Row]) -> Picture:
    """The one picture that rows show. Raises InputError when they show none, or several."""
    pictures = {row.picture.image_sha256: row.picture for row in rows if row.picture is not None}
    if len(pictures) != 1:
        raise InputError(
            f"these rows show {len(pictures)} pictures, and one can be written; ask for one row that has one"
        )
    return next(iter(pictures.values()))


def _ids(wanted: Sequence[str | Place], params: Params) -> pl.DataFrame:
    """Every stored row that any of the ids could mean, found in one pass: its id, place and FILE."""
    starts = [one for one in wanted if isinstance(one, str)]
    folders = [Path(params.paths.ingested) / corpus for corpus in params.corpora]
    files = [file for folder in folders for file in parts_with_ids(folder, starts)] if starts else []
    meant = pl.any_horizontal(False, *(begins_with("row_id", start) for start in starts))
    return rows_of(files, STORED_RECORDS, meant, ["row_id", *_PLACE])


def _find(wanted: str | Place, asked: str, known: pl.DataFrame, params: Params) -> Row:
    if isinstance(wanted, str):
        found = known.filter(begins_with("row_id", wanted))["row_id"].unique().to_list()
        unread = "; rows that ingest could not read have no id: ask for corpus/file:row"
        waiting = not_ingested(params.corpora, params)
        row_id = only_one(found, asked, "row_id", f"{params.paths.ingested}{unread}{waiting}")
        return _read_row(row_id, known.filter(row_id=row_id), params)
    if wanted.corpus not in params.corpora:
        raise InputError(f"{asked!r}: no corpus is called {wanted.corpus!r}; params.yaml has {sorted(params.corpora)}")
    folder = Path(params.paths.ingested) / wanted.corpus
    here = _is_at(vars(wanted))
    files = parts_with_place(folder, wanted.source_file, wanted.row)
    if (stored := rows_of(files, STORED_RECORDS, here, ["row_id"])).height:
        row_id = _of_one_row(list(stored["row_id"].unique(maintain_order=True)), asked)
        return _read_row(row_id, _ids([row_id], params), params)
    if (dropped := rows_of(parts(folder, "dropped"), DROPS, here)).height:
        return _unread_row(dropped.row(0, named=True), params)
    why = not_ingested([wanted.corpus], params) or ", neither read nor dropped; rows count from 0 in each file"
    raise InputError(f"{asked!r}: {folder} has no such row{why}")


def _of_one_row(ids: Sequence[str], asked: str) -> str:
    """The id of a raw row. Raises InputError where it gave several rows, as the exchanges of a conversation are."""
    if len(ids) > 1:
        raise InputError(f"{asked!r} gave {len(ids)} rows; ask for one of them by its id:\n  " + "\n  ".join(ids))
    return ids[0]


def _unread_row(drop: Mapping[str, Any], params: Params) -> Row:
    sha256 = _file_sha256s(pl.DataFrame([drop]), params)[drop["corpus"], drop["source_file"]]
    origin = {**{name: drop[name] for name in _PLACE}, "file_sha256": sha256, "fate": _fate("ingest", drop)}
    return Row("", {"excerpt": drop["excerpt"]}, [origin], [], None, {}, [], [])


def _read_row(row_id: str, places: pl.DataFrame, params: Params) -> Row:
    """Everything known of a row that is stored at these places."""
    first = places.row(0, named=True)
    is_it = pl.col("row_id") == row_id
    record = rows_of([Path(first[FILE])], STORED_RECORDS, is_it).row(0, named=True)
    not_made = []
    picture = picture_of_row(record["image_sha256"], Path(first[FILE]), params) if record["image_sha256"] else None
    if picture is not None and picture.codes is None:
        not_made.append("tokenize_images")
    file = Path(params.paths.facts) / facts_part(first["corpus"], Path(first[FILE]))
    facts = rows_of([file], STORED_FACTS, is_it).drop(FILE).rows(named=True)
    others = {*STORED_RECORDS, "file_sha256"} | (set() if picture is None else set(picture.facts))
    origins, is_selected = _origins(row_id, places, params)
    shards = _shards(row_id, params)
    not_made += [] if facts else ["annotate"]
    not_made += [] if is_selected else ["select"]
    not_made += [] if Path(params.paths.shards).is_dir() else ["write_shards"]
    return Row(
        row_id,
        {name: record[name] for name in _TEXT},
        origins,
        _remarks(places),
        picture,
        {name: value for name, value in (facts[0] if facts else {}).items() if name not in others},
        shards,
        not_made,
    )


def _origins(row_id: str, places: pl.DataFrame, params: Params) -> tuple[list[dict[str, Any]], bool]:
    """The raw rows with their fates, and whether selection has seen the row."""
    selected, same = Path(params.paths.selected), pl.col("row_id") == row_id
    kept = rows_of([selected / "selected.parquet"], SELECTED, same, ["corpus"])
    dropped = rows_of([selected / "dropped.parquet"], DROPS, same)
    drops = defaultdict[tuple[Any, ...], list[str]](list)  # several of a place: an exchange that is there twice
    for row in dropped.rows(named=True):
        drops[tuple(row[name] for name in _PLACE)].append(_fate("select", row))
    sha256 = _file_sha256s(places, params)
    otherwise = "kept" if kept.height else "not selected yet"
    origins = []
    for place in places.select(_PLACE).rows(named=True):
        fates = drops[tuple(place.values())]
        file_sha256 = sha256[place["corpus"], place["source_file"]]
        origins.append({**place, "file_sha256": file_sha256, "fate": fates.pop() if fates else otherwise})
    return origins, bool(kept.height or dropped.height)


def _fate(stage: str, drop: Mapping[str, Any]) -> str:
    return f"dropped by {stage}: {drop['reason']} ({drop['value']})"


def _remarks(places: pl.DataFrame) -> list[str]:
    """What ingest noted of these raw rows, and what else of them it dropped, such as exchanges of a conversation."""
    noted = [f"{drop['reason']}: {drop['value']}" for drop in _beside(places, "noted")]
    return noted + [f"another row of it was {_fate('ingest', drop)}" for drop in _beside(places, "dropped")]


def _beside(places: pl.DataFrame, kind: str) -> list[dict[str, Any]]:
    """Reasons and values (DROPS) of one kind of part for the raw rows at these places, each once."""
    records = [Path(file) for file in places[FILE].unique().sort()]
    files = [file.with_name(same_part(file, kind)) for file in records]
    found = rows_of(files, DROPS, pl.col("row").is_in(places["row"].implode()), [*_PLACE, "reason", "value"])
    ours = found.join(places, on=_PLACE, how="semi")
    return ours.select("reason", "value").unique(maintain_order=True).rows(named=True)


def _shards(row_id: str, params: Params) -> list[dict[str, Any]]:
    found = []
    for folder in sorted(Path(params.paths.shards).glob("*/")):
        rows = rows_of(index_parts(folder), INDEX, pl.col("row_id") == row_id, ["key", "shard", "offset", "length"])
        found += [{"stage": folder.name, **row} for row in rows.drop(FILE).rows(named=True)]
    return found


def _is_at(place: Mapping[str, Any]) -> pl.Expr:
    return pl.all_horizontal(pl.col(name) == place[name] for name in _PLACE)


def _file_sha256s(places: pl.DataFrame, params: Params) -> dict[tuple[str, str], str]:
    """(corpus, file) -> sha256 of the raw files of these places."""
    found = {}
    for corpus, name in places.select("corpus", "source_file").unique().rows():
        files = Path(params.paths.ingested) / corpus / FILES_NAME
        (row,) = rows_of([files], FILES, pl.col("source_file") == name, ["file_sha256"]).rows(named=True)
        found[corpus, name] = row["file_sha256"]
    return found
