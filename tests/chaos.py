"""`make chaos`: kill stages at random moments, many times, and compare the final bytes with an undisturbed run.

`python -m tests.chaos [--kills N] [--seed N]` goes through the whole graph as DVC runs it. With
`--stages ingest,tokenize_images` these alone are killed, the stage itself or one of its workers, as often as it takes
until each has ended by itself. With `--unigrpo` a small UniGRPO run is killed inside its phases: at a rollout, a reward
call, the storing of a reward, an update. With `--training` a training job without a shared disk is killed at a change
to a file or an object: its cache of shards, its states, what it sends home. Exits with 1 when any final state differs.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import yaml

from flows.stage_graph import read_stage_graph
from mmada.lineage.manifest import open_artifact
from mmada.params_patch import patch_params
from mmada.params_schema import load_params
from mmada.stage_runner import find_stage
from tests.dispatch.small_job import make_inputs
from tests.e2e.project_folder import ENVIRONMENT, make_project, output_ids, run
from tests.e2e.test_kill import start_and_kill
from tests.services import serve_s3
from tests.training.killed_unigrpo import kill_rounds
from tests.worker_processes import is_worker

LONGEST_RUN = 8.0
"""Seconds after which a stage is killed at the latest; what it finished until then is kept for the next."""

SMALL = Path(__file__).parent / "e2e" / "small.yaml"
MANY_UNITS = {
    "demo_corpora": {"demo": {"counts": {"pictures": 200, "questions": 300}}},
    "ingest": {"rows_per_unit": 8},
}


def main() -> None:
    """Whole rounds until so many kills hit something that ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", default="", help="names, with commas between [default: the whole graph]")
    parser.add_argument("--training", action="store_true", help="a training job on a machine without a shared disk")
    parser.add_argument("--unigrpo", action="store_true", help="kill the phases of UniGRPO")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.training:
            kill_training(folder, options.kills, options.seed)
        elif options.unigrpo:
            sys.stdout.write(kill_rounds(folder / "unigrpo", options.kills, rng) + "\n")
        elif options.stages:
            project = _finished_project(folder, options.stages.split(","))
            _kill_stages(project, options.stages.split(","), options.kills, rng)
        else:
            _kill_graph(folder, options.kills, rng)


def _kill_graph(folder: Path, kills: int, rng: random.Random) -> None:
    undisturbed = make_project(folder / "undisturbed", SMALL)
    run(undisturbed, "dvc", "repro")
    expected = output_ids(undisturbed)
    done = rounds = 0
    while done < kills:
        project = make_project(folder / "killed", SMALL)
        for address in read_stage_graph(project).order:
            stage = address.rpartition("dvc.yaml:")[2]
            while done < kills and rng.random() < 0.5:
                done += start_and_kill(project, stage, rng.uniform(0.0, 3.0))
            run(project, "dvc", "repro", "--single-item", stage)
        rounds += 1
        _report(done, rounds, equal=output_ids(project) == expected)
        shutil.rmtree(project)


def _finished_project(folder: Path, stages: Sequence[str]) -> Path:
    """A project with so many units in `stages` that kills land between them, run to the end of those."""
    project = make_project(folder / "project", SMALL)
    patch = folder / "many_units.yaml"
    patch.write_text(yaml.safe_dump(MANY_UNITS))
    patch_params(project / "params.yaml", patch)
    run(project, "dvc", "repro", *stages)
    return project


def _kill_stages(project: Path, stages: Sequence[str], kills: int, rng: random.Random) -> None:
    order = [address.rpartition("dvc.yaml:")[2] for address in read_stage_graph(project).order]
    addresses = [address for address in order if address.partition("@")[0] in stages]
    params = load_params(project / "params.yaml")
    outputs = {address: project / find_stage(address, params).output(params) for address in addresses}
    expected = {address: open_artifact(outputs[address]).id for address in addresses}
    _start_afresh(project, outputs)
    seconds = {address: _run_and_kill(project, address, rng, None)[1] for address in addresses}
    done = rounds = inside = 0
    while done < kills:
        _start_afresh(project, outputs)
        for address in addresses:
            while not outputs[address].exists():
                before = _num_results(project)
                hit, _ = _run_and_kill(project, address, rng, min(LONGEST_RUN, seconds[address]))
                done += hit
                inside += hit and _num_results(project) > before
        rounds += 1
        sys.stdout.write(f"{inside} kills came when some units had been finished since the one before\n")
        _report(done, rounds, equal={address: open_artifact(outputs[address]).id for address in addresses} == expected)


def _num_results(project: Path) -> int:
    return sum(1 for path in (project / ".mmada/units").rglob("*") if path.is_file())


def _start_afresh(project: Path, outputs: dict[str, Path]) -> None:
    for folder in [project / ".mmada", *outputs.values()]:
        shutil.rmtree(folder, ignore_errors=True)


def _run_and_kill(project: Path, address: str, rng: random.Random, within: float | None) -> tuple[bool, float]:
    """Run a stage; if `within` is given, kill it or one of its workers once within so many seconds. Tells whether the
    kill hit something, and how long the stage ran.
    """
    began = time.monotonic()
    log = project / "chaos.log"
    with log.open("w") as stream:
        stage = subprocess.Popen(
            ["mmada", "run", address], cwd=project, env=ENVIRONMENT, stdout=stream, stderr=subprocess.STDOUT
        )
    hit = None
    if within is not None:
        time.sleep(rng.uniform(0.0, within))
        if stage.poll() is None:
            hit = _kill_one(psutil.Process(stage.pid), rng)
    code = stage.wait()
    if code and hit != stage.pid:
        sys.exit(f"{address} ended with {code} by itself:\n{log.read_text()[-3000:]}")
    return hit is not None, time.monotonic() - began


def _kill_one(stage: psutil.Process, rng: random.Random) -> int | None:
    """kill -9 of the stage or, one time in two if there are any, of a worker; returns which."""
    try:
        workers = [child for child in stage.children() if is_worker(child)]
        victim = rng.choice(workers) if workers and rng.random() < 0.5 else stage
        victim.kill()
    except psutil.NoSuchProcess:
        return None
    return victim.pid


def kill_training(folder: Path, kills: int, seed: int) -> None:
    """Kill a small training job; see tests.dispatch.killed_job."""
    (folder / "store").mkdir()
    make_inputs(folder)
    with serve_s3(folder / "store") as server:
        store = server.make_bucket("training")
        command = [sys.executable, "-m", "tests.dispatch.killed_job", str(folder), store, str(kills), str(seed)]
        subprocess.run(command, check=True, env=ENVIRONMENT | dict(server.variables))


def _report(kills: int, rounds: int, *, equal: bool) -> None:
    if not equal:
        sys.exit(f"after {kills} kills in {rounds} rounds the final bytes differ")
    sys.stdout.write(f"{kills} kills, {rounds} rounds, equal bytes\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
