"""Named data versions: git tags `data/<name>` at commits that hold everything which made the data, and their profile.

A profile says how the rows are distributed; the gate compares later versions with it (`gate.reference`).
"""

import json
import re
from pathlib import Path
from typing import Final

from mmada.errors import InputError, ParamsError
from mmada.git import GitError, git
from mmada.lineage.manifest import open_artifact
from mmada.params_data import NO_REFERENCE, VERSION_NAME
from mmada.params_schema import Params
from mmada.sources import hub_pins, pins
from mmada.storage import atomic_write

TAG_PREFIX: Final = "data/"
_COMMITTED: Final = ("params.yaml", "dvc.yaml", "dvc.lock", "models.yaml")


def promote(name: str, params: Params) -> str:
    """Name the selected rows of the project in the current folder, and commit their profile; returns the tag.

    Raises InputError when the data did not pass the gate, what made them is not committed, or the name is taken;
    GitError when git refuses, as it does where there is no repository.
    """
    refused_by_git = ".." in name or name.endswith((".", ".lock"))  # as a tag, when its profile is committed already
    if not re.match(VERSION_NAME, name) or name == NO_REFERENCE or refused_by_git:
        raise InputError(
            f"{name!r} is no name of a data version: lower-case letters, digits, '.', '_' and '-', not "
            f"{NO_REFERENCE!r}, without '..', and without '.' or '.lock' at the end"
        )
    selected = open_artifact(Path(params.paths.selected))
    gate = open_artifact(Path(params.paths.gate))  # it exists only for data that passed
    if gate.metadata["selected"] != selected.id:
        raise InputError(f"{gate.path} let other rows pass than {selected.path} holds; run `dvc repro validate`")
    _check_committed(params)
    tag = TAG_PREFIX + name
    if git(Path(), "tag", "--list", tag).strip():
        raise InputError(f"the data version {name!r} exists already; choose another name (`git tag --list 'data/*'`)")
    _commit_profile(name, gate.path / "profile.json", Path(params.paths.profiles))
    body = json.dumps({"selected": selected.id, "gate": gate.id}, indent=1, sort_keys=True)
    git(Path(), "tag", "--annotate", tag, "--message", f"Data version {name}", "--message", body)
    return tag


def _commit_profile(name: str, source: Path, folder: Path) -> None:
    target = folder / f"{name}.json"
    atomic_write(target, source.read_bytes())
    git(Path(), "add", "--", target.as_posix())
    if git(Path(), "status", "--porcelain", "--", target.as_posix()):  # nothing, where an earlier try committed it
        message = f"Profile of the data version {name}"
        git(Path(), "commit", "--quiet", "--only", "--message", message, "--", target.as_posix())


def data_versions(project: Path) -> list[str]:
    """Names of all data versions, newest first; none where git knows nothing."""
    try:
        tags = git(project, "tag", "--list", f"{TAG_PREFIX}*", "--sort=-creatordate").splitlines()
    except GitError:
        return []
    return [tag.removeprefix(TAG_PREFIX) for tag in tags]


def check_reference(params: Params) -> None:
    """Raises ParamsError where `gate.reference` has no profile: `dvc repro` would end at the gate."""
    profiles = Path(params.paths.profiles)
    if not (profiles / f"{params.gate.reference}.json").is_file():
        known = sorted(path.stem for path in profiles.glob("*.json"))
        raise ParamsError(
            f"gate.reference is {params.gate.reference!r}, which has no profile in {profiles}; it has: "
            f"{', '.join(known) or 'nothing'}. `mmada promote` writes one, `git checkout` brings one back"
        )


def _pointers(params: Params) -> list[str]:
    """Files that say which raw data were read: pins of corpora that lie elsewhere, and DVC's of those that lie here."""
    read = [corpus.path for corpus in params.corpora.values()] + [held.path for held in params.benchmarks.values()]
    paths = list(map(Path, read))
    pinned = [path for path in paths if path.name.endswith((pins.SUFFIX, hub_pins.SUFFIX))]
    tracked = [place for path in paths for one in (path, *path.parents) if (place := Path(f"{one}.dvc")).is_file()]
    return sorted({path.as_posix() for path in (*pinned, *tracked)})


def _check_committed(params: Params) -> None:
    wanted = [*_COMMITTED, params.paths.provenance, *_pointers(params)]
    if open_changes := git(Path(), "status", "--porcelain", "--", *wanted).strip():
        raise InputError(
            "what made these data is not committed, so the name would not lead back to them:\n"
            f"{open_changes}\nRun `git add {' '.join(wanted)} && git commit`, then promote again"
        )
