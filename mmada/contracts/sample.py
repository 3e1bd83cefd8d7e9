"""One training sample, and how it is packed into the members of a WebDataset tar.

A sample `K` occupies `K.json` and, when it has a picture, `K.codes`: the picture's codes as little-endian
uint16 in row-major order (13-bit packing would be padded to the same 512-byte tar blocks).
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Final, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from mmada.errors import ContractError
from mmada.params_section import PICTURE_TASKS, TaskName

Task = TaskName
TASKS: Final[tuple[Task, ...]] = get_args(Task)

# WebDataset splits a member's name at its first dot, so a dot in a key would silently cut the key in two. A USTAR
# header holds a name of 100 characters: the key, a dot and the longest extension.
KEY_PATTERN: Final = "[a-z0-9_-]{1,94}"
_KEY: Final = re.compile(KEY_PATTERN)


class Sample(msgspec.Struct, frozen=True):
    """What a training step sees of one row.

    `task`: t2i (prompt -> picture), lm (response is the text), chat (prompt -> response),
    mmu (picture + prompt -> response), r2i (prompt -> thought in response -> picture).
    `reference`: the gold final answer, or "" where there is none (rewards and evaluation use it).
    `codes`: uint16 [rows, columns] picture codes, or None for tasks without a picture.
    """

    key: str
    task: Task
    prompt: str
    response: str
    reference: str
    corpus: str
    source: str
    licence: str
    row_id: str
    codes: NDArray[np.uint16] | None = None


_Side = Annotated[int, msgspec.Meta(gt=0)]


class Fields(msgspec.Struct):
    """What `K.json` holds."""

    task: Task
    prompt: str
    response: str
    reference: str
    corpus: str
    source: str
    licence: str
    row_id: str
    grid: tuple[_Side, _Side] | None = None  # rows, columns of the picture's codes


_TEXT_FIELDS: Final = tuple(name for name in Fields.__struct_fields__ if name != "grid")
_CODES: Final = np.dtype("<u2")
_DECODER: Final = msgspec.json.Decoder(Fields)


def sample_key(row_id: str, task: Task, ordinal: int) -> str:
    """Key of a sample: 32 hex digits of its row, its task, and which copy of that row it is.

    `ordinal` tells apart equal raw rows that selection kept on purpose; it is 0 for nearly all.
    """
    return f"{row_id[:32]}-{task}-{ordinal}"


def check_key(key: str) -> None:
    """Raise ContractError when `key` cannot be a WebDataset key."""
    if not _KEY.fullmatch(key):
        raise ContractError(
            f"sample key {key!r} is not a WebDataset key: use only [a-z0-9_-], at most 94 characters "
            "('.' would split the member name)"
        )


def pack(sample: Sample) -> dict[str, bytes]:
    """Members of `sample` by extension. `unpack(key, pack(s)) == s` for every valid sample."""
    check_key(sample.key)
    has_picture = sample.codes is not None
    if has_picture != (sample.task in PICTURE_TASKS):
        state = "has" if has_picture else "lacks"
        raise ContractError(f"sample {sample.key}: task {sample.task!r} {state} picture codes")
    fields: dict[str, object] = {name: getattr(sample, name) for name in _TEXT_FIELDS}
    members: dict[str, bytes] = {}
    if sample.codes is not None:
        fields["grid"] = list(sample.codes.shape)
        members["codes"] = np.ascontiguousarray(sample.codes, _CODES).tobytes()
    members["json"] = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    return dict(sorted(members.items()))


def read_fields(key: str, text: bytes, codes_bytes: int) -> Fields:
    """What `K.json` holds, beside so many bytes of codes. Raises ContractError naming the key and the field that is
    wrong.
    """
    try:
        found = _DECODER.decode(text)
    except msgspec.MsgspecError as error:
        raise ContractError(f"sample {key}: {key}.json is no sample ({error})") from None
    if found.grid is not None and codes_bytes != 2 * found.grid[0] * found.grid[1]:
        rows, columns = found.grid
        raise ContractError(
            f"sample {key}: {codes_bytes} bytes of codes where a {rows}x{columns} grid needs {2 * rows * columns}"
        )
    return found


def unpack(key: str, members: Mapping[str, bytes]) -> Sample:
    """The sample that `pack` wrote. Raises ContractError naming the key and the field that is wrong."""
    if "json" not in members:
        raise ContractError(f"sample {key}: member {key}.json is missing from the shard")
    payload = members.get("codes", b"")
    found = read_fields(key, members["json"], len(payload))
    codes = None
    if found.grid is not None:
        codes = np.frombuffer(payload, _CODES).astype(np.uint16).reshape(found.grid)
    return Sample(
        key,
        found.task,
        found.prompt,
        found.response,
        found.reference,
        found.corpus,
        found.source,
        found.licence,
        found.row_id,
        codes,
    )
