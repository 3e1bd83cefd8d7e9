"""Numbers that a user sets by environment variables."""

import os

from mmada.errors import ParamsError


def whole_number(name: str, *, default: int, least: int = 0) -> int:
    """The variable's number, `default` where it is not set. Raises ParamsError when it is none, or below `least`."""
    value = os.environ.get(name) or str(default)
    if not value.isdecimal() or int(value) < least:
        raise ParamsError(f"{name} is {value!r}; it is a whole number of {least} or more")
    return int(value)
