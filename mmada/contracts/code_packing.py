"""Picture codes in 13 bits each: 1,664 bytes for 1,024 codes instead of 2,048 as uint16."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmada.errors import ContractError

BITS: Final = 13
NUM_CODES: Final = 1 << BITS


def pack_codes(codes: NDArray[np.uint16]) -> bytes:
    """Codes [N] in [0, 8192) as a bit string, most significant bit first, padded with zeros to whole bytes."""
    if codes.size and int(codes.max()) >= NUM_CODES:
        raise ContractError(f"code {int(codes.max())} does not fit {BITS} bits (largest is {NUM_CODES - 1})")
    bits = np.unpackbits(codes.astype(">u2").view(np.uint8)).reshape(-1, 16)[:, 16 - BITS :]
    return np.packbits(bits).tobytes()


def unpack_codes(packed: bytes, count: int) -> NDArray[np.uint16]:
    """The `count` codes that `pack_codes` packed. Raises ContractError when the length does not fit."""
    if len(packed) != (count * BITS + 7) // 8:
        raise ContractError(f"{len(packed)} bytes cannot hold exactly {count} codes of {BITS} bits")
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=count * BITS).reshape(count, BITS)
    padded = np.zeros((count, 16), dtype=np.uint8)
    padded[:, 16 - BITS :] = bits
    return np.packbits(padded, axis=1).view(">u2").astype(np.uint16).reshape(count)
