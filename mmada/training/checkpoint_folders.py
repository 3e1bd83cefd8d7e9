"""Where published checkpoints lie: one folder each, named by the beginning of its id."""

import os
import shutil
from pathlib import Path
from typing import Final

from mmada.lineage.manifest import MANIFEST_NAME, read_artifact
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

    A kill leaves nothing half under a final name; keeping it again changes nothing.
    """
    target = checkpoint_folder(folder, read_artifact(source).id)
    if not target.exists():
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        link_tree(source, partial)
        settle(partial, target)
    return target
