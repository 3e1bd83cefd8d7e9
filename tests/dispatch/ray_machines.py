"""A Ray cluster on this machine, whose machines share no folder of ours; run by test_ray in a process of its own.

`python -m tests.dispatch.ray_machines FOLDER` prints its address; then it obeys lines: `add NAME`, `kill NAME`.
"""

import os
import sys
from pathlib import Path

import psutil

LOSS_IS_NOTICED_SOON = {"health_check_period_ms": 300, "health_check_failure_threshold": 2}


def main(folder: Path) -> None:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": LOSS_IS_NOTICED_SOON}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    machines = {}
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        what, name = line.split()
        if what == "add":
            os.environ["XDG_CACHE_HOME"] = str(folder / name)
            machines[name] = cluster.add_node(num_cpus=1)
        else:
            raylet = psutil.Process(machines[name].all_processes["raylet"][0].process.pid)
            for process in [raylet, *raylet.children(recursive=True)]:
                process.kill()
        sys.stdout.write("done\n")
        sys.stdout.flush()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
