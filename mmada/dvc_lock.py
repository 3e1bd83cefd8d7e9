"""Files that DVC writes in place, so that a kill can cut them short; it then refuses to run anything."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mmada.storage import atomic_write
from mmada.unit_store import WORK_DIR

_TABLE: Final = Path(".dvc/tmp/rwlock")
"""Who reads and writes what now."""
_LOCKFILE: Final = Path("dvc.lock")
"""What each stage made of what."""
_KEPT: Final = WORK_DIR / "dvc.lock.torn"
_STAGE: Final = re.compile(r"^  [^\s#].*:$", re.MULTILINE)
"""Line of dvc.lock with which a stage's entry begins."""
_WRITING_SECONDS: Final = 1.0
"""A DVC that is alive writes either within a fraction of it."""


def mend_torn_files(project: Path) -> list[str]:
    """Mend what a kill of DVC has cut short, and tell what was done; a file that becomes whole meanwhile stays.

    The table of locks is begun anew. dvc.lock keeps the entries of all stages but the last of those that are left: the
    others did run, so that DVC restores them from its run cache.
    """
    done = []
    if _stays_torn(project / _TABLE, lambda table: isinstance(table, dict)):
        (project / _TABLE).unlink(missing_ok=True)
        done.append(f"removed {_TABLE}, which a kill had cut short")
    if _stays_torn(project / _LOCKFILE, _is_lockfile):
        torn = (project / _LOCKFILE).read_bytes()
        if b"<<<<<<< " in torn:  # two branches that git could not merge: the user's to decide
            return done
        atomic_write(project / _KEPT, torn)
        if kept := _whole_entries(torn.decode(errors="replace")):
            atomic_write(project / _LOCKFILE, kept.encode())
        else:
            (project / _LOCKFILE).unlink()
        done.append(f"cut {_LOCKFILE}, which a kill had cut short, back to its whole entries (as it was: {_KEPT})")
    return done


def _stays_torn(file: Path, is_whole: Callable[[Any], bool]) -> bool:
    until = time.monotonic() + _WRITING_SECONDS
    while True:
        try:
            if is_whole(_parsed(file.read_text("utf-8", errors="replace"))):
                return False
        except FileNotFoundError:
            return False
        if time.monotonic() >= until:
            return True
        time.sleep(0.05)


def _parsed(text: str) -> Any:
    """What a YAML or JSON text says, None where it is neither."""
    try:
        return YAML(typ="safe").load(text)
    except YAMLError:
        return None


def _is_lockfile(content: Any) -> bool:
    return isinstance(content, dict) and "schema" in content and isinstance(content.get("stages"), dict)


def _whole_entries(text: str) -> str:
    """The beginning of a dvc.lock, as far as it holds entries that are followed by another one; "" without any."""
    for end in reversed([match.start() for match in _STAGE.finditer(text)]):
        if _is_lockfile(_parsed(text[:end])):
            return text[:end]
    return ""
