"""What is printed when the pipeline has ended."""

from pathlib import Path

import pytest

from mmada.site.summary import print_summary
from tests.site.small_project import PARAMS, TRAINING


def test_a_stage_without_scores_is_named_and_hides_no_others(
    small_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing evaluates a stage that models.yaml does not register, however often the graph is run."""
    monkeypatch.chdir(small_project)
    monkeypatch.setattr("mmada.site.summary.trace_lines", lambda _: ["the trace"])
    training = {name: TRAINING[name] for name in ("stage3", "stage1", "stage1_2")}
    print_summary(PARAMS.model_copy(update={"training": training}))
    printed = capsys.readouterr().out
    assert "stage3 has no scores: `dvc repro` gives them where models.yaml registers it" in printed
    assert "sums               stage1 " in printed
