"""Where a run's metrics go: a file of JSON lines that the site reads, and live viewers where they are installed."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmada.errors import InputError
from mmada.storage import Storage, open_storage
from mmada.training.curve_file import curve_line, lines_of, thinned
from mmada.training.loop import OnMetrics
from mmada.training.parallel import World


def metric_sink(place: str, world: World) -> OnMetrics:
    """What takes a run's metrics: the file `place` (a path, or s3://bucket/key), and for a path, below `live/` beside
    it, dvclive and TensorBoard, if installed. The viewers get every point, the file is thinned as it grows.

    Only the first process writes; the metrics of all processes are in what it gets.
    """
    if not world.is_first:
        return lambda run, step, values: None
    folder, _, name = place.rpartition("/")
    curves = _Curves(open_storage(folder), name)
    viewers: list[_DvcLive | _TensorBoard] = []
    live = Path(folder) / "live" / Path(name).stem

    def to_all(run: str, step: int, values: Mapping[str, float]) -> None:
        if curves.lines is None:
            goes_on = curves.begin(run, step)
            if not place.startswith("s3://"):
                viewers.extend(_viewers(live, step, goes_on=goes_on))
        curves.add(run, step, values)
        for viewer in viewers:
            viewer(step, values)

    return to_all


@dataclass
class _Curves:
    """The file of a run's metrics. `lines`: step -> line, None before the first is to be written."""

    storage: Storage
    name: str
    lines: dict[int, str] | None = None

    def begin(self, run: str, step: int) -> bool:
        """Keep what this run logged before `step`, where it goes on; whether there is any. Lines past it, and those of
        another run of the stage, go.
        """
        try:
            logged = lines_of(run, self.storage.read(self.name))
        except InputError:  # the first line is to come
            logged = {}
        self.lines = {earlier: line for earlier, line in logged.items() if earlier < step}
        return bool(self.lines)

    def add(self, run: str, step: int, values: Mapping[str, float]) -> None:
        self.lines = thinned({**(self.lines or {}), step: curve_line(run, step, values)})
        self.storage.write(self.name, "".join(f"{line}\n" for line in self.lines.values()).encode())


def _viewers(folder: Path, step: int, *, goes_on: bool) -> "Iterator[_DvcLive | _TensorBoard]":
    """Those that are installed; what another run left there goes first."""
    if not goes_on:
        shutil.rmtree(folder, ignore_errors=True)
    if find_spec("dvclive"):
        yield _DvcLive(folder / "dvclive")
    if find_spec("tensorboard"):
        yield _TensorBoard(folder / "tensorboard", step)


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
    """Scalars for `tensorboard --logdir reports/training/live`; those from `step` on that an earlier process left are
    not shown any more.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=step)

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
