"""DVC's table of who reads and writes what: a kill can cut its writing short, and DVC then refuses to run anything."""

import json
import time
from pathlib import Path
from typing import Final

_TABLE: Final = Path(".dvc/tmp/rwlock")
_WRITING_SECONDS: Final = 1.0
"""A DVC that is alive writes the table within milliseconds."""


def remove_torn_lock(project: Path) -> bool:
    """Remove the table if it is no JSON and stays so; DVC begins a new one. Tells whether it was removed."""
    table = project / _TABLE
    until = time.monotonic() + _WRITING_SECONDS
    while _is_torn(table):
        if time.monotonic() >= until:
            table.unlink(missing_ok=True)
            return True
        time.sleep(0.05)
    return False


def _is_torn(table: Path) -> bool:
    try:
        json.loads(table.read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False
