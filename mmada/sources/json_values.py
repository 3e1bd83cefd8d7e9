"""One JSON value from bytes that nobody vouches for."""

import json
import re
from typing import Any, Final

import msgspec

from mmada.sources.raw_files import RawFile
from mmada.sources.raw_rows import Defect, Limits, excerpt

IN_STRING: Final = re.compile(rb'["\\]')
OUTSIDE: Final = re.compile(rb'["\[\]{},]')
"""What a scan of JSON stops at, in a text and between texts."""

OPENING: Final = (b"[", b"{")
SPACE: Final = b" \t\r\n"
BLOCK: Final = 1 << 20
"""Bytes that are looked at together."""

decode_fast: Final = msgspec.json.Decoder().decode
"""Raises for what is not JSON, and for what the standard library's decoder takes all the same; knows no limits."""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _whole_number(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # more digits than Python makes a number of: they are kept as they stand
        return digits


_UNKNOWN: Final = object()
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse, parse_int=_whole_number)


def parse_json(data: bytes, limits: Limits) -> object:
    """The value that `data` (UTF-8, one JSON value) stands for, or the Defect that it has.

    Reasons: row_too_long (more than max_row_bytes), malformed_json (syntax, encoding, nesting beyond
    max_json_depth).
    """
    if len(data) > limits.max_row_bytes:
        return Defect("row_too_long", f"{len(data)} bytes", excerpt(data))
    try:
        value = decode_fast(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = _UNKNOWN  # the other decoder takes byte order marks, half surrogates and huge numbers, or says why not
    if _is_flat(value):  # nearly all rows are, and their brackets need no counting
        return value
    if _nested_deeper(data, limits.max_json_depth):
        return Defect("malformed_json", f"nested deeper than {limits.max_json_depth}", excerpt(data))
    if value is not _UNKNOWN:
        return value
    try:
        return _DECODER.decode(data.decode("utf-8-sig"))
    except ValueError as error:
        return Defect("malformed_json", str(error), excerpt(data))


def _is_flat(value: object) -> bool:
    if type(value) is not dict:
        return False
    for field in value.values():  # noqa: SIM110  # any() would take as long as decoding the row
        if type(field) is dict or type(field) is list:
            return False
    return True


def _nested_deeper(data: bytes, depth: int) -> bool:
    if openings(data) <= depth:
        return False
    level = position = 0
    in_string = False
    while match := (IN_STRING if in_string else OUTSIDE).search(data, position):
        token, position = match.group(), match.end()
        if token == b"\\":
            position += 1
        elif token == b'"':
            in_string = not in_string
        elif token != b",":
            level += 1 if token in OPENING else -1
            if level > depth:
                return True
    return False


def openings(data: bytes) -> int:
    """How many brackets open in `data`, those in texts too."""
    return data.count(b"[") + data.count(b"{")


def read_object(file: RawFile, limits: Limits) -> dict[str, Any] | Defect:
    """The JSON object that a whole file holds."""
    with file.open() as stream:
        content = parse_json(stream.read(limits.max_row_bytes + 1), limits)
    if isinstance(content, dict | Defect):
        return content
    return Defect("malformed_json", f"{file.name} holds no object")
