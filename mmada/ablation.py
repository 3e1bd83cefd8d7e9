"""What one filter of selection is worth: the same stage trained with and without it, compared item by item.

Each arm is a project of its own below `.mmada/ablations` (mmada.side_project), made by the stages themselves; it shares
with this one everything that comes before selection, and the parent's weights.
"""

import json
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import polars as pl

from mmada.curation.select import REASONS
from mmada.errors import InputError, ParamsError
from mmada.evaluation.compare import Comparison, compare, scores_of
from mmada.evaluation.score_store import holm
from mmada.lineage.manifest import Artifact, read_artifact
from mmada.params_data import GateOverride
from mmada.params_schema import PARAMS_FILE, Params, parse_params
from mmada.shards.index import read_index
from mmada.side_project import make_side_project, shared_folders
from mmada.stage_runner import run_stage
from mmada.stages.validate import gate_checks
from mmada.storage import atomic_write
from mmada.unit_store import WORK_DIR

FALSE_DIFFERENCES: Final = 0.05
"""Share of ablations of a filter without effect in which a difference is seen on any benchmark."""


@dataclass(frozen=True)
class Effect:
    """A benchmark: shares of right answers with the filter and without it. `comparison`: with minus without, paired;
    `p_value`: that of all benchmarks together, by Holm's method.
    """

    benchmark: str
    share_with: float
    share_without: float
    comparison: Comparison
    p_value: float

    @property
    def is_seen(self) -> bool:
        """Whether chance explains the difference so rarely that one may speak of it."""
        return self.p_value <= FALSE_DIFFERENCES and self.comparison.side != 0


@dataclass(frozen=True)
class Ablation:
    """What leaving one filter out does. `rows`: `kept` and `samples` (of the stage) of the arms with and without it.

    Both arms train for `steps` steps of equal batches from the same parent with the same seed; their data differ alone.
    """

    reason: str
    stage: str
    steps: int
    seed: int
    rows: list[dict[str, int]]
    effects: list[Effect]
    folder: str


def ablate(reason: str, params: Params, *, stage: str, steps: int | None) -> Ablation:
    """Train `stage` with and without the filter `reason` (of curation.select.REASONS), evaluate both, and compare.

    steps: of training, in both arms; default: the stage's own. Writes `report.json` and `report.txt` below
    `.mmada/ablations`. Raises ParamsError for what is unknown, InputError for a filter that drops nothing which the
    stage trains on, and whatever the stages raise.
    """
    if reason not in REASONS or reason in params.selection.leave_out:
        used = [name for name in REASONS if name not in params.selection.leave_out]
        raise ParamsError(f"there is no filter {reason!r} in use; filters: {', '.join(used)}")
    if reason == "contaminated":
        raise ParamsError("contaminated cannot be left out: scores over items that were trained on mean nothing")
    if stage not in params.training:
        raise ParamsError(f"training in params.yaml has no {stage!r}; it has: {', '.join(params.training)}")
    folder = WORK_DIR / "ablations" / f"{reason}-{stage}"
    arms = [_Arm(folder / "with", "", stage, steps), _Arm(folder / "without", reason, stage, steps)]
    for make in (_Arm.select, _Arm.make_shards):
        made = [make(arm, params).id for arm in arms]
        if made[0] == made[1]:
            raise InputError(
                f"{reason} drops no row that {stage} trains on: with it and without it the model is the same"
            )
    for arm in arms:
        arm.train(params)
    block = arms[0].params(params).training[stage]
    result = Ablation(
        reason=reason,
        stage=stage,
        steps=block.max_steps,
        seed=block.seed,
        rows=[arm.rows(params) for arm in arms],
        effects=_effects(*(arm.folder / params.paths.scores / stage for arm in arms)),
        folder=folder.as_posix(),
    )
    atomic_write(folder / "report.json", (json.dumps(asdict(result), indent=1, sort_keys=True) + "\n").encode())
    atomic_write(folder / "report.txt", ("\n".join(report_lines(result)) + "\n").encode())
    return result


@dataclass(frozen=True)
class _Arm:
    """A project folder in which the stage is trained; `left_out`: the filter that it does without, "" for none."""

    folder: Path
    left_out: str
    stage: str
    steps: int | None

    def params(self, project: Params) -> Params:
        """Those of the project with the ablation's changes."""
        raw = project.model_dump(mode="json")
        block = raw["training"][self.stage]
        block |= {"publish_every": 0, "max_steps": self.steps or block["max_steps"]}
        raw["selection"]["leave_out"] += [self.left_out] if self.left_out else []
        return parse_params(raw, f"{PARAMS_FILE} for an ablation")

    def select(self, project: Params) -> Artifact:
        """The folder, and in it the selected rows."""
        params = self.params(project)
        parent = Path(project.paths.models) / project.training[self.stage].init
        make_side_project(self.folder, params, [*shared_folders(project), parent], [self.stage], project)
        with chdir(self.folder):
            return run_stage("select", params)

    def make_shards(self, project: Params) -> Artifact:
        """The gate and the stage's shards, of what was selected."""
        params = self.params(project)
        with chdir(self.folder):
            selected = read_artifact(Path(params.paths.selected)).id
            run_stage("validate", self._let_pass(params, selected))
            return run_stage(f"write_shards@{self.stage}", params)

    def train(self, project: Params) -> None:
        """Model and scores."""
        params = self.params(project)
        with chdir(self.folder):
            run_stage(f"train@{self.stage}", params)
            run_stage(f"evaluate@{self.stage}", params)

    def _let_pass(self, params: Params, selected: str) -> Params:
        """Without a filter the gate may well refuse the rows, and says so; here they are wanted all the same."""
        if not self.left_out:
            return params
        why = f"ablation of {self.left_out}"
        overrides = tuple(
            GateOverride(check=check.name, selected=selected, who="mmada ablate", why=why)
            for check in gate_checks(params.gate)
        )
        return params.model_copy(update={"gate": params.gate.model_copy(update={"overrides": overrides})})

    def rows(self, project: Params) -> dict[str, int]:
        """`kept`: rows that selection kept; `samples`: those of them that the stage trains on."""
        selected = pl.scan_parquet(self.folder / project.paths.selected / "selected.parquet")
        samples = read_index(self.folder / project.paths.shards / self.stage).height
        return {"kept": selected.select(pl.len()).collect().item(), "samples": samples}


def _effects(with_filter: Path, without: Path) -> list[Effect]:
    scores = [scores_of(folder)["benchmarks"] for folder in (with_filter, without)]
    compared = {name: compare(with_filter, without, name) for name in sorted(scores[0])}
    adjusted = holm({name: one.p_value for name, one in compared.items()})
    return [
        Effect(name, scores[0][name]["share"], scores[1][name]["share"], one, adjusted[name])
        for name, one in compared.items()
    ]


def report_lines(ablation: Ablation) -> Iterator[str]:
    """The report as text."""
    kept, samples = ([rows[what] for rows in ablation.rows] for what in ("kept", "samples"))
    yield f"{ablation.reason}: {REASONS[ablation.reason]}"
    yield (
        f"{ablation.stage}, {ablation.steps:,} steps of both arms from the same parent, seed {ablation.seed}; "
        f"rows kept {kept[0]:,} with it, {kept[1]:,} without; samples of the stage {samples[0]:,} and {samples[1]:,}"
    )
    for effect in ablation.effects:
        yield _effect_line(effect)
    if not any(effect.is_seen for effect in ablation.effects):
        yield "No difference seen on any benchmark: one seed at this size neither shows a use of the filter nor a harm."
    yield f"Everything lies in {ablation.folder}"


def _effect_line(effect: Effect) -> str:
    one = effect.comparison
    shares = f"{effect.share_with:.1%} with, {effect.share_without:.1%} without"
    points = f"{100 * one.difference:+.1f} points ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
    verdict = "no difference seen" if not effect.is_seen else "better with" if one.side > 0 else "better without"
    only = f"right only with {one.only_first}, only without {one.only_second} of {one.n}"
    return f"  {effect.benchmark:20s} {shares}: {points}, {only}, p {effect.p_value:.3g}: {verdict}"
