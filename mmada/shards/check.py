"""Whatever can be wrong with a set of shards, found with file and offset: held against manifest and index, and walked
through as if there were neither (`walk`).
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from mmada.contracts.tables import read_table
from mmada.errors import InputError, MmadaError
from mmada.lineage.manifest import MANIFEST_NAME, file_sha256, read_artifact
from mmada.processes import Processes
from mmada.shards.index import INDEX, index_name
from mmada.shards.plain import is_plain
from mmada.shards.walk import Finding, FoundSample, walk
from mmada.workers import num_workers

_WORTH_PROCESSES: Final = 100_000_000
"""Bytes from which on processes of their own save more time than they take to start."""

_Task = tuple[Path, str, str]
"""Folder and name of a shard, and its sha256, empty if that is not known."""

_Checked = tuple[list[Finding], list[tuple[str, int]]]
"""What is wrong with a shard, and the keys of its samples with their offsets."""


def check_shards(folder: Path) -> list[Finding]:
    """Everything that is wrong with the shards in `folder`, by file and offset; nothing when they are whole.

    Raises InputError when there is no manifest or it is that of another output, IntegrityError when it is not readable.
    """
    artifact = read_artifact(folder)
    if artifact.stage != "write_shards":
        raise InputError(f"{folder} is an output of {artifact.stage}, not of write_shards: name a folder of shards")
    sha256 = artifact.files
    present = {path.name for path in folder.iterdir()} - {MANIFEST_NAME}
    shards = sorted(name for name in present if name.endswith(".tar"))
    findings = list(_check_names(sha256, present, shards))
    findings += [
        Finding(name, 0, f"its sha256 is not that of {MANIFEST_NAME}")
        for name in sorted(present & sha256.keys() - set(shards))
        if file_sha256(folder / name) != sha256[name]
    ]
    holder: dict[str, str] = {}
    for shard, (found, keys) in zip(shards, _check_all(folder, sha256, shards), strict=True):
        again = [(key, offset) for key, offset in keys if key in holder]
        findings += [*found, *(Finding(shard, at, f"key {key!r} is in {holder[key]} too") for key, at in again)]
        holder |= {key: shard for key, _ in keys}
    return sorted(findings, key=lambda finding: (finding.file, finding.offset))


def _check_names(sha256: Mapping[str, str], present: set[str], shards: Sequence[str]) -> Iterator[Finding]:
    """Files that are missing or too many; every shard has its part of the index, and every part its shard."""
    parts = {index_name(shard): shard for shard in shards}
    for name in sorted(sha256.keys() - present):
        yield Finding(name, 0, "is missing")
    for name in sorted(present - sha256.keys()):
        yield Finding(name, 0, f"is not in {MANIFEST_NAME}")
    for name in sorted(name for name in present if name.endswith(".parquet") and name not in parts):
        yield Finding(name, 0, "is a part of the index without a shard")


def _check_all(folder: Path, sha256: Mapping[str, str], shards: Sequence[str]) -> Iterator[_Checked]:
    """Other processes begin with the first shards as soon as they have started, this one at once with the last ones."""
    tasks: list[_Task] = [(folder, shard, sha256.get(shard, "")) for shard in shards]
    if num_workers() == 1 or sum((folder / shard).stat().st_size for shard in shards) < _WORTH_PROCESSES:
        yield from map(_check_shard, tasks)
        return
    others = Processes(_check_elsewhere, num_workers() - 1)
    with ThreadPoolExecutor(others.slots) as threads, closing(others):
        checking = [threads.submit(others, task) for task in tasks]
        from_the_last = reversed(list(zip(tasks, checking, strict=True)))
        own = [_check_shard(task) for task, other in from_the_last if other.cancel()]
        yield from (own.pop() if other.cancelled() else _unpacked(other.result()) for other in checking)


def _check_elsewhere(task: _Task) -> bytes:
    findings, keys = _check_shard(task)
    return json.dumps([[astuple(finding) for finding in findings], keys]).encode()


def _unpacked(result: bytes) -> _Checked:
    findings, keys = json.loads(result)
    return [Finding(*finding) for finding in findings], [(key, offset) for key, offset in keys]


def _check_shard(task: _Task) -> _Checked:
    folder, shard, sha256 = task
    data = (folder / shard).read_bytes()
    findings: list[Finding] = []
    if sha256 not in ("", hashlib.sha256(data).hexdigest()):
        findings.append(Finding(shard, 0, f"its sha256 is not that of {MANIFEST_NAME}"))
    try:
        index = read_table(folder / index_name(shard), INDEX, "shard index")
    except MmadaError as error:
        findings.append(Finding(index_name(shard), 0, str(error)))
        index = None
    if index is not None and is_plain(shard, data, index):
        return findings, list(index.select("key", "offset").iter_rows())
    samples = list(walk(shard, data, findings))
    if index is not None:
        findings += _check_index(shard, data, samples, index.rows(named=True))
    return findings, [(sample.key, sample.offset) for sample in samples]


def _check_index(
    shard: str, data: bytes, samples: Sequence[FoundSample], index: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Where the shard does not hold what its part of the index says; the first sample that is elsewhere ends this."""
    for row, sample in zip_longest(index, samples):
        if row is None:
            yield Finding(shard, sample.offset, f"sample {sample.key!r} is not in the index")
            return
        offset, length = row["offset"], row["length"]
        if sample is None or (sample.key, sample.offset) != (row["key"], offset):
            there = "nothing" if sample is None else f"{sample.key!r} at byte {sample.offset}"
            yield Finding(shard, offset, f"the index says sample {row['key']!r} is here, the shard holds {there}")
            return
        said = {"length": length, "shard": row["shard"], **{name: row[name] for name in ("task", "corpus", "row_id")}}
        held = {"length": sample.end - offset, "shard": shard, "task": sample.task, "corpus": sample.corpus}
        held["row_id"] = sample.row_id
        wrong = [f"{name} {said[name]!r}, not {held[name]!r}" for name in said if held[name] not in ("", said[name])]
        if wrong:
            yield Finding(shard, offset, f"of sample {row['key']!r} the index says {', '.join(wrong)}")
        if zlib.crc32(data[offset : offset + length]) != row["crc32"]:
            yield Finding(shard, offset, f"the bytes of sample {row['key']!r} are not those that the index was made of")
