"""Read what a training run leaves behind for people: its curves, and the pictures it drew on the way."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from mmada.site.thumbnail import thumbnail
from mmada.training.curve_file import read_curve
from mmada.training.sampled_pictures import PROMPTS_FILE

Curve = Sequence[Mapping[str, float]]
"""Logged steps of one run; each has `step` and metrics by name."""

Group = Sequence[Mapping[str, Any]]
"""Answers to one prompt (mmada.training.rollout_log.answer_records)."""

_PICTURE: Final = re.compile(r"step-(\d+)-(\d+)\.png")
_STEPS: Final = 8


@dataclass(frozen=True)
class SampledPictures:
    """What a run drew: `prompts`, and step -> PNG per prompt, in order."""

    prompts: Sequence[str]
    steps: Mapping[int, Sequence[bytes]]


def read_curves(folder: Path) -> dict[str, Curve]:
    """Training stage -> its logged steps, in order of name; empty where nothing was trained."""
    return {path.stem: read_curve(path) for path in sorted(folder.glob("*.jsonl"))}


def read_sampled_pictures(folder: Path) -> SampledPictures | None:
    """The pictures of one run, of at most a few steps from the first to the last; None when there are none."""
    if not (folder / PROMPTS_FILE).is_file():
        return None
    prompts = json.loads((folder / PROMPTS_FILE).read_text(encoding="utf-8"))["prompts"]
    found: dict[int, dict[int, Path]] = {}
    for path in folder.iterdir():
        match = _PICTURE.fullmatch(path.name)
        if match:
            found.setdefault(int(match[1]), {})[int(match[2])] = path
    whole = [step for step in sorted(found) if set(found[step]) == set(range(len(prompts)))]
    return SampledPictures(
        prompts,
        {step: [_read(found[step][number]) for number in range(len(prompts))] for step in _spread(whole)},
    )


def read_rollouts(folder: Path) -> list[Group]:
    """Groups of answers of the first and of the last iteration that a run has logged; empty when there are none."""
    files = sorted(folder.glob("iteration-*.json"))
    return [group for path in dict.fromkeys([*files[:1], *files[-1:]]) for group in json.loads(path.read_bytes())]


def _spread(steps: Sequence[int]) -> list[int]:
    if len(steps) <= _STEPS:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (_STEPS - 1))] for place in range(_STEPS)]


def _read(path: Path) -> bytes:
    with Image.open(path) as image:
        return thumbnail(image)
