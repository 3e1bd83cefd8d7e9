"""Files of raw corpora, wherever they lie: an adapter asks for a name, a size, a digest and a stream."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Final, Protocol

from mmada.errors import InputError, UnreadableError
from mmada.lineage.manifest import file_sha256
from mmada.sources.pins import SUFFIX, read_pins

_BUFFER: Final = 1 << 17
"""Bytes read at once: lines of a kilobyte are read three times as fast as with the usual eight."""


class RawFile(Protocol):
    """One file of a corpus; small, hashable, and sent to workers as it is.

    What is asked of it, and what reads from its stream, raises InputError when it is gone or another by now,
    UnreadableError or StorageError when its disk or store fails: none of these is a defect of what it holds.
    """

    @property
    def name(self) -> str:
        """Its place below the corpus's root, with '/'."""
        ...

    @property
    def location(self) -> str:
        """What provenance calls it: a path from the project's root, or an address."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def sha256(self) -> str:
        """sha256 of its bytes, 64 hex digits."""
        ...

    def state(self) -> str:
        """What changes whenever its bytes do, found without reading them; "" where they cannot change."""
        ...

    def open(self) -> BufferedReader:
        """Its bytes as a buffered stream that can seek."""
        ...


class RawFolder(Protocol):
    """The files of a corpus, known by name."""

    def files(self, pattern: str) -> Sequence[RawFile]:
        """Files whose name matches a glob pattern ('**' crosses folders), sorted by name.

        Raises InputError for a name that is no text, and for a link to nothing.
        """
        ...

    def find(self, name: str) -> RawFile | None:
        """The file of this name, None where there is none."""
        ...


@dataclass(frozen=True)
class LocalFile:
    """A file below the folder `root`."""

    root: Path
    name: str

    @cached_property
    def path(self) -> Path:
        """Where it lies."""
        return self.root / self.name

    @cached_property
    def location(self) -> str:
        return self.path.as_posix()

    @property
    def size(self) -> int:
        with _faults_of_the_machine(self):
            return self.path.stat().st_size

    def sha256(self) -> str:
        with _faults_of_the_machine(self):
            return file_sha256(self.path)

    def state(self) -> str:
        """Size, inode, and when its content or its inode changed last. The last no program can set: a file that was
        edited and got its old time back is in another state.
        """
        with _faults_of_the_machine(self):
            stat = self.path.stat()
        return f"{self.location} {stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}"

    def open(self) -> BufferedReader:
        with _faults_of_the_machine(self):
            return BufferedReader(_Disk(self), _BUFFER)


class _Disk(FileIO):
    """The bytes of a file, whose reader need not know what a disk may raise."""

    def __init__(self, file: LocalFile) -> None:
        super().__init__(file.path)
        self._file = file

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed: any buffer
        with _faults_of_the_machine(self._file):
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with _faults_of_the_machine(self._file):
            return super().readall()


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine."""

    root: Path

    def files(self, pattern: str) -> list[LocalFile]:
        names = [path.relative_to(self.root).as_posix() for path in self.root.glob(pattern) if _is_file(path)]
        # By folder, then name, as paths compare; texts do it in a tenth of their time.
        return [LocalFile(self.root, name) for name in sorted(names, key=lambda name: name.split("/"))]

    def find(self, name: str) -> LocalFile | None:
        file = LocalFile(self.root, name)
        with _faults_of_the_machine(file):
            try:
                return file if file.path.is_file() else None
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    return None
                raise


def changed_meanwhile(file: RawFile) -> InputError:
    """What is raised when a file is no longer what was hashed."""
    return InputError(f"{file.location} changed while it was being read; run again when nothing writes to it")


def _is_file(path: Path) -> bool:
    """Whether a path below a corpus is a file. Raises as RawFolder.files."""
    if not path.is_file():
        if path.is_symlink() and not path.exists():  # left out, its rows would be missing without a word
            raise InputError(f"{path} is a link to nothing; fetch what it stands for, or delete it")
        return False
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"the name {str(path)!r} is no UTF-8; rename it") from None
    return True


@contextmanager
def _faults_of_the_machine(file: LocalFile) -> Iterator[None]:
    """Adapters take an OSError for a defect of what a file holds (decoders raise it), and a defect is kept for good."""
    try:
        yield
    except FileNotFoundError:
        what = f"{file.location} is gone, and was there when this run began"
        raise InputError(f"{what}; put it back where all machines that read it can see it, and run again") from None
    except OSError as error:
        what = f"{file.location} cannot be read ({error.strerror})"
        raise UnreadableError(f"{what}; mend that and run again", error.errno) from error


def read_whole(file: RawFile) -> bytes:
    """All bytes of a file."""
    with file.open() as stream:
        return stream.read()


def open_corpus(path: Path, pattern: str, where: str) -> tuple[RawFolder, Sequence[RawFile]]:
    """The folder of a corpus and the files of it to read: `path` itself when it is a file, else what `pattern` matches
    below it, or among the objects that a pins file names.

    Raises InputError when there is nothing, and as RawFolder.files; `where` names the entry of params.yaml.
    """
    if path.name.endswith(SUFFIX):
        return _matching(read_pins(path), path, pattern, where)
    if path.is_file():
        return LocalFolder(path.parent), [LocalFile(path.parent, path.name)]
    if path.parts[:1] == ("s3:",):
        wanted = f"`mmada pin s3://<bucket>/<prefix> data/raw/<corpus>{SUFFIX}` writes the file to name there"
        raise InputError(f"{where}.path is an address of an object store; {wanted}")
    if not path.exists():
        raise InputError(f"{where}.path: {path} does not exist; run `dvc pull` to fetch it, or put the raw data there")
    return _matching(LocalFolder(path), path, pattern, where)


def _matching(folder: RawFolder, path: Path, pattern: str, where: str) -> tuple[RawFolder, Sequence[RawFile]]:
    files = folder.files(pattern)
    if not files:
        raise InputError(f"{where}.files: no file below {path} matches {pattern!r}; mend the pattern or the path")
    return folder, files
