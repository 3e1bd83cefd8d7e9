"""How an output *came to be*: one append-only file per id, beside the data, and never a dependency.

Lineage is provenance joined over ids. Each line of `<id>.jsonl` is one way in which this id was made; making it
again in the same way adds nothing. Row indexes of shards lie in `rows/`, so that rows can be named without shards.
"""

import hashlib
import io
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final

import polars as pl
from polars.exceptions import PolarsError

from mmada.errors import InputError, IntegrityError, one_line
from mmada.git import GitError, git
from mmada.lineage.manifest import Artifact
from mmada.storage import atomic_write, link_or_copy

_TIMES: Final = ("started", "finished")


@dataclass(frozen=True)
class Run:
    """What a stage read and how it was run."""

    stage: str
    key: str
    version: int
    path: str
    """The output's folder, relative to the project."""
    inputs: Mapping[str, tuple[str, str]]
    """Name -> (id, folder relative to the project)."""
    raw_files: Mapping[str, str]
    """Raw file, relative to the project -> sha256."""
    params: Mapping[str, Any]
    started: datetime
    rows: Mapping[str, Any] = field(default_factory=dict)
    """Rows in, rows kept, and rows dropped by reason."""
    events: Mapping[str, Any] = field(default_factory=dict)
    """What happened on the way and shaped the output, such as batches that training skipped."""


@dataclass(frozen=True)
class ProvenanceStore:
    """Provenance files below `root` (a folder of the project)."""

    root: Path

    def append(self, artifact: Artifact, run: Run, *, rows: Sequence[Path] = ()) -> None:
        """Record how `artifact` came to be. `rows`: the parts (parquet) of its row index, kept under its id."""
        record = {
            "id": artifact.id,
            "stage": run.stage,
            "key": run.key,
            "version": run.version,
            "path": run.path,
            "files": dict(artifact.files),
            "inputs": {name: {"id": id_, "path": path} for name, (id_, path) in sorted(run.inputs.items())},
            "raw_files": dict(sorted(run.raw_files.items())),
            "params": run.params,
            "rows": dict(run.rows),
            **({"events": dict(run.events)} if run.events else {}),
            "code": _code_version(self.root),
            "environment": _environment(),
            "started": run.started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        earlier = self.records(artifact.id)
        if not any(_without_times(known) == _without_times(record) for known in earlier):
            self._write(artifact.id, [*earlier, record])
        if rows and not self.rows_file(artifact.id).exists():
            stream = io.BytesIO()
            pl.read_parquet(list(rows)).write_parquet(stream)
            atomic_write(self.rows_file(artifact.id), stream.getvalue())

    def records(self, id_: str) -> list[dict[str, Any]]:
        """Every known way in which `id_` was made, oldest first; empty when it is unknown here."""
        try:
            text = self.record_file(id_).read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        try:
            return [json.loads(line) for line in text.split("\n") if line]  # names may hold other ends of lines
        except ValueError as error:
            raise self.damaged(id_, error) from None

    def damaged(self, id_: str, error: Exception) -> IntegrityError:
        """What to raise where the records of `id_` do not say what they must."""
        why = f"{type(error).__name__}: {one_line(error)}"
        return IntegrityError(
            f"{self.record_file(id_)} is damaged, or another version wrote it ({why}); restore it from git, "
            f"or from a backup: it says how {id_} was made"
        )

    def merge(self, other: "ProvenanceStore") -> None:
        """Add what `other` knows and this store does not; nothing is taken away from either."""
        for file in sorted(other.root.rglob("*")):
            if file.suffix == ".jsonl":
                self._add_records(file)
            elif file.is_file() and not file.name.startswith(".") and not (mine := self._mine(file, other)).exists():
                link_or_copy(file, mine)

    def _mine(self, file: Path, other: "ProvenanceStore") -> Path:
        return self.root / file.relative_to(other.root)

    def _add_records(self, file: Path) -> None:
        known, new = self.records(file.stem), ProvenanceStore(file.parent).records(file.stem)
        merged = known + [record for record in new if record not in known]
        if len(merged) > len(known):
            self._write(file.stem, merged)

    def _write(self, id_: str, records: list[dict[str, Any]]) -> None:
        lines = [json.dumps(record, sort_keys=True, ensure_ascii=False) for record in records]
        atomic_write(self.record_file(id_), ("\n".join(lines) + "\n").encode())

    def all_records(self) -> list[dict[str, Any]]:
        """Every known way in which anything was made, by id, oldest first within an id.

        Raises InputError when there is no provenance here.
        """
        ids = sorted(path.stem for path in self.root.glob("*.jsonl"))
        if not ids:
            raise InputError(
                f"{self.root} holds no provenance: run inside the project (or name it with --project), with its "
                "provenance pulled"
            )
        return [record for id_ in ids for record in self.records(id_)]

    def existing_rows_file(self, id_: str) -> Path:
        """`rows_file` of a set of shards that was made; IntegrityError when it is not here."""
        path = self.rows_file(id_)
        if not path.exists():
            raise IntegrityError(
                f"the row index {path} is missing; restore it (`git checkout` or `dvc pull`) and run again"
            )
        return path

    @contextmanager
    def reading_rows(self) -> Iterator[None]:
        """Around whatever reads row indexes. Raises IntegrityError when one of them cannot be read."""
        try:
            yield
        except PolarsError as error:
            raise IntegrityError(
                f"a row index in {self.root / 'rows'} is damaged ({one_line(error)}); `mmada verify` of a model says "
                "which, `git checkout` or `dvc pull` restores it"
            ) from None

    def rows_file(self, id_: str) -> Path:
        """Row index of a set of shards (parquet): sample key, row id, raw rows."""
        return self.root / "rows" / f"{id_}.parquet"

    def record_file(self, id_: str) -> Path:
        """How an id was made: a line per way."""
        return self.root / f"{id_}.jsonl"


def _without_times(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _TIMES}


def _code_version(root: Path) -> dict[str, str]:
    """Commit, and for a dirty tree the sha256 of its patch, which is kept in `patches/`.

    dvc.lock and the provenance itself are left out: they are written by the very run that is recorded.
    """
    written = ["dvc.lock", *([] if root.is_absolute() else [root.as_posix()])]
    try:
        commit = git(Path(), "rev-parse", "HEAD").strip()
        diff = git(Path(), "diff", "HEAD", "--binary", "--", ".", *(f":(exclude){path}" for path in written))
    except GitError:
        return {"commit": "", "patch": ""}
    if not diff:
        return {"commit": commit, "patch": ""}
    patch = diff.encode("utf-8", "surrogateescape")
    digest = hashlib.sha256(patch).hexdigest()
    target = root / "patches" / f"{digest}.patch"
    if not target.exists():
        atomic_write(target, patch)
    return {"commit": commit, "patch": digest}


def _pin(distribution: Distribution) -> str:
    """`name==version`. Only the head of the metadata is read: parsing all of them would cost every stage a second."""
    head = (distribution.read_text("METADATA") or "").partition("\n\n")[0]
    found = {key: value.strip() for key, _, value in (line.partition(":") for line in head.splitlines())}
    return f"{found.get('Name')}=={found.get('Version')}"


def _environment() -> dict[str, Any]:
    """Interpreter, processor kind and the digest of the installed distributions."""
    installed = sorted(_pin(distribution) for distribution in distributions())
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "packages_sha256": hashlib.sha256("\n".join(installed).encode()).hexdigest(),
    }
