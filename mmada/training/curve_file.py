"""The file of a run's metrics: a JSON line per logged step, with the run's digest, the step and the metrics by name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_RUN: Final = "run"


def curve_line(run: str, step: int, values: Mapping[str, float]) -> str:
    """The line of a logged step."""
    return json.dumps({_RUN: run, "step": step, **values}, sort_keys=True)


def comes_before(line: str, run: str, step: int) -> bool:
    """Whether a line was written by `run`, before `step`."""
    logged: dict[str, Any] = json.loads(line)
    return logged.get(_RUN) == run and logged["step"] < step


def read_curve(path: Path) -> list[dict[str, float]]:
    """The logged steps; each has `step` and metrics by name."""
    logged = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in one.items() if name != _RUN} for one in logged]
