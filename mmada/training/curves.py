"""Where a run's metrics go: a file of JSON lines that the site reads, and live viewers where they are installed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmada.storage import atomic_write
from mmada.training.loop import OnMetrics
from mmada.training.parallel import World


def metric_sink(path: Path, world: World) -> OnMetrics:
    """What takes a run's metrics: the file `path`, and below `live/` beside it dvclive and TensorBoard, if installed.

    Only the first process writes; the metrics of all processes are in what it gets.
    """
    if not world.is_first:
        return lambda step, values: None
    live = path.parent / "live" / path.stem
    sinks: list[OnMetrics] = [_Curves(path)]
    if find_spec("dvclive"):
        sinks.append(_DvcLive(live / "dvclive"))
    if find_spec("tensorboard"):
        sinks.append(_TensorBoard(live / "tensorboard"))

    def to_all(step: int, values: Mapping[str, float]) -> None:
        for sink in sinks:
            sink(step, values)

    return to_all


@dataclass(frozen=True)
class _Curves:
    """Appends metrics to a file; a continued run first drops what lies past its resume point."""

    path: Path

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        earlier = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        kept = [line for line in earlier if json.loads(line)["step"] < step]
        lines = [*kept, json.dumps({"step": step, **values}, sort_keys=True)]
        atomic_write(self.path, ("\n".join(lines) + "\n").encode())


class _DvcLive:
    """Plots that `dvc plots` and its editor extension follow. It makes no experiment and no pipeline file."""

    def __init__(self, folder: Path) -> None:
        from dvclive import Live

        self._live: Any = Live(str(folder), resume=True, save_dvc_exp=False, dvcyaml=None)

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        self._live.step = step
        for name, value in values.items():
            self._live.log_metric(name, value)
        self._live.make_summary()


class _TensorBoard:
    """Scalars for `tensorboard --logdir reports/training/live`."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder))

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
