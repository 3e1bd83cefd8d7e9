"""What may be asked for: an id, the beginning of one, or the place of a raw row."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from mmada.errors import InputError
from mmada.lineage.manifest import MANIFEST_NAME
from mmada.params_schema import Params

MIN_DIGITS: Final = 6
_ID: Final = re.compile(rf"[0-9a-f]{{{MIN_DIGITS},64}}")
_PLACE: Final = re.compile(r"([^/]+)/(.+):(\d{1,18})", re.DOTALL)
_NAMED: Final = 5


@dataclass(frozen=True)
class Place:
    """A raw row: corpus, file below its folder, 0-based row in it."""

    corpus: str
    source_file: str
    row: int


def parse_row(asked: str) -> str | Place:
    """The beginning of a row_id, or the place of a raw row (`captions/captions.jsonl:17`). Raises InputError."""
    if place := _PLACE.fullmatch(asked):
        return Place(place[1], place[2], int(place[3]))
    return parse_id(asked, "row_id", ", or a row's place, such as captions/captions.jsonl:17")


def parse_id(asked: str, name: str, otherwise: str = "") -> str:
    """The beginning of an id. Raises InputError that says what an id looks like, or what to give `otherwise`."""
    if not _ID.fullmatch(asked):
        raise InputError(
            f"{asked!r} is no {name}: give its 64 hex digits, or at least the first {MIN_DIGITS}{otherwise}"
        )
    return asked


def begins_with(column: str, start: str) -> pl.Expr:
    """Whether an id begins with these digits, said so that the statistics of sorted tables can answer it."""
    return pl.col(column).is_between(pl.lit(start), pl.lit(f"{start}g"), closed="left")


def not_ingested(corpora: Iterable[str], params: Params) -> str:
    """What a message about something that was not found adds where some of these corpora were not ingested yet."""
    waiting = [name for name in corpora if not (Path(params.paths.ingested) / name / MANIFEST_NAME).is_file()]
    return f"; not ingested yet: {', '.join(waiting)} (run `dvc repro ingest`)" if waiting else ""


def only_one(found: Sequence[str], asked: str, name: str, where: str) -> str:
    """The one id that was found. Raises InputError when there is none, or when `asked` begins several."""
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"no {name} begins with {asked} in {where}")
    several = ", ".join(sorted(found)[:_NAMED])
    raise InputError(
        f"{asked} begins {len(found)} ids ({several}{', ...' if len(found) > _NAMED else ''}); give more digits"
    )
