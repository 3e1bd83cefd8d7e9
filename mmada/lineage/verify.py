"""Re-hash everything that an output descends from and name every byte that is not what it was."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmada.contracts.tables import read_table
from mmada.errors import ContractError, InputError, IntegrityError
from mmada.lineage.manifest import MANIFEST_NAME, changed_files, file_sha256, read_artifact
from mmada.lineage.trace import Lineage, Node
from mmada.progress import progress_bar
from mmada.shards.index import INDEX, read_index
from mmada.sources.pinning import object_sha256


@dataclass(frozen=True)
class Finding:
    """A file that is not what its lineage says.

    `changed`: its bytes differ. `missing`: it is not there. `superseded`: the folder now holds another known
    version, so that the old bytes can only be had from the DVC cache (`git checkout <commit> && dvc checkout`).
    """

    state: Literal["changed", "missing", "superseded"]
    path: str
    made_by: str


@dataclass(frozen=True)
class Verification:
    """Result of `verify`: how many files were re-hashed and what was found."""

    num_files: int
    findings: tuple[Finding, ...]


def verify(folder: Path, lineage: Lineage, project: Path) -> Verification:
    """Re-hash `folder`, every output of its lineage, and the raw files, below `project`; row indexes are compared with
    the shards that they were made of.
    """
    root = lineage.nodes[lineage.root]
    num_files = len(root.files)
    findings = _check_folder(folder, root, lineage)
    others = [node for node in lineage.nodes.values() if node.id != root.id]
    with progress_bar("verify outputs", len(others), "output") as bar:
        for node in others:
            num_files += len(node.files)
            findings += _check_folder(project / node.path, node, lineage)
            bar.update()
    raw = lineage.raw_files()
    with progress_bar("verify raw files", len(raw), "file") as bar:
        for path, sha256 in raw:
            found = _raw_sha256(path, project)
            if found != sha256:
                findings.append(Finding("changed" if found else "missing", path, "raw"))
            bar.update()
    return Verification(num_files + len(raw), tuple(findings))


def _raw_sha256(path: str, project: Path) -> str | None:
    """sha256 of a raw file of the project or of an object store; None where it is missing."""
    if not path.startswith("s3://"):
        return file_sha256(project / path) if (project / path).is_file() else None
    try:
        return object_sha256(path)
    except InputError:
        return None


def _check_folder(folder: Path, node: Node, lineage: Lineage) -> list[Finding]:
    try:
        artifact = read_artifact(folder)
    except InputError:
        return [Finding("missing", folder.as_posix(), node.address)]
    except IntegrityError:
        return [Finding("changed", (folder / MANIFEST_NAME).as_posix(), node.address)]
    if artifact.id != node.id:
        known = bool(lineage.store.records(artifact.id))
        path = folder if known else folder / MANIFEST_NAME
        return [Finding("superseded" if known else "changed", path.as_posix(), node.address)]
    changed = [folder / name for name in changed_files(artifact)]
    if artifact.files != node.files:  # the id is that of this manifest, so what is wrong is the record
        changed.append(lineage.store.record_file(node.id))
    found = [Finding("changed", path.as_posix(), node.address) for path in changed]
    return found or _check_rows(folder, node, lineage)


def _check_rows(folder: Path, node: Node, lineage: Lineage) -> list[Finding]:
    """Of a set of shards that is whole: the row index in provenance, by which its raw rows are named."""
    if node.stage != "write_shards":
        return []
    file = lineage.store.rows_file(node.id)
    try:
        is_same = read_table(file, INDEX, "row index").equals(read_index(folder))
    except InputError:
        return [Finding("missing", file.as_posix(), node.address)]
    except ContractError:
        is_same = False
    return [] if is_same else [Finding("changed", file.as_posix(), node.address)]
