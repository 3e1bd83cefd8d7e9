"""Metrics reach the file that the site reads, and live viewers where they are installed."""

import itertools
import sys
from pathlib import Path
from types import ModuleType

from mmada.training import curve_file, curves
from mmada.training.curve_file import read_curve
from mmada.training.curves import metric_sink
from mmada.training.parallel import World


def test_a_continued_run_replaces_what_lay_past_its_resume_point(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    path = tmp_path / "training" / "stage1.jsonl"
    for step, loss in [(1, 4.0), (2, 3.0), (3, 2.0), (2, 3.5)]:
        metric_sink(str(path), World(0, 2))("run", step, {"loss/lm": loss})
        metric_sink(str(path), World(1, 2))("run", step, {"loss/lm": 0.0})
    assert read_curve(path) == [{"step": 1, "loss/lm": 4.0}, {"step": 2, "loss/lm": 3.5}]


def test_points_of_another_run_go_before_the_first_of_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    path = tmp_path / "stage1.jsonl"
    path.write_text('{"step": 1, "loss/lm": 9.0}\n')  # of the time before lines named their run
    for run, step, loss in [("old", 7, 8.0), ("old", 14, 8.0), ("new", 50, 4.0), ("new", 100, 3.0)]:
        metric_sink(str(path), World(0, 1))(run, step, {"loss/lm": loss})
    assert read_curve(path) == [{"step": 50, "loss/lm": 4.0}, {"step": 100, "loss/lm": 3.0}]


def test_the_file_of_a_long_run_stays_small_even_and_ends_with_its_last_step(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    monkeypatch.setattr(curve_file, "_MOST_LINES", 500)
    path = tmp_path / "stage1.jsonl"
    logged = range(10, 6_001, 10)
    first, second = (metric_sink(str(path), World(0, 1)) for _ in range(2))
    for step in logged:
        (first if step < 4_000 else second)("run", step, {"loss/lm": float(step)})
    points = read_curve(path)
    steps = [point["step"] for point in points]
    assert 250 <= len(steps) <= 500
    assert steps[-1] == 6_000
    assert max(after - before for before, after in itertools.pairwise([0, *steps])) <= 30
    assert all(point["loss/lm"] == point["step"] for point in points)


def test_viewers_go_on_with_a_run_and_begin_anew_with_another(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: name == "tensorboard")
    opened = []

    class Writer:
        def __init__(self, folder, purge_step):
            opened.append((sorted(path.name for path in Path(folder).glob("*")), purge_step))
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"events-{len(opened)}").touch()

        def add_scalar(self, name, value, step):
            pass

        def flush(self):
            pass

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    for run, step in [("old", 5), ("old", 3), ("old", 4), ("new", 1)]:
        metric_sink(str(tmp_path / "stage1.jsonl"), World(0, 1))(run, step, {"loss/lm": 1.0})
    assert opened == [([], 5), ([], 3), (["events-2"], 4), ([], 1)]


def test_dvclive_gets_every_metric_under_its_step_and_makes_no_experiment(tmp_path, monkeypatch):
    made = []

    class Live:
        def __init__(self, folder, **options):
            self.options, self.logged, self.step = options, [], None
            made.append(self)

        def log_metric(self, name, value):
            self.logged.append((self.step, name, value))

        def make_summary(self):
            self.logged.append("written")

    module = ModuleType("dvclive")
    module.Live = Live
    monkeypatch.setitem(sys.modules, "dvclive", module)
    monkeypatch.setattr(curves, "find_spec", lambda name: name == "dvclive")
    metric_sink(str(tmp_path / "stage1.jsonl"), World(0, 1))("run", 7, {"loss/lm": 4.0, "mfu": 0.4})
    assert made[0].logged == [(7, "loss/lm", 4.0), (7, "mfu", 0.4), "written"]
    assert made[0].options["save_dvc_exp"] is False
    assert made[0].options["dvcyaml"] is None
