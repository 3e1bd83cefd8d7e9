"""Run all benchmarks, print ratios, and store them in perf/results/latest.json."""

import json
import platform
import sys
from pathlib import Path

from perf.codes import bench_codes
from perf.graph import bench_noop_repro
from perf.losses import bench_losses
from perf.shards import bench_shards
from perf.vq_encode import bench_vq_encode

RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> None:
    """Each benchmark gives a dictionary of numbers with units in their names."""
    results = {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    benches = {
        "shards": bench_shards,
        "codes": bench_codes,
        "noop_repro": bench_noop_repro,
        "losses": bench_losses,
        "vq_encode": bench_vq_encode,
    }
    for name, bench in benches.items():
        results[name] = bench()
        sys.stdout.write(f"{name}: {json.dumps(results[name])}\n")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
