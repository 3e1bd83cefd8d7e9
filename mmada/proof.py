"""Whether training in stages is worth its steps: each later stage beside a control that goes on as it began.

The control continues the first stage, with its objective and data, for as many steps as all later stages take together.
All of it is done for several seeds: the project's own run is the first, the others train every stage anew, each in a
project of its own below `.mmada/proof` (mmada.side_project).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from mmada.errors import InputError, ParamsError
from mmada.evaluation.compare import SCORES_FILE, correct_by_item, scores_of
from mmada.evaluation.metrics import crossed_interval
from mmada.params_schema import PARAMS_FILE, Params, parse_params
from mmada.side_project import SHARED, make_side_project, shared_folders
from mmada.stage_runner import run_stage
from mmada.storage import atomic_write
from mmada.unit_store import WORK_DIR

CONTROL: Final = "control"
_SEEDS_APART: Final = 1000
"""Between the seeds of two runs: further than those of the stages of one."""


@dataclass(frozen=True)
class Mean:
    """Share of correct items over all seeds, its 95 % interval (for other seeds and items), and that of each seed."""

    share: float
    low: float
    high: float
    seeds: list[float]


@dataclass(frozen=True)
class Gain:
    """A stage minus the control, in shares of items, paired by seed and item; its 95 % interval (as of a Mean)."""

    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What may be said of it."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no difference seen"


@dataclass(frozen=True)
class BenchmarkProof:
    """One benchmark. `means`: by checkpoint; `gains`: by later stage; `blind`: of the baselines that see no input."""

    benchmark: str
    items: int
    means: Mapping[str, Mean]
    gains: Mapping[str, Gain]
    blind: Mapping[str, float]


@dataclass(frozen=True)
class Proof:
    """`steps` that the control trained after the first stage; `folder`: where everything lies."""

    seeds: int
    steps: int
    benchmarks: list[BenchmarkProof]
    folder: str


def prove(params: Params, *, seeds: int) -> Proof:
    """Train and evaluate what is missing, seed by seed, and compare. Writes `report.json` and `report.txt`.

    A run that was killed goes on where it was. Raises ParamsError when there is one training stage only or one is
    called like the control, InputError when the project's own stages are not evaluated, and what the stages raise.
    """
    stages = list(params.training)
    if len(stages) < 2 or CONTROL in stages:
        raise ParamsError(f"a proof needs two training stages or more, none of them called {CONTROL!r}; has: {stages}")
    for stage in stages:
        if not (Path(params.paths.scores) / stage / SCORES_FILE).is_file():
            raise InputError(f"{params.paths.scores}/{stage} has no scores; run `dvc repro` first")
    folder = WORK_DIR / "proof"
    runs = [_SeedRun(folder / f"seed-{number}", number) for number in range(seeds)]
    for run in runs:
        run.make(params)
    scores = [run.folder / params.paths.scores for run in runs]
    result = Proof(
        seeds=seeds,
        steps=_control(params)["max_steps"],
        benchmarks=[_compared(name, scores, stages) for name in params.benchmarks],
        folder=folder.as_posix(),
    )
    atomic_write(folder / "report.json", (json.dumps(asdict(result), indent=1, sort_keys=True) + "\n").encode())
    atomic_write(folder / "report.txt", ("\n".join(report_lines(result)) + "\n").encode())
    return result


def _control(params: Params) -> dict[str, Any]:
    """The first stage's block, gone on with; rates, batches and steps are those of the stages it stands against."""
    (first, block), (_, second), *_ = params.training.items()
    later = list(params.training.values())[1:]
    control = block.model_dump(mode="json")
    control |= second.model_dump(mode="json", include={"optimiser", "grad_accumulation", "ema_decay", "seed"})
    if block.masked_prediction is not None and second.masked_prediction is not None:
        control["masked_prediction"]["batch_size"] = second.masked_prediction.batch_size
    return control | {"init": first, "max_steps": sum(one.max_steps for one in later), "publish_every": 0}


@dataclass(frozen=True)
class _SeedRun:
    """A project in which all stages and the control have one seed; number 0 has the project's own models."""

    folder: Path
    number: int

    def params(self, project: Params) -> Params:
        """The project's, with other seeds and the control."""
        raw = project.model_dump(mode="json")
        raw["training"][CONTROL] = _control(project)
        raw["model"]["seed"] += self.number * _SEEDS_APART
        for block in raw["training"].values():
            block["seed"] += self.number * _SEEDS_APART
            block["publish_every"] = block["publish_every"] if self.number == 0 else 0
        decoding = raw["evaluation"]["decoding"]
        decoding[CONTROL] = decoding.get(next(iter(project.training)), decoding["default"])
        return parse_params(raw, f"{PARAMS_FILE} for a proof")

    def make(self, project: Params) -> None:
        """Models and scores of all stages and of the control."""
        params, own = self.params(project), ("models", "scores") if self.number == 0 else ()
        shared = shared_folders(project, (*SHARED, "selected", "gate", "shards", *own))
        make_side_project(self.folder, params, shared, params.training, project)
        with chdir(self.folder):
            run_stage(f"write_shards@{CONTROL}", params)
            if self.number:
                run_stage("init_model", params)
            for stage in params.training if self.number else (CONTROL,):
                run_stage(f"train@{stage}", params)
                run_stage(f"evaluate@{stage}", params)


def _compared(benchmark: str, scores: Sequence[Path], stages: Sequence[str]) -> BenchmarkProof:
    first, *later = stages
    correct = {name: _correct(benchmark, [folder / name for folder in scores]) for name in (*stages, CONTROL)}
    body = scores_of(scores[0] / later[-1])["benchmarks"][benchmark]
    return BenchmarkProof(
        benchmark=benchmark,
        items=correct[first].shape[1],
        means={name: _mean(table) for name, table in correct.items()},
        gains={name: _gain(correct[name], correct[CONTROL]) for name in later},
        blind={name: body[name]["share"] for name in ("constant", "permuted")},
    )


def _correct(benchmark: str, folders: Sequence[Path]) -> Float[np.ndarray, "seeds items"]:
    """The share of right answers to each item, in order of items."""
    return np.array([correct_by_item(folder, benchmark) for folder in folders])


def _mean(correct: Float[np.ndarray, "seeds items"]) -> Mean:
    low, high = crossed_interval(correct)
    return Mean(float(correct.mean()), max(0.0, low), min(1.0, high), correct.mean(1).tolist())


def _gain(stage: Float[np.ndarray, "seeds items"], control: Float[np.ndarray, "seeds items"]) -> Gain:
    difference = stage - control
    return Gain(float(difference.mean()), *crossed_interval(difference))


def report_lines(proof: Proof) -> Iterator[str]:
    """The report as text."""
    covered = "over seeds and items" if proof.seeds > 1 else "over items (how seeds differ shows with two or more)"
    yield (
        f"Share of correct held-out items, {proof.seeds} seeds, 95 % intervals {covered}; the control goes on with "
        f"the first stage for {proof.steps:,} steps, as many as the later stages take"
    )
    for one in proof.benchmarks:
        blind = ", ".join(f"{name} {share:.1%}" for name, share in one.blind.items())
        yield f"{one.benchmark} ({one.items} items; {blind})"
        for name, mean in one.means.items():
            seeds = " ".join(f"{share:.1%}" for share in mean.seeds)
            yield f"  {name:10s} {mean.share:6.1%} ({mean.low:.1%} to {mean.high:.1%}); seeds {seeds}"
        for name, gain in one.gains.items():
            points = f"{100 * gain.difference:+.1f} points ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
            yield f"  {name} - {CONTROL}: {points}: {gain.verdict}"
    yield f"Everything lies in {proof.folder}"
