"""What an output *is*: its files with sha256 and size. The manifest's own sha256 is the output's id.

A manifest holds no time, commit, host or history: equal content has an equal id, whoever made it and when.
"""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mmada.errors import InputError, IntegrityError
from mmada.storage import atomic_write

MANIFEST_NAME: Final = "manifest.json"


@dataclass(frozen=True)
class Artifact:
    """An output folder together with what its manifest says."""

    path: Path
    id: str
    stage: str
    key: str
    files: Mapping[str, str]
    """File name (posix, relative) -> sha256."""
    metadata: Mapping[str, Any]
    sizes: Mapping[str, int] = field(default_factory=dict)
    """File name -> bytes."""


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(
    folder: Path, *, stage: str, key: str = "", version: int, metadata: Mapping[str, object]
) -> Artifact:
    """Hash every file of `folder` and write its manifest.json; returns the artifact with its id.

    The stage's key is part of what an output is: a training stage that moves no weight is still not its parent.
    """
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = sorted(name for name in found if name != MANIFEST_NAME)
    with ThreadPoolExecutor() as pool:
        hashed = pool.map(lambda name: file_sha256(folder / name), names)
    files = {
        name: {"sha256": sha256, "bytes": (folder / name).stat().st_size}
        for name, sha256 in zip(names, hashed, strict=True)
    }
    body = {"stage": stage, "key": key, "version": version, "files": files, "metadata": dict(metadata)}
    text = json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    atomic_write(folder / MANIFEST_NAME, text.encode())
    return read_artifact(folder)


def read_artifact(folder: Path) -> Artifact:
    """What the manifest of `folder` says, without looking at the files.

    Raises InputError when there is no output here, IntegrityError when the manifest is not readable.
    """
    path = folder / MANIFEST_NAME
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder} holds no finished output (no {MANIFEST_NAME}); run `dvc repro`, or `dvc pull` to fetch it"
        ) from None
    try:
        body = json.loads(text)
        files = {str(name): str(entry["sha256"]) for name, entry in body["files"].items()}
        sizes = {str(name): int(entry["bytes"]) for name, entry in body["files"].items()}
        stage, key, metadata = str(body["stage"]), str(body["key"]), dict(body["metadata"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} is damaged ({error}); delete {folder} and run `dvc repro`") from None
    return Artifact(folder, hashlib.sha256(text).hexdigest(), stage, key, files, metadata, sizes)


def changed_files(artifact: Artifact) -> list[str]:
    """Names of files of an artifact that are missing, changed, or not in its manifest."""
    present = {p.relative_to(artifact.path).as_posix() for p in artifact.path.rglob("*") if p.is_file()}
    unlisted = sorted(present - set(artifact.files) - {MANIFEST_NAME})
    changed = [
        name
        for name, sha256 in artifact.files.items()
        if name not in present or file_sha256(artifact.path / name) != sha256
    ]
    return changed + unlisted


def open_artifact(folder: Path) -> Artifact:
    """An output that is about to be read: every file is re-hashed first.

    Raises InputError when it is not there, IntegrityError naming the files whose bytes are not the manifest's.
    """
    artifact = read_artifact(folder)
    changed = changed_files(artifact)
    if changed:
        raise IntegrityError(
            f"{folder}: {len(changed)} files differ from {MANIFEST_NAME}: {', '.join(changed[:5])}; "
            f"delete {folder} and run `dvc repro` (or `dvc checkout`) to restore it"
        )
    return artifact
