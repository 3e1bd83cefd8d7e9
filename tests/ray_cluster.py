"""Run by test_ray_engine in a process of its own: units on two Ray nodes, one of which is killed half-way.

`python -m tests.ray_cluster <folder>` prints one JSON object.
"""

import hashlib
import json
import os
import secrets
import signal
import sys
import time
from pathlib import Path
from unittest import mock

import psutil

from mmada.errors import UnitsError
from mmada.unit_store import UnitStore, unit_key
from mmada.workers import Unit, run_units

KILLS, RAISES = 7, 11
"""Numbers of units that do so where they may."""


def private_cluster() -> dict[str, str]:
    """Variables of a cluster that lets nobody else in, and whose workers are no less urgent than other tests."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_worker_niceness": "0"}


def work(task: tuple[int, bytes, bool, str]) -> bytes:
    """A digest of the payload, after a moment; the node that made it is noted in a file."""
    number, data, misbehaves, log = task
    ray = sys.modules.get("ray")  # not where the same work is done without it
    with Path(log).open("a") as stream:
        stream.write(f"{number} {ray.get_runtime_context().get_node_id() if ray else 'local'}\n")
    if misbehaves and number == KILLS:
        os.kill(os.getpid(), signal.SIGKILL)
    if misbehaves and number == RAISES:
        raise ValueError("this unit is bad")
    if ray and not misbehaves:
        time.sleep(0.3)
    return hashlib.sha256(b"%d" % number + data).digest() * 10_000  # too large to travel inside a message


def units(log: Path, *, misbehave: bool = False, count: int = 20) -> list[Unit[tuple[int, bytes, bool, str]]]:
    """Units with payloads of 1 MB."""
    payload = bytes(2**20)
    return [Unit(unit_key("ray", number), (number, payload, misbehave, str(log))) for number in range(count)]


def read_weights(task: tuple[int, str]) -> bytes:
    """A file that the payload names, and the folder that it was found in."""
    return Path(task[1]).read_bytes() + str(Path.cwd()).encode()


def _away(folder: Path) -> list[str]:
    """What units find that read a folder of a project which the cluster's machines do not have."""
    weights = Path("data/weights")
    weights.mkdir(parents=True)
    (weights / "w.bin").write_bytes(b"weights ")
    tasks = [Unit(unit_key("reads", number), (number, (weights / "w.bin").as_posix())) for number in range(3)]
    with mock.patch("mmada.ray_engine.os.getcwd", return_value="/no/such/project"):
        results = run_units(tasks, read_weights, UnitStore(folder / "reads"), title="reads", reads=[weights])
        return [result.decode() for result in results]


def _await_unit_on(node: str, log: Path) -> None:
    """Until a node begins another unit, which takes it 0.3 s."""

    def begun() -> int:
        return sum(line.split()[1] == node for line in log.read_text().splitlines())

    before, until = begun(), time.monotonic() + 60
    while begun() == before and time.monotonic() < until:
        time.sleep(0.01)


def main(folder: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")  # also of the nodes
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    os.chdir(folder)  # not where the nodes were started
    os.environ |= {"MMADA_ENGINE": "ray", "RAY_ADDRESS": cluster.address}
    bad = UnitStore(folder / "bad")
    try:
        list(run_units(units(Path("bad.log"), misbehave=True, count=14), work, bad, title="bad"))
        error = ""
    except UnitsError as refused:
        error = str(refused)
    results = run_units(units(Path("log")), work, UnitStore(folder / "units"), title="t")
    digest = hashlib.sha256()
    for number, result in enumerate(results):
        digest.update(result)
        if number == 5:
            _await_unit_on(second.node_id, folder / "log")
            raylet = psutil.Process(second.all_processes["raylet"][0].process.pid)
            for process in [*raylet.children(recursive=True), raylet]:
                process.kill()
    nodes = [line.split()[1] for line in (folder / "log").read_text().splitlines()]
    found = {
        "away": _away(folder),
        "sha256": digest.hexdigest(),
        "error": error,
        "kept": [number for number, unit in enumerate(units(folder / "log", count=14)) if bad.get(unit.key)],
        "nodes_at_first": len(set(nodes[:5])),
        "nodes_at_last": len(set(nodes[-8:])),
        "runs": len(nodes),
    }
    ray.shutdown()
    cluster.shutdown()
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
