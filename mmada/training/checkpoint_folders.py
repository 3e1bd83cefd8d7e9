"""Where published checkpoints lie: one folder each, named by the beginning of its id."""

from pathlib import Path
from typing import Final

from mmada.lineage.manifest import MANIFEST_NAME

_ID_LENGTH: Final = 16


def checkpoint_folder(folder: Path, id_: str) -> Path:
    """Where a checkpoint lies below the folder of all published ones."""
    return folder / id_[:_ID_LENGTH]


def published_checkpoints(folder: Path) -> list[Path]:
    """Folders of all whole checkpoints below `folder`, sorted; those that are being written are left out."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST_NAME}") if not path.parent.name.startswith("."))
