"""13-bit codes: bytes and pictures per second."""

import time

import numpy as np

from mmada.contracts.code_packing import NUM_CODES, pack_codes, unpack_codes

CODES = 1024
PICTURES = 5000


def bench_codes() -> dict[str, float]:
    """Unpacking of pictures with 1,024 codes, one call each."""
    packed = pack_codes(np.random.default_rng(0).integers(0, NUM_CODES, CODES).astype(np.uint16))
    started = time.perf_counter()
    for _ in range(PICTURES):
        unpack_codes(packed, CODES)
    return {"bytes_per_1024_codes": len(packed), "unpacked_pictures_per_s": PICTURES / (time.perf_counter() - started)}
