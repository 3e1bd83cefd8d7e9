"""Change params.yaml by a JSON Merge Patch (RFC 7396), keeping its comments: null deletes a key."""

from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.anchor import Anchor

from mmada.checkpoint_registry import REGISTRY_FILE, follow_training
from mmada.params_schema import Params, parse_params
from mmada.yaml_file import read_yaml, write_yaml, yaml_text


def patch_params(path: Path, patch_file: Path) -> Params:
    """Apply the patch in `patch_file` to the params at `path` and return the result. What models.yaml beside it says of
    training stages follows.

    Raises ParamsError when either cannot be read or the result is not allowed; the file is then left as it was.
    """
    document = read_yaml(path)
    _merge(document, read_yaml(patch_file), _shared(document))
    plain = YAML(typ="safe", pure=True).load(yaml_text(document))
    params = parse_params(plain, f"{path} after {patch_file}")
    registry = path.with_name(REGISTRY_FILE.name)
    if registry.is_file():
        follow_training(params, registry)
    write_yaml(document, path)
    return params


def _merge(target: Any, patch: Any, shared: Set[int]) -> None:
    """`shared`: ids of the mappings of the document that several of its places hold; a change is meant for one."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            own: Any = target.get(key)
            if not isinstance(own, dict):
                own = {}
            elif id(own) in shared:
                own = own.copy()
                if own.yaml_anchor():  # of those that stay together
                    delattr(own, Anchor.attrib)
            _merge(own, value, shared)
            target[key] = own or {}  # written as `{}`; an emptied block would leave only its comments behind
        else:
            target[key] = value


def _shared(document: Any) -> set[int]:
    """Ids of the mappings that aliases put into several places, and of those within them."""
    places: Counter[int] = Counter()
    waiting = [document]
    while waiting:
        node = waiting.pop()
        places[id(node)] += 1
        waiting += [child for child in node.values() if isinstance(child, dict)]
    return {node for node, count in places.items() if count > 1}
