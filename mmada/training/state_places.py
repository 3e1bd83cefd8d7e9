"""Where the resume states of a run lie: in a folder, or in an object store that machines without one disk share.

A state is a set of files under a name, one of which (STATE) is written last and says that it is whole.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from mmada.storage import atomic_write, exclusive, open_storage, settle
from mmada.unit_store import WORK_DIR

STATE: Final = "state.json"
_PARTIAL: Final = ".partial"
_SCRATCH: Final = WORK_DIR / "states"


class StatePlace(Protocol):
    """The states of one run. All processes of the run see the same ones."""

    look_seconds: float
    """Between two looks for files of other processes."""

    def newest(self) -> str | None:
        """Name of the newest whole state."""

    def described(self, name: str) -> dict[str, Any]:
        """What STATE says."""

    def opened(self, name: str) -> Path:
        """Folder that holds the files of a whole state."""

    def begin(self, name: str) -> None:
        """Forget what an earlier try has left of a state. One process calls it, before any puts a file there."""

    def folder(self, name: str) -> Path:
        """Folder into which this process writes its files of a state that has begun."""

    def put(self, name: str, files: Sequence[str]) -> None:
        """These files of this process are written, the last one after all others."""

    def holds(self, name: str, files: Sequence[str]) -> bool:
        """Whether these files of all processes are there."""

    def finish(self, name: str, said: dict[str, Any]) -> None:
        """All files are there: the state is whole, and older ones go. One process calls it."""


def open_states(place: Path | str) -> StatePlace:
    """States at `place`: a folder that all processes share, or s3://bucket/prefix."""
    return StoredStates(str(place)) if str(place).startswith("s3://") else FolderStates(Path(place))


class FolderStates:
    """States are folders; one that is being written has another name."""

    look_seconds = 0.01

    def __init__(self, root: Path) -> None:
        self._root = root

    def newest(self) -> str | None:
        states = (path for path in self._root.glob("step-*") if path.suffix != _PARTIAL)
        return max((path.name for path in states if (path / STATE).is_file()), default=None)

    def described(self, name: str) -> dict[str, Any]:
        return _parsed((self._root / name / STATE).read_bytes())

    def opened(self, name: str) -> Path:
        return self._root / name

    def begin(self, name: str) -> None:
        shutil.rmtree(self.folder(name), ignore_errors=True)
        self.folder(name).mkdir(parents=True)

    def folder(self, name: str) -> Path:
        return self._root / f"{name}{_PARTIAL}"

    def put(self, name: str, files: Sequence[str]) -> None:
        """They are there already."""

    def holds(self, name: str, files: Sequence[str]) -> bool:
        return all((self.folder(name) / file).exists() for file in files)

    def finish(self, name: str, said: dict[str, Any]) -> None:
        atomic_write(self.folder(name) / STATE, json.dumps(said, sort_keys=True).encode())
        target = self._root / name
        shutil.rmtree(target, ignore_errors=True)
        self.folder(name).rename(target)
        for other in self._root.glob("step-*"):
            if other != target:
                shutil.rmtree(other)


class StoredStates:
    """States are objects `<name>/<file>` below `url`; a folder of this machine holds what is written or read."""

    look_seconds = 0.5

    def __init__(self, url: str) -> None:
        self._storage = open_storage(url)
        self._here = _SCRATCH / hashlib.sha256(url.encode()).hexdigest()[:16]

    def newest(self) -> str | None:
        names = (name.split("/") for name in self._storage.names("step-"))
        return max((step for step, file in names if file == STATE), default=None)

    def described(self, name: str) -> dict[str, Any]:
        return _parsed(self._storage.read(f"{name}/{STATE}"))

    def opened(self, name: str) -> Path:
        whole = self._here / name
        with exclusive(self._here / "lock"):  # once for all processes of this machine
            if not whole.exists():
                partial = self._here / f"{name}.fetched"
                shutil.rmtree(partial, ignore_errors=True)
                for file in self._storage.names(f"{name}/"):
                    self._storage.download(file, partial / file.removeprefix(f"{name}/"))
                settle(partial, whole)
        return whole

    def begin(self, name: str) -> None:
        self._delete(name)

    def folder(self, name: str) -> Path:
        folder = self._here / f"{name}.written"
        folder.mkdir(parents=True, exist_ok=True)
        for other in set(self._here.glob("step-*")) - {folder}:  # all processes are done with it
            shutil.rmtree(other, ignore_errors=True)
        return folder

    def put(self, name: str, files: Sequence[str]) -> None:
        folder = self.folder(name)
        for file in files:
            self._storage.upload(f"{name}/{file}", folder / file)
            (folder / file).unlink()

    def holds(self, name: str, files: Sequence[str]) -> bool:
        return {f"{name}/{file}" for file in files} <= set(self._storage.names(f"{name}/"))

    def finish(self, name: str, said: dict[str, Any]) -> None:
        self._storage.write(f"{name}/{STATE}", json.dumps(said, sort_keys=True).encode())
        for other in {found.partition("/")[0] for found in self._storage.names("step-")} - {name}:
            self._delete(other)

    def _delete(self, name: str) -> None:
        """STATE first: what is left of a state is not whole."""
        for file in (f"{name}/{STATE}", *self._storage.names(f"{name}/")):
            self._storage.delete(file)


def _parsed(text: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(text)
    return said
