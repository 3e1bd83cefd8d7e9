"""`make chaos`: kill stages at random moments, many times, and compare the final bytes with an undisturbed run.

`python -m tests.chaos [kills] [seed]`; exits with 1 when any final state differs.
"""

import random
import shutil
import sys
import tempfile
from pathlib import Path

from flows.stage_graph import read_stage_graph
from tests.e2e.project_folder import make_project, output_ids, run
from tests.e2e.test_kill import start_and_kill

SMALL = Path(__file__).parent / "e2e" / "small.yaml"


def main(kills: int = 100, seed: int = 1) -> None:
    """Whole rounds through the graph until `kills` stages were killed while they ran."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        undisturbed = make_project(Path(name) / "undisturbed", SMALL)
        run(undisturbed, "dvc", "repro")
        expected = output_ids(undisturbed)
        done = 0
        while done < kills:
            project = make_project(Path(name) / "killed", SMALL)
            for address in read_stage_graph(project).order:
                stage = address.rpartition("dvc.yaml:")[2]
                while done < kills and rng.random() < 0.5:
                    done += start_and_kill(project, stage, rng.uniform(0.0, 3.0))
                run(project, "dvc", "repro", "--single-item", stage)
            if output_ids(project) != expected:
                sys.exit(f"seed {seed}: after {done} kills the final bytes differ")
            sys.stdout.write(f"{done} kills, equal bytes\n")
            shutil.rmtree(project)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
