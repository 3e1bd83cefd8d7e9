"""The Prefect flow against a real server: the same graph, the same bytes, tens of task runs."""

import sys
from pathlib import Path

from tests.e2e.project_folder import output_ids, run

LONGEST = "max_text_tokens: 128\n  min_thought"  # of the two limits of this name, that of selection


def _flow(project: Path, api: str, *targets: str) -> str:
    code = f"from flows.pipeline import pipeline_in_place; print(pipeline_in_place({list(targets)!r}))"
    return run(project, sys.executable, "-c", code, PREFECT_API_URL=api, DO_NOT_TRACK="1").stdout


def test_the_flow_runs_what_is_stale_and_nothing_else(finished: Path, prefect_api: str) -> None:
    before = output_ids(finished)
    params = finished / "params.yaml"
    original = params.read_text()
    params.write_text(original.replace(LONGEST, LONGEST.replace("128", "61")))
    try:
        printed = _flow(finished, prefect_api, "select")
        assert "'select': 'ran'" in printed
        assert "'annotate': 'unchanged'" in printed
        assert "validate" not in printed
    finally:
        params.write_text(original)
    _flow(finished, prefect_api, "select")
    assert output_ids(finished) == before


def test_a_failing_stage_fails_the_flow_and_says_why(finished: Path, prefect_api: str) -> None:
    params = finished / "params.yaml"
    original = params.read_text()
    params.write_text(original.replace(LONGEST, LONGEST.replace("128", "1")))
    try:
        command = [sys.executable, "-m", "flows", "select"]
        result = run(finished, *command, check=False, PREFECT_API_URL=prefect_api, DO_NOT_TRACK="1")
        assert result.returncode == 2
        assert "`selection` in params.yaml" in result.stdout
        assert "Retry" not in result.stdout, "trying again does not mend the data"
    finally:
        params.write_text(original)
        run(finished, "dvc", "repro", "select")
