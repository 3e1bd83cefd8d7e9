"""YAML files that people write and commands change: read and written with their comments."""

from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from mmada.errors import ParamsError
from mmada.params_schema import explain_yaml_errors
from mmada.storage import atomic_write


def read_yaml(path: Path) -> Any:
    """The mapping that a file holds. Raises ParamsError when it is absent, no YAML, or no mapping."""
    with explain_yaml_errors(path):
        document = _yaml().load(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ParamsError(f"{path} holds no mapping of keys to values")
    return document


def yaml_text(document: Any) -> str:
    """The text of what `read_yaml` gave, comments included."""
    text = StringIO()
    _yaml().dump(document, text)
    return text.getvalue()


def write_yaml(document: Any, path: Path) -> None:
    """Replace the file as a whole."""
    atomic_write(path, yaml_text(document).encode())


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 200
    return yaml
