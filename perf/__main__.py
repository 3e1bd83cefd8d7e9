"""Run benchmarks, print ratios, and store them in perf/results/latest.json."""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from perf.answers import bench_answers
from perf.codes import bench_codes
from perf.decoding import bench_picture_decoding, bench_text_decoding
from perf.decontamination import bench_decontamination
from perf.dedup import bench_dedup
from perf.doors import bench_doors
from perf.graph import bench_noop_repro
from perf.ingest import bench_ingest
from perf.likelihoods import bench_likelihoods
from perf.losses import bench_losses
from perf.million_rows import bench_million_rows
from perf.recuration import bench_recuration
from perf.repetition import bench_repetition
from perf.semantic import bench_semantic
from perf.shards import bench_shards
from perf.show import bench_show
from perf.training import bench_training
from perf.unigrpo_toy import bench_unigrpo_toy
from perf.units import bench_units
from perf.vq_encode import bench_vq_encode

BENCHES = {
    "shards": bench_shards,
    "codes": bench_codes,
    "ingest": bench_ingest,
    "losses": bench_losses,
    "training": bench_training,
    "likelihoods": bench_likelihoods,
    "vq_encode": bench_vq_encode,
    "text_decoding": bench_text_decoding,
    "picture_decoding": bench_picture_decoding,
    "noop_repro": bench_noop_repro,
    "show": bench_show,
    "doors": bench_doors,
    "million_rows": bench_million_rows,
    "units": bench_units,
    "unigrpo_toy": bench_unigrpo_toy,
    "answers": bench_answers,
    "repetition": bench_repetition,
    "dedup": bench_dedup,
    "semantic": bench_semantic,
    "decontamination": bench_decontamination,
    "recuration": bench_recuration,
}
READ_REAL_CORPORA = {"answers", "repetition", "dedup", "decontamination", "recuration"}
RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> None:
    """Each benchmark gives a dictionary of numbers with units in their names. Those that are not run keep theirs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(BENCHES)} [default: all]")
    chosen = parser.parse_args().names
    names = chosen or list(BENCHES)
    if unknown := set(names) - BENCHES.keys():
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    if "MMADA_REALDATA" not in os.environ and (without := READ_REAL_CORPORA & set(names)):
        reason = f"{', '.join(sorted(without))}: set MMADA_REALDATA to the folder of the real corpora"
        if chosen:
            parser.error(reason)
        sys.stderr.write(f"left out - {reason}\n")
        names = [name for name in names if name not in without]
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results |= {"machine": platform.processor() or platform.machine(), "python": platform.python_version()}
    for name in names:
        results[name] = BENCHES[name]()
        sys.stdout.write(f"{name}: {json.dumps(results[name])}\n")
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
