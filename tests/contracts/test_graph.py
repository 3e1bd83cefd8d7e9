"""dvc.yaml and the code say the same: stages, parameters, outputs."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmada.params_schema import Params, load_params
from mmada.stage_runner import Stage, stage_names

ROOT = Path(__file__).resolve().parents[2]
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = load_params(ROOT / "params.yaml")
LEAVES = {"site"}


def _body(name: str) -> dict[str, Any]:
    stage: dict[str, Any] = GRAPH[name]
    return stage.get("do", stage)


def _stage(name: str) -> Stage:
    return Stage(name, "KEY" if "foreach" in GRAPH[name] else "", importlib.import_module(f"mmada.stages.{name}"))


def test_stages_are_the_files() -> None:
    assert sorted(GRAPH) == stage_names()


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_command_is_mmada_run(name: str) -> None:
    key = "@${key}" if "foreach" in GRAPH[name] else ""
    assert _body(name)["cmd"] == f"exec mmada run {name}{key}"


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_dvc_watches_exactly_what_the_stage_reads(name: str) -> None:
    watched = [entry for entry in _body(name)["params"] if isinstance(entry, str)]
    read = _stage(name).reads().values()
    assert sorted(entry.replace("${key}", "KEY") for entry in watched) == sorted(read)
    assert {f"mmada/stages/{name}.py": ["VERSION"]} in _body(name)["params"]


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_output_is_where_the_runner_puts_it(name: str) -> None:
    outs = _body(name)["outs"]
    assert len(outs) == 1
    declared = outs[0] if isinstance(outs[0], str) else next(iter(outs[0]))
    field, _, below = str(_stage(name).module.OUT).partition("/")
    expected = "/".join(part for part in ("${paths." + field + "}", below, "${key}" * bool(_stage(name).key)) if part)
    assert declared == expected


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_dependencies_are_data_only(name: str) -> None:
    """A stage that depended on source text would run again after a comment."""
    assert not [dep for dep in _body(name).get("deps", []) if str(dep).endswith(".py")]


def test_every_parameter_is_read_by_a_stage() -> None:
    read = {path.partition(".")[0] for name in GRAPH for path in _stage(name).reads().values()}
    assert read == set(Params.model_fields) - {"paths"}


def test_registered_checkpoints_are_where_training_puts_them() -> None:
    checkpoints = yaml.safe_load((ROOT / "models.yaml").read_text())["checkpoints"]
    inside = {name: entry["path"] for name, entry in checkpoints.items() if entry["origin"] == "pipeline"}
    assert inside == {name: f"{PARAMS.paths.models}/{name}" for name in ["init", *PARAMS.training]}
