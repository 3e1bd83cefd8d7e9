"""Read the reports that stages leave behind."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Report = Mapping[str, Any]


def read_reports(folder: Path) -> dict[str, Report]:
    """Stage address -> its report (mmada.stage_report), in order of name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
