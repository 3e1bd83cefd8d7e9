"""models.yaml: the registered checkpoints. Every one of them is evaluated, and every score names one of them."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mmada.errors import ParamsError
from mmada.params_section import Key, Section
from mmada.storage import atomic_write, exclusive

REGISTRY_FILE: Final = Path("models.yaml")


class Checkpoint(Section):
    """A model folder that may be evaluated.

    `pipeline`: the output of a training stage, which changes with it. `published`: kept by a training run under its id.
    `external`: made elsewhere, so its lineage ends here.
    """

    path: Annotated[str, Field(min_length=1)]
    origin: Literal["pipeline", "published", "external"]
    id: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """sha256 of the folder's manifest; empty for `pipeline`, where it follows the stage's output."""


_ENTRIES: Final = TypeAdapter(dict[Key, Checkpoint])


def load_registry(path: Path = REGISTRY_FILE) -> Mapping[str, Checkpoint]:
    """Registered checkpoints by name. Raises ParamsError naming the wrong entry."""
    return _validated(_load(path), path)


def find_checkpoint(name: str, path: Path = REGISTRY_FILE) -> Checkpoint:
    """The entry `name`. Raises ParamsError that lists what is registered when there is none."""
    registry = load_registry(path)
    if name not in registry:
        raise ParamsError(
            f"{path} registers no checkpoint {name!r}; it has: {', '.join(registry)}. "
            "`mmada register FOLDER NAME` adds one"
        )
    return registry[name]


def register(name: str, checkpoint: Checkpoint, path: Path = REGISTRY_FILE) -> None:
    """Add an entry, keeping the file's comments. The same entry twice is one entry.

    Raises ParamsError when the name stands for another checkpoint.
    """
    with exclusive(path.parent / ".mmada" / "locks" / path.name):  # two writers at once would lose one entry
        document = _load(path)
        known = _validated(document, path)
        if known.get(name) == checkpoint:
            return
        if name in known:
            raise ParamsError(f"{path}: the name {name!r} stands for {known[name].path}; choose another name")
        document["checkpoints"][name] = checkpoint.model_dump(exclude_defaults=True)
        _validated(document, path)
        text = StringIO()
        _yaml().dump(document, text)
        atomic_write(path, text.getvalue().encode())


def _validated(document: Any, path: Path) -> Mapping[str, Checkpoint]:
    try:
        return _ENTRIES.validate_python(document["checkpoints"])
    except (KeyError, TypeError):
        raise ParamsError(f"{path} has no mapping `checkpoints`") from None
    except ValidationError as error:
        issue = error.errors()[0]
        where = ".".join(str(part) for part in issue["loc"])
        raise ParamsError(f"{path}: checkpoints.{where}: {issue['msg']} (got {issue['input']!r})") from None


def _load(path: Path) -> Any:
    try:
        return _yaml().load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run from the project's root") from None
    except YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 200
    return yaml
