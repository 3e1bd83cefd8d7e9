"""Every stage stands beside a control of as many steps, for several seeds, and the project stays as it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmada.lineage.manifest import read_artifact
from mmada.params_schema import load_params
from mmada.proof import Mean, _gain, _mean
from tests.e2e.project_folder import output_ids, run


def test_seeds_differ_the_control_is_matched_and_all_of_it_traces(finished: Path) -> None:
    before = output_ids(finished)
    told = run(finished, "mmada", "proof", "--seeds", "2").stdout
    assert output_ids(finished) == before
    assert run(finished, "git", "status", "--porcelain", "--", "params.yaml", "models.yaml").stdout == ""

    folder = finished / ".mmada/proof"
    params = load_params(folder / "seed-1/params.yaml")
    stages = load_params(finished / "params.yaml").training
    control = params.training["control"]
    assert control.init == "stage1"
    assert control.data == stages["stage1"].data
    assert control.max_steps == stages["stage2"].max_steps + stages["stage3"].max_steps

    def model(seed: int, name: str) -> str:
        return read_artifact(folder / f"seed-{seed}/data/models" / name).id

    for name in stages:
        assert model(0, name) == read_artifact(finished / "data/models" / name).id, "the first run is the project's own"
        assert model(1, name) != model(0, name)
    assert "ingest@questions" in run(folder / "seed-1", "mmada", "trace", "data/models/stage3").stdout

    report = json.loads((folder / "report.json").read_text())
    assert [one["benchmark"] for one in report["benchmarks"]] == list(params.benchmarks)
    for one in report["benchmarks"]:
        assert one["means"].keys() == {*stages, "control"}
        assert one["gains"].keys() == {"stage2", "stage3"}
        for mean in one["means"].values():
            assert mean["share"] == pytest.approx(np.mean(mean["seeds"]))
            assert mean["low"] <= mean["share"] <= mean["high"]
    assert "stage3 - control: " in told


def test_a_gain_is_claimed_only_where_seeds_and_items_both_allow_it() -> None:
    rng = np.random.default_rng(1)
    chance = rng.random((3, 400)) < 0.3
    alike, better = rng.random((3, 400)) < 0.3, chance | (rng.random((3, 400)) < 0.3)
    verdicts = [_gain(one.astype(float), chance.astype(float)).verdict for one in (better, alike, chance)]
    assert verdicts == ["better", "no difference seen", "no difference seen"]
    assert _gain(chance.astype(float), better.astype(float)).verdict == "worse"
    lucky = np.concatenate([better[:1], chance[1:]])
    gain = _gain(lucky.astype(float), chance.astype(float))
    assert gain.difference > 0.05
    assert gain.verdict == "no difference seen", "one seed of three is luck, however many items it gained"


def test_an_interval_of_equal_seeds_is_that_of_the_items() -> None:
    one_seed = (np.arange(400) < 120).astype(float)[None]
    for seeds in (1, 3):
        mean = _mean(np.repeat(one_seed, seeds, 0))
        assert mean == Mean(0.3, pytest.approx(0.255, abs=0.002), pytest.approx(0.345, abs=0.002), [0.3] * seeds)
