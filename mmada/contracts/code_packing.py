"""Picture codes in 13 bits each: 1,664 bytes for 1,024 codes instead of 2,048 as uint16."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import UInt16
from numpy.typing import NDArray

from mmada.errors import ContractError

BITS: Final = 13
NUM_CODES: Final = 1 << BITS

# Eight codes fill 13 bytes. Their first four lie within the first 8 of these bytes, the others within the last 8.
_GROUP: Final = 8
_GROUP_BYTES: Final = BITS * _GROUP // 8
_WORDS: Final = ((0, (51, 38, 25, 12)), (_GROUP_BYTES - 8, (39, 26, 13, 0)))
"""Where in a group a word of 64 bits begins, and by how much it is shifted to give each of its four codes."""
_GROUPS_AT_ONCE: Final = 1 << 13  # the temporary words stay in the cache


def pack_codes(codes: NDArray[np.uint16]) -> bytes:
    """Codes [N] in [0, 8192) as a bit string, most significant bit first, padded with zeros to whole bytes."""
    if codes.size and int(codes.max()) >= NUM_CODES:
        raise ContractError(f"code {int(codes.max())} does not fit {BITS} bits (largest is {NUM_CODES - 1})")
    bits = np.unpackbits(codes.astype(">u2").view(np.uint8)).reshape(-1, 16)[:, 16 - BITS :]
    return np.packbits(bits).tobytes()


def unpack_codes(packed: bytes, count: int) -> NDArray[np.uint16]:
    """The `count` codes that `pack_codes` packed. Raises ContractError when the length does not fit."""
    codes: NDArray[np.uint16] = unpack_pictures([packed], count)[0]
    return codes


def unpack_pictures(packed: Sequence[bytes], count: int) -> UInt16[np.ndarray, "P N"]:
    """The codes of P pictures that have `count` codes each. Raises ContractError when a length does not fit."""
    length = (count * BITS + 7) // 8
    for row, one in enumerate(packed):
        if len(one) != length:
            raise ContractError(f"{len(one)} bytes cannot hold exactly {count} codes of {BITS} bits (picture {row})")
    groups = -(-count // _GROUP)
    padding = bytes(groups * _GROUP_BYTES - length)
    data = b"".join(packed) if not padding else b"".join(part for one in packed for part in (one, padding))
    codes = np.empty((len(packed) * groups, _GROUP), dtype=np.uint16)
    for start in range(0, len(codes), _GROUPS_AT_ONCE):
        _unpack_groups(data, start, codes[start : start + _GROUPS_AT_ONCE])
    return codes.reshape(len(packed), groups * _GROUP)[:, :count]


def _unpack_groups(data: bytes, first: int, codes: UInt16[np.ndarray, "G 8"]) -> None:
    shifted = np.empty(len(codes), dtype="<u8")
    lowest = shifted.view("<u2")[::4]
    for half, (offset, shifts) in enumerate(_WORDS):
        words = np.ndarray(
            len(codes), dtype=">u8", buffer=data, offset=first * _GROUP_BYTES + offset, strides=_GROUP_BYTES
        ).astype("<u8")
        for place, shift in enumerate(shifts):
            np.right_shift(words, np.uint64(shift), out=shifted)
            np.bitwise_and(lowest, np.uint16(NUM_CODES - 1), out=codes[:, 4 * half + place])
