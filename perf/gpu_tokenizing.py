"""Picture tokenization on a GPU: what a worker does in a second, and what its network alone would."""

import io
import tempfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image

from mmada.numerics import numerics_class
from mmada.vq.magvit import MAGVITv2, save_magvit, to_uint8
from mmada.vq.picture_encoding import THREADS, EncodingTask, encode_pictures
from perf.gpu_shapes import Shapes
from perf.measuring import Clock

_MAX_PIXELS = 10**8


def tokenize_part(shapes: Shapes, clock: Clock) -> dict[str, Any]:
    """Pictures per second of one worker process, from JPEG files to rows of the token table, and of the network alone
    (codes and their reconstruction). `share`: of the worker's time that is the network's.
    """
    side, count = shapes.picture_side, shapes.pictures
    torch.manual_seed(0)
    model = MAGVITv2(shapes.magvit).eval().requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        save_magvit(model, Path(folder))
        task = EncodingTask(_pictures(count), Path(folder), side, "centre_crop", _MAX_PIXELS, numerics_class(THREADS))
        encode_pictures(replace(task, pictures=task.pictures.head(16)))  # loads the network
        worker_s, peak_gb, _ = clock(lambda: encode_pictures(task))
    model.to(clock.device)
    pixels = torch.rand(16, 3, side, side) * 2 - 1
    grid = side // shapes.magvit.factor

    def network() -> None:
        for _ in range(0, count, len(pixels)):
            to_uint8(model.decode(model.encode(pixels), height=grid, width=grid))

    network_s, _, _ = clock(network)
    return {
        "side": side,
        "pictures": count,
        "worker_pictures_per_s": count / worker_s,
        "network_pictures_per_s": count / network_s,
        "share": network_s / worker_s,
        "peak_gb": peak_gb,
    }


def _pictures(count: int) -> pl.DataFrame:
    """Photograph-like JPEG files of 640 x 480 pixels: soft shapes and some noise, about 90 kB each."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        soft = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize(
            (640, 480), Image.Resampling.BICUBIC
        )
        noisy = np.asarray(soft).astype(np.int64) + rng.integers(-12, 12, (480, 640, 3))
        stream = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
        files.append(stream.getvalue())
    names = [sha256(file).hexdigest() for file in files]
    return pl.DataFrame({"image_sha256": names, "pixels_sha256": names, "bytes": files})
