"""Ray beside local workers: equal bytes in equal order, also when a machine is lost half-way."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmada.errors import ParamsError
from mmada.unit_store import UnitStore
from mmada.workers import run_units
from tests.absent import absent
from tests.ray_cluster import KILLS, RAISES, private_cluster, units, work

pytestmark = pytest.mark.long


def test_a_cluster_that_loses_a_node_gives_what_local_workers_give(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        absent("Ray", "pip install -c constraints.txt '.[ray]'")
    command = [sys.executable, "-m", "tests.ray_cluster", str(tmp_path)]
    done = subprocess.run(command, env=os.environ | private_cluster(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads(done.stdout.splitlines()[-1])
    local = run_units(units(tmp_path / "local.log"), work, UnitStore(tmp_path / "local"), title="t", workers=1)
    assert found["sha256"] == hashlib.sha256(b"".join(local)).hexdigest()
    assert (found["nodes_at_first"], found["nodes_at_last"]) == (2, 1)
    assert found["runs"] > 20, "nothing was lost, so nothing was proved"
    assert found["kept"] == [number for number in range(14) if number not in {KILLS, RAISES}]
    assert "2 units failed" in found["error"]
    (place,) = {result.removeprefix("weights ") for result in found["away"]}
    assert Path(place).parent == tmp_path / "cache/mmada/units", "it gets what is read"


def test_without_ray_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMADA_ENGINE", "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ParamsError, match=r"mmada-platform\[ray\]"):
        list(run_units(units(tmp_path / "log"), work, UnitStore(tmp_path / "units"), title="t"))
