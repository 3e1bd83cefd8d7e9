"""A filter is left out in a project of its own; the comparison is paired and claims nothing that it did not see."""

import json
from pathlib import Path

import pytest

from mmada.ablation import Ablation, Effect, report_lines
from mmada.evaluation.compare import Comparison
from mmada.lineage.manifest import read_artifact
from mmada.params_schema import load_params
from tests.e2e.project_folder import run

OUTPUTS = ("selected", "gate", "shards/stage1", "models/stage1", "models/init", "scores/stage1", "facts")


def test_the_arms_differ_in_the_filter_alone_and_the_project_stays_as_it_is(finished: Path) -> None:
    def ids(project: Path) -> dict[str, str]:
        return {name: read_artifact(project / "data" / name).id for name in OUTPUTS}

    before, provenance = ids(finished), sorted((finished / "data/provenance").iterdir())
    told = run(finished, "mmada", "ablate", "answer_wrong", "--steps", "8").stdout
    assert ids(finished) == before
    assert sorted((finished / "data/provenance").iterdir()) == provenance
    assert run(finished, "git", "status", "--porcelain", "--", "params.yaml", "models.yaml").stdout == ""

    folder = finished / ".mmada/ablations/answer_wrong-stage1"
    arms = [folder / "with", folder / "without"]
    made = [ids(arm) for arm in arms]
    assert made[0]["selected"] == before["selected"]
    for name in OUTPUTS:
        assert (made[0][name] == made[1][name]) == (name in ("facts", "models/init")), name
    params = [load_params(arm / "params.yaml") for arm in arms]
    assert params[0].training == params[1].training
    assert params[0].training["stage1"].max_steps == 8
    assert params[1].selection.leave_out == ("answer_wrong",)

    report = json.loads((folder / "report.json").read_text())
    dropped = json.loads((finished / "reports/select.json").read_text())["dropped"]["answer_wrong"]
    assert 0 < report["rows"][1]["kept"] - report["rows"][0]["kept"] <= dropped
    assert sorted(effect["benchmark"] for effect in report["effects"]) == sorted(params[0].benchmarks)
    assert "no difference seen" in told  # after eight steps both know nothing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("loops",), "there is no filter 'loops' in use; filters: contaminated, "),
        (("answer_wrong", "--stage", "x"), "training in params.yaml has no 'x'"),
        (("contaminated",), "contaminated cannot be left out"),
        (("image_noise",), "image_noise drops no row that stage1 trains on"),
    ],
)
def test_what_is_unknown_is_refused(finished: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(finished, "mmada", "ablate", *arguments, check=False)
    assert result.returncode == 2
    assert message in result.stdout


def effect(only_with: int, only_without: int, p_value: float) -> Effect:
    difference = (only_with - only_without) / 200
    comparison = Comparison(200, only_with, only_without, difference, difference - 0.02, difference + 0.02, p_value)
    return Effect("sums", (100 + only_with) / 200, (100 + only_without) / 200, comparison, p_value)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (effect(4, 5, 0.9), "no difference seen"),
        (effect(30, 4, 0.001), "better with"),
        (effect(4, 30, 0.001), "better without"),
    ],
)
def test_the_report_says_what_was_seen(found: Effect, said: str) -> None:
    rows = [{"kept": 90, "samples": 80}, {"kept": 99, "samples": 88}]
    lines = list(report_lines(Ablation("thought_loop", "stage1", 5, 1, rows, [found], "folder")))
    (line,) = [line for line in lines if "sums" in line]
    assert line.endswith(said)
    assert f"{100 * found.comparison.difference:+.1f} points" in line
    assert any("No difference seen on any" in line for line in lines) == (said == "no difference seen")
