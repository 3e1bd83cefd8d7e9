"""Where published checkpoints lie: one folder each, named by the beginning of its id."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from mmada.errors import InputError
from mmada.lineage.manifest import MANIFEST_NAME, Artifact, read_artifact
from mmada.storage import link_tree, settle

_ID_LENGTH: Final = 16


def checkpoint_folder(folder: Path, id_: str) -> Path:
    """Where a checkpoint lies below the folder of all published ones."""
    return folder / id_[:_ID_LENGTH]


def published_checkpoints(folder: Path) -> list[Path]:
    """Folders of all whole checkpoints below `folder`, sorted; those that are being written are left out."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST_NAME}") if not path.parent.name.startswith("."))


def keep_checkpoint(source: Path, folder: Path) -> Path:
    """Put the whole model folder `source` among the published ones (links, where possible); returns its place.

    A kill leaves nothing half under a final name; keeping it again changes nothing. Raises InputError when the files of
    `source` are not those that its manifest names, as when it is being removed.
    """
    artifact = read_artifact(source)
    target = checkpoint_folder(folder, artifact.id)
    if not target.exists():
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(FileNotFoundError):  # removed in the meantime: what has come is not whole
            link_tree(source, partial)
        if not _is_whole(partial, artifact):
            shutil.rmtree(partial, ignore_errors=True)
            raise InputError(
                f"{source} holds other files than its {MANIFEST_NAME} names, so it is not kept as a checkpoint; delete "
                "it, and make it again or restore it (`dvc repro`, `dvc checkout`)"
            )
        settle(partial, target)
    return target


def remove_checkpoint(folder: Path) -> None:
    """Remove a checkpoint, if it is there: first its final name, so that nobody finds it without its weights."""
    aside = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(aside, ignore_errors=True)  # left by a kill
    with suppress(OSError):  # what cannot be removed, or was removed by another process, costs a run nothing
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _is_whole(folder: Path, artifact: Artifact) -> bool:
    """Whether names and sizes of the files are those of the manifest, which came too."""
    found = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return found.pop(MANIFEST_NAME, None) is not None and found == artifact.sizes
