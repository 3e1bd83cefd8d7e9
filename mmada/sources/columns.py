"""From a parsed row to our fields, by the columns that the corpus declares."""

import json
import re
from collections.abc import Collection, Mapping
from typing import Final

from mmada.sources.json_values import parse_json
from mmada.sources.raw_rows import Defect, Limits

_MISSING: Final = object()


def read_columns(
    content: object, columns: Mapping[str, str], required: Collection[str], limits: Limits
) -> dict[str, str | bytes] | Defect:
    """Our field -> text (for `image`: a name, or the bytes where the format carries them).

    A column is a key, a place in a list, or a path through both ("conversations.0.value"). Fields that are
    not required may be absent and are then left out. Reasons: missing_field, row_too_long, invalid_text,
    malformed_json.
    """
    fields: dict[str, str | bytes] = {}
    size = 0
    known = content if type(content) is dict else {}
    for field, column in columns.items():
        value = known.get(column)
        # Nearly all values are of this kind.
        if type(value) is str and field != "image" and (value.isascii() or _is_unicode(value)):
            fields[field] = value
            size += len(value)
            continue
        value = _look_up(content, column, limits)
        if field == "image":
            read = _picture(value)
        else:
            read = _text(value, as_json=field in ("spec", "reference"))
            size += len(read) if isinstance(read, str) else 0
        if isinstance(read, Defect) and (field in required or value not in (_MISSING, None)):
            return Defect(read.reason, f"{column}: {read.value}", _shown(content))
        if not isinstance(read, Defect):
            fields[field] = read
    if size > limits.max_row_bytes:
        return Defect("row_too_long", f"{size} characters", _shown(content))
    for field in required:
        if not fields.get(field) and field in columns:
            return Defect("missing_field", f"{columns[field]}: empty", _shown(content))
    return fields


def find_reference(text: str, pattern: str) -> str | Defect:
    """The gold answer in a text: the last match of a pattern's group, or all of it without a pattern."""
    if not pattern:
        return text
    matches = re.findall(pattern, text)
    if not matches:
        return Defect("missing_field", f"reference: nothing matches {pattern!r}", text[:200])
    return str(matches[-1]).strip()


def _is_unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _look_up(content: object, path: str, limits: Limits) -> object:
    if isinstance(content, bytes) and path:
        content = parse_json(content, limits)
    if not path or isinstance(content, Defect):
        return content
    if isinstance(content, Mapping) and path in content:
        return content[path]
    head, _, rest = path.partition(".")
    if isinstance(content, Mapping) and head in content:
        return _look_up(content[head], rest, limits)
    if isinstance(content, list | tuple) and head.isdigit() and int(head) < len(content):
        return _look_up(content[int(head)], rest, limits)
    return _MISSING


def _text(value: object, *, as_json: bool) -> str | Defect:
    if isinstance(value, Defect):
        return value
    if value is _MISSING or value is None:
        return Defect("missing_field", "absent")
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            return Defect("invalid_text", str(error))
    if isinstance(value, bool | int | float) or (as_json and isinstance(value, Mapping)):
        try:
            value = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:  # a table's dates, decimals and bytes; NaN and infinity
            return Defect("invalid_text", str(error))
    if not isinstance(value, str):
        return Defect("missing_field", f"a {type(value).__name__} where text should be")
    if not _is_unicode(value):
        return Defect("invalid_text", "half of a surrogate pair")
    return value


def _picture(value: object) -> str | bytes | Defect:
    """Bytes of a picture, or its name; Hugging Face tables hold {bytes, path}."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes | Defect):
        return value
    name = _text(_MISSING if value is _MISSING else value, as_json=False)
    return Defect("image_missing", name.value) if isinstance(name, Defect) else name


def _shown(content: object) -> str:
    if isinstance(content, Mapping):
        content = {name: f"{len(v)} bytes" if isinstance(v, bytes) else v for name, v in content.items()}
    return str(content)[:200]
