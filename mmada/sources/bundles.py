"""Small files are read one by one and written together: ten thousand files of a few rows make a hundred parts.

A bundle ends by the name of its last file, so that a file that comes or goes changes one bundle and no other; what the
others in it hold is taken from the results of their spans, which are kept.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import polars as pl

from mmada.contracts.ingested import STORED_RECORDS
from mmada.contracts.records import DROPS, PICTURES, Schema
from mmada.contracts.tables import from_parquet, to_parquet
from mmada.sources.record_parts import COUNTS, NAMES, RecordTask, SpanPictures, pack_parts, read_record_parts
from mmada.sources.units import RowTask
from mmada.unit_files import pack_files, unpack_files
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import LateUnit, Unit

_SMALL_SHARE: Final = 25
"""A span is small that holds fewer rows than this part of a full one."""
_FILES: Final = 64
"""Small files of a bundle on average."""

_TABLES: Final[dict[str, Schema]] = {"records": STORED_RECORDS, "dropped": DROPS, "noted": DROPS}


@dataclass(frozen=True)
class BundleTask:
    """Spans to be written together, each as the result of its unit or, where that is not known, to be read."""

    members: tuple[bytes | RecordTask, ...]
    pictures_per_part: int


PartTask = RecordTask | BundleTask


@dataclass(frozen=True)
class Bundle:
    """Consecutive spans that make one part of the ingested folder; nearly always one."""

    members: Sequence[Unit[RecordTask]]

    @property
    def key(self) -> str:
        """Key of the unit that makes the part."""
        keys = [member.key for member in self.members]
        return keys[0] if len(keys) == 1 else unit_key("bundle", keys)

    def unread(self, store: UnitStore) -> list[Unit[PartTask]]:
        """Units of small spans that are to be read before the bundle is made."""
        # Whether it is whole shows when it is read; a damaged one is made again of its members.
        if len(self.members) == 1 or store.path(self.key).is_file():
            return []
        return [Unit(member.key, member.payload) for member in self.members]

    def unit(self, store: UnitStore) -> Unit[PartTask] | LateUnit[PartTask]:
        """The unit that makes the part."""
        if len(self.members) == 1:
            return Unit(self.key, self.members[0].payload)
        return LateUnit(self.key, partial(_gather, self.members, store))

    def unit_with_pictures(self, pictures: SpanPictures) -> Unit[PartTask]:
        """The same when the pictures that its rows name are known."""
        found = pictures.facts.select("image", "image_sha256", "reason", "value").rows()
        first, *others = (member.payload for member in self.members)
        tasks = [replace(first, pictures=pictures)]
        tasks += [replace(other, pictures=SpanPictures(pictures.facts, {})) for other in others]
        task = BundleTask(tuple(tasks), first.pictures_per_part) if others else tasks[0]
        return Unit(unit_key(self.key, found, list(pictures.new)), task)


def bundle_spans(units: Sequence[Unit[RecordTask]], rows_per_unit: int) -> Iterator[Bundle]:
    """All spans of a corpus in their order, small ones in bundles."""
    small: list[Unit[RecordTask]] = []
    for unit in units:
        span = unit.payload.rows.span
        if not 0 < span.rows * _SMALL_SHARE < rows_per_unit:
            if small:
                yield Bundle(small)
            small = []
            yield Bundle([unit])
            continue
        small.append(unit)
        if int(hashlib.sha256(span.file.name.encode("utf-8", "surrogatepass")).hexdigest()[:8], 16) % _FILES == 0:
            yield Bundle(small)
            small = []
    if small:
        yield Bundle(small)


def read_parts(task: PartTask) -> bytes:
    """The files of a span (see record_parts.read_record_parts), or of all spans of a bundle together."""
    if isinstance(task, RecordTask):
        return read_record_parts(task)
    results = [read_record_parts(member) if isinstance(member, RecordTask) else member for member in task.members]
    return _together([unpack_files(result) for result in results], task.pictures_per_part)


def confirm_part(task: PartTask, confirm: Callable[[RowTask], None]) -> None:
    """Call `confirm` with all that a part was read from."""
    for member in [task] if isinstance(task, RecordTask) else task.members:
        if isinstance(member, RecordTask):
            confirm(member.rows)


def _gather(members: Sequence[Unit[RecordTask]], store: UnitStore) -> PartTask:
    results = tuple(store.get(member.key) or member.payload for member in members)
    return BundleTask(results, members[0].payload.pictures_per_part)


def _together(files: Sequence[dict[str, bytes]], pictures_per_part: int) -> bytes:
    if any(NAMES in own for own in files):
        names = dict.fromkeys(name for own in files for name in json.loads(own.get(NAMES, b"[]")))
        return pack_files({NAMES: json.dumps(list(names), ensure_ascii=False).encode()})
    merged = {}
    for name, schema in _TABLES.items():
        tables = [from_parquet(own[name]) for own in files if name in own]
        if tables:
            merged[name] = to_parquet(pl.concat(tables), schema)
    inside = (own[name] for own in files for name in sorted(own) if name.startswith("pictures"))
    distinct = pl.concat([pl.DataFrame(schema=pl.Schema(PICTURES)), *map(from_parquet, inside)])
    distinct = distinct.unique("image_sha256", keep="first", maintain_order=True)
    counts = [json.loads(own[COUNTS]) for own in files]
    return pack_parts(
        merged,
        distinct.iter_slices(pictures_per_part),
        kept=sum(own["kept"] for own in counts),
        dropped=sum((Counter(own["dropped"]) for own in counts), Counter()),
        noted=sum((Counter(own["noted"]) for own in counts), Counter()),
    )
