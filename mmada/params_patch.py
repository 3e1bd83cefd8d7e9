"""Change params.yaml by a JSON Merge Patch (RFC 7396), keeping its comments: null deletes a key."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mmada.checkpoint_registry import REGISTRY_FILE, follow_training
from mmada.params_schema import Params, parse_params
from mmada.yaml_file import read_yaml, write_yaml, yaml_text


def patch_params(path: Path, patch_file: Path) -> Params:
    """Apply the patch in `patch_file` to the params at `path` and return the result. What models.yaml beside it says of
    training stages follows.

    Raises ParamsError when either cannot be read or the result is not allowed; the file is then left as it was.
    """
    document = read_yaml(path)
    _merge(document, read_yaml(patch_file))
    plain = YAML(typ="safe", pure=True).load(yaml_text(document))
    params = parse_params(plain, f"{path} after {patch_file}")
    registry = path.with_name(REGISTRY_FILE.name)
    if registry.is_file():
        follow_training(params, registry)
    write_yaml(document, path)
    return params


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
