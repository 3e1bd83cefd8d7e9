"""13-bit codes: bytes and pictures per second."""

import time

import numpy as np

from mmada.contracts.code_packing import NUM_CODES, pack_codes, unpack_pictures

CODES = 1024
PICTURES = 50_000


def bench_codes() -> dict[str, float]:
    """Unpacking of many pictures with 1,024 codes beside reading them as uint16, in one thread."""
    codes = np.random.default_rng(0).integers(0, NUM_CODES, (64, CODES)).astype(np.uint16)
    packed = [pack_codes(one) for one in codes] * (PICTURES // len(codes))
    plain = [one.tobytes() for one in codes] * (PICTURES // len(codes))
    seconds = {"unpack": 1e9, "uint16": 1e9}
    for _ in range(3):
        started = time.perf_counter()
        unpacked = unpack_pictures(packed, CODES)
        seconds["unpack"] = min(seconds["unpack"], time.perf_counter() - started)
        started = time.perf_counter()
        read = np.frombuffer(b"".join(plain), dtype=np.uint16).reshape(-1, CODES).copy()
        seconds["uint16"] = min(seconds["uint16"], time.perf_counter() - started)
        assert np.array_equal(unpacked, read)
    return {
        "bytes_per_1024_codes": len(packed[0]),
        "unpacked_pictures_per_s": len(packed) / seconds["unpack"],
        "ratio_to_uint16": seconds["uint16"] / seconds["unpack"],
    }
