"""What needs a GPU: tokenization of pictures, MFU of a training step, and decoding speed of the 8B shape.

`python3 -m perf.gpu` takes under five minutes on an H100 and writes perf/results/gpu.json; its parts `train`,
`pictures` and `text` need torch, numpy, safetensors and jaxtyping only. Weights are random: these are costs per step,
not qualities. `--tiny` tries every part on small shapes, on any machine, and writes nothing.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmada.model.transformer import Transformer
from perf.gpu_decoding import picture_part, text_part
from perf.gpu_shapes import real_shapes, tiny_shapes
from perf.gpu_training import peak_tflops, train_part
from perf.measuring import Clock, num_parameters, random_model, release, reported

RESULTS = Path(__file__).parent / "results" / "gpu.json"


def main() -> None:
    """Every part on its own; results are printed and stored after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small shapes, on a CPU too; writes no results")
    parts = ["tokenize", "train", "pictures", "text"]
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts, help="which of these, in order")
    parser.add_argument("--seconds", type=float, default=270, help="no part begins anything new after so long")
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        parser.error("no CUDA device; --tiny tries the script on a CPU")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shapes, clock, started = tiny_shapes() if options.tiny else real_shapes(), Clock(device), time.monotonic()
    results: dict[str, Any] = {
        "hardware": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "peak_bf16_tflops": peak_tflops(device),
    }
    of_device = str(results["hardware"])
    results = _measured_before(of_device, results) | results
    measured_by = {"pictures": picture_part, "text": text_part}
    model: Transformer | None = None

    def is_late() -> bool:
        return time.monotonic() - started > options.seconds

    for part in options.parts:
        begun = time.monotonic()
        with reported(results, part):
            if part in ("tokenize", "train"):
                model = None
                release(device)
            if part == "tokenize":
                from perf.gpu_tokenizing import tokenize_part

                results[part] = tokenize_part(shapes, clock)
            elif part == "train":
                results[part] = train_part(shapes, device, clock, is_late)
            else:
                model = model or random_model(shapes.big, device, torch.bfloat16).eval()
                own = measured_by[part](shapes, model, clock, is_late)
                results[part] = {"parameters": num_parameters(model), "dtype": "bfloat16", **own}
        release(device)
        sys.stdout.write(f"{part} ({time.monotonic() - begun:.0f} s): {json.dumps(results[part])}\n")
        sys.stdout.flush()
        if not options.tiny:
            RESULTS.parent.mkdir(exist_ok=True)
            stored = _stored() | {of_device: results}
            RESULTS.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")


def _stored() -> dict[str, dict[str, Any]]:
    """Name of a device -> its results."""
    return dict(json.loads(RESULTS.read_text())) if RESULTS.exists() else {}


def _measured_before(device: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored of the same hardware and software: parts that are not measured again stay."""
    stored = _stored().get(device, {})
    return stored if all(stored.get(name) == value for name, value in about.items()) else {}


if __name__ == "__main__":
    main()
