"""Change params.yaml by a JSON Merge Patch (RFC 7396), keeping its comments: null deletes a key."""

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mmada.errors import ParamsError
from mmada.params_schema import Params, parse_params
from mmada.storage import atomic_write


def patch_params(path: Path, patch_file: Path) -> Params:
    """Apply the patch in `patch_file` to the params at `path` and return the result.

    Raises ParamsError when either cannot be read or the result is not allowed; the file is then left as it was.
    """
    document = _load(path)
    _merge(document, _load(patch_file))
    text = StringIO()
    _yaml().dump(document, text)
    params = parse_params(YAML(typ="safe", pure=True).load(text.getvalue()), f"{path} after {patch_file}")
    atomic_write(path, text.getvalue().encode())
    return params


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    return yaml


def _load(path: Path) -> Any:
    try:
        document = _yaml().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist") from None
    except YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise ParamsError(f"{path} holds no mapping of keys to values")
    return document


def _merge(target: Any, patch: Any) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
            if not target[key]:
                target[key] = {}  # written as `{}`; an emptied block would leave only its comments behind
        else:
            target[key] = value
