"""The file of a run's metrics: a JSON line per logged step, with the run's digest, the step and the metrics by name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_RUN: Final = "run"
_MOST_LINES: Final = 1000
"""More than a picture shows, and little enough to be written anew with each line, to an object store too."""


def curve_line(run: str, step: int, values: Mapping[str, float]) -> str:
    """The line of a logged step."""
    return json.dumps({_RUN: run, "step": step, **values}, sort_keys=True)


def thinned(lines: Mapping[int, str]) -> dict[int, str]:
    """Step -> line, the last of every so many steps: the least power of two that leaves a thousand lines or fewer."""
    apart = 1
    while max(lines, default=0) // apart >= _MOST_LINES:
        apart *= 2
    return dict({step // apart: (step, lines[step]) for step in sorted(lines)}.values())


def lines_of(run: str, data: bytes) -> dict[int, str]:
    """Step -> line, of those that `run` has written."""
    lines = data.decode().splitlines()
    logged: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return {one["step"]: line for one, line in zip(logged, lines, strict=True) if one.get(_RUN) == run}


def read_curve(path: Path) -> list[dict[str, float]]:
    """The logged steps; each has `step` and metrics by name."""
    logged = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in one.items() if name != _RUN} for one in logged]
