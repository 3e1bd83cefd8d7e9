"""Where a run's metrics go: a file of JSON lines that the site reads, and live viewers where they are installed."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmada.errors import InputError
from mmada.storage import Storage, open_storage
from mmada.training.curve_file import comes_before, curve_line
from mmada.training.loop import OnMetrics
from mmada.training.parallel import World


def metric_sink(place: str, world: World) -> OnMetrics:
    """What takes a run's metrics: the file `place` (a path, or s3://bucket/key), and for a path, below `live/` beside
    it, dvclive and TensorBoard, if installed.

    Only the first process writes; the metrics of all processes are in what it gets.
    """
    if not world.is_first:
        return lambda run, step, values: None
    folder, _, name = place.rpartition("/")
    curves = _Curves(open_storage(folder), name)
    viewers: list[_DvcLive | _TensorBoard] = []
    live = Path(folder) / "live" / Path(name).stem
    if not place.startswith("s3://") and find_spec("dvclive"):
        viewers.append(_DvcLive(live / "dvclive"))
    if not place.startswith("s3://") and find_spec("tensorboard"):
        viewers.append(_TensorBoard(live / "tensorboard"))

    def to_all(run: str, step: int, values: Mapping[str, float]) -> None:
        curves(run, step, values)
        for viewer in viewers:
            viewer(step, values)

    return to_all


@dataclass(frozen=True)
class _Curves:
    """Appends metrics to a file; first goes what a continued run logged past its resume point, and what another run of
    the stage left.
    """

    storage: Storage
    name: str

    def __call__(self, run: str, step: int, values: Mapping[str, float]) -> None:
        kept = [line for line in self._earlier() if comes_before(line, run, step)]
        lines = [*kept, curve_line(run, step, values)]
        self.storage.write(self.name, ("\n".join(lines) + "\n").encode())

    def _earlier(self) -> list[str]:
        try:
            return self.storage.read(self.name).decode().splitlines()
        except InputError:  # the first line is to come
            return []


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
