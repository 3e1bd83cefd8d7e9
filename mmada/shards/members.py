"""The members of one sample inside a shard, as `writer` lays them out."""

from mmada.errors import ContractError
from mmada.shards.writer import BLOCK, NAME, SIZE


def split_members(data: bytes, key: str, where: str) -> dict[str, bytes]:
    """Members of sample `key` by extension. `data`: its bytes in the shard, of the right checksum.

    Only name and size of a header are looked at: the checksum says that the rest is as it was written. Raises
    ContractError naming `where` when these are not the members of this sample.
    """
    stem = f"{key}.".encode()
    members = {}
    position = 0
    while position < len(data):
        named, start = position + len(stem), position + BLOCK
        if data[position:named] != stem:
            name = data[position : position + NAME.stop].partition(b"\0")[0]
            raise ContractError(f"{where}: member {name!r} where the index says {key!r}")
        size = int(data[position + SIZE.start : position + SIZE.stop], 8)
        members[data[named : data.index(0, named)].decode("ascii")] = data[start : start + size]
        position = start + size + -size % BLOCK
    return members
