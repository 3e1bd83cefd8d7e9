"""The members of one sample inside a shard, as `writer` lays them out."""

from typing import Final

from mmada.errors import ContractError
from mmada.shards.writer import BLOCK

_NAME: Final = slice(0, 100)
_SIZE: Final = slice(124, 135)


def split_members(data: bytes, key: str, where: str) -> dict[str, bytes]:
    """Members of sample `key` by extension. `data`: its bytes in the shard, of the right checksum.

    Only name and size of a header are looked at: the checksum says that the rest is as it was written. Raises
    ContractError naming `where` when these are not the members of this sample.
    """
    members = {}
    position = 0
    while position < len(data):
        start = position + BLOCK
        header = data[position:start]
        name = header[_NAME].rstrip(b"\0").decode("ascii", "replace")
        stem, _, extension = name.partition(".")
        if stem != key:
            raise ContractError(f"{where}: member {name!r} where the index says {key!r}")
        size = int(header[_SIZE], 8)
        members[extension] = data[start : start + size]
        position = start + size + -size % BLOCK
    return members
