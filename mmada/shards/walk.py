"""Walk through a tar of samples from its first byte to its last, and say what in it is no shard of ours.

Neither index nor manifest is needed: what another program wrote is looked at as closely.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np

from mmada.contracts.code_packing import NUM_CODES
from mmada.contracts.sample import check_key, unpack
from mmada.errors import ContractError
from mmada.shards.writer import BLOCK, CHECKSUM, END_OF_TAR, NAME, SIZE, header

_EXTENSIONS: Final = ("codes", "json")
_KINDS: Final = {
    b"x": "a pax header", b"g": "a global pax header", b"L": "a long name of GNU tar", b"K": "a long link of GNU tar",
    b"1": "a hard link", b"2": "a symbolic link", b"5": "a folder",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: in which file, at which byte, and what."""

    file: str
    offset: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file} at byte {self.offset}: {self.problem}"


@dataclass(slots=True)
class FoundSample:
    """Members that lie beside one another under one key, from byte `offset` to `end`."""

    key: str
    offset: int
    end: int
    members: dict[str, bytes] = field(default_factory=dict)
    task: str = ""
    corpus: str = ""
    row_id: str = ""


def walk(shard: str, data: bytes, findings: list[Finding]) -> Iterator[FoundSample]:
    """The samples of a shard with these bytes, in their order; what is wrong with them is added to `findings`.

    Where it cannot be told where the next member begins, the walk ends.
    """
    sample: FoundSample | None = None
    seen: set[str] = set()
    for offset, name, content in _members(shard, data, findings):
        key, _, extension = name.partition(".")
        end = offset + BLOCK + len(content) + -len(content) % BLOCK
        if sample is None or key != sample.key:
            if sample is not None:
                yield _judged(sample, shard, findings)
            if key in seen:
                findings.append(Finding(shard, offset, f"key {key!r} comes again: a duplicate, or interleaved members"))
            seen.add(key)
            sample = FoundSample(key, offset, end)
            _check_key(key, shard, offset, findings)
        if extension not in _EXTENSIONS:
            findings.append(Finding(shard, offset, f"member {name!r} is no part of a sample (codes, json)"))
        elif extension in sample.members:
            findings.append(Finding(shard, offset, f"member {name!r} is there twice"))
        elif sample.members and extension < max(sample.members):
            findings.append(Finding(shard, offset, f"member {name!r} is not in order of extensions"))
        sample.members.setdefault(extension, content)
        sample.end = end
    if sample is not None:
        yield _judged(sample, shard, findings)


def _members(shard: str, data: bytes, findings: list[Finding]) -> Iterator[tuple[int, str, bytes]]:
    """Offset, name and content of every member."""
    position = 0
    while position + BLOCK <= len(data):
        block = data[position : position + BLOCK]
        if not block[0]:
            break
        member = _read_header(block)
        if isinstance(member, str):
            findings.append(Finding(shard, position, member))
            return
        name, size = member
        start, end = position + BLOCK, position + BLOCK + size
        if end > len(data):
            findings.append(Finding(shard, position, f"the shard ends within member {name!r}: it is truncated"))
            return
        padded = end + -size % BLOCK
        if data[end:padded].strip(b"\0"):
            findings.append(Finding(shard, end, f"the padding after member {name!r} is not zero"))
        yield position, name, data[start:end]
        position = padded
    if data[position:] != END_OF_TAR:
        lack = "is cut off" if len(data) < position + len(END_OF_TAR) else "is not two blocks of zeros"
        findings.append(Finding(shard, position, f"the end of the tar {lack}"))


def _read_header(block: bytes) -> tuple[str, int] | str:
    """Name and size of a member, or what is wrong with its header: it must be as our writer makes it."""
    kind = block[156:157]
    if kind != b"0":
        return f"{_KINDS.get(kind, f'type {kind!r}')} where a plain file belongs; other readers may name it otherwise"
    try:
        name, size = block[NAME].rstrip(b"\0").decode("ascii"), int(block[SIZE], 8)
        before, after, total = _plain_header(size)
    except ValueError:
        return "there is no tar header of a member here"
    checksum = b"%06o\0 " % (total + sum(block[NAME]))
    if block[NAME.stop : CHECKSUM.start] != before or block[CHECKSUM] != checksum or block[CHECKSUM.stop :] != after:
        return f"the header of {name!r} is not as written: it is damaged, or holds a time, an owner or a mode"
    return name, size


@lru_cache
def _plain_header(size: int) -> tuple[bytes, bytes, int]:
    """What our writer puts between a member's name and the checksum, and behind that; the checksum without the name."""
    block = header("", size)
    return block[NAME.stop : CHECKSUM.start], block[CHECKSUM.stop :], int(block[CHECKSUM][:6], 8)


def _check_key(key: str, shard: str, offset: int, findings: list[Finding]) -> None:
    try:
        check_key(key)
    except ContractError as error:
        findings.append(Finding(shard, offset, str(error)))


def _judged(found: FoundSample, shard: str, findings: list[Finding]) -> FoundSample:
    """The sample with what its fields say; what is wrong with its content is added to `findings`."""
    try:
        sample = unpack(found.key, found.members)
    except ContractError as error:
        findings.append(Finding(shard, found.offset, str(error)))
        return found
    if sample.codes is not None and int(sample.codes.max(initial=0)) >= NUM_CODES:
        place = int(np.argmax(sample.codes.ravel() >= NUM_CODES))
        findings.append(Finding(shard, found.offset + BLOCK + 2 * place, f"{found.key}: code {place} is no code"))
    if sample.row_id[:32] != found.key[:32]:
        findings.append(Finding(shard, found.offset, f"{found.key}: its row is {sample.row_id}"))
    found.task, found.corpus, found.row_id = sample.task, sample.corpus, sample.row_id
    found.members.clear()  # what is held of a whole shard is looked through by the garbage collector again and again
    return found
