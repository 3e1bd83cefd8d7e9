"""models.yaml: the registered checkpoints. Every one of them is evaluated, and every score names one of them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError
from ruamel.yaml.comments import CommentedMap

from mmada.errors import ParamsError
from mmada.params_schema import Params
from mmada.params_section import Key, Section
from mmada.storage import exclusive
from mmada.yaml_file import read_yaml, write_yaml

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
    return _validated(read_yaml(path), path)


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
    with _editing(path):
        document = read_yaml(path)
        if _add(document, name, checkpoint, path):
            write_yaml(document, path)


def check_entry(name: str, checkpoint: Checkpoint, path: Path = REGISTRY_FILE) -> None:
    """Raises ParamsError as `register` would."""
    _add(read_yaml(path), name, checkpoint, path)


def _add(document: Any, name: str, checkpoint: Checkpoint, path: Path) -> bool:
    """Whether the entry is new to the document, which has it now."""
    known = _validated(document, path)
    if known.get(name) == checkpoint:
        return False
    if name in known:
        raise ParamsError(f"{path}: the name {name!r} stands for {known[name].path}; choose another name")
    document["checkpoints"][name] = _on_one_line(checkpoint)
    _validated(document, path)
    return True


def check_pipeline(params: Params, path: Path = REGISTRY_FILE) -> list[str]:
    """Training stages that have no entry, so that nothing evaluates them.

    Raises ParamsError naming an entry of the pipeline that no training stage makes: its folder would be waited for in
    vain.
    """
    made, held = _made(params), _held(load_registry(path))
    for name, folder in held.items():
        if folder not in made.values():
            raise ParamsError(
                f"{path}: checkpoints.{name} is the pipeline's {folder}, which no stage makes; `training` of params "
                f"has {', '.join(params.training)}. Take the entry out, or name one of these"
            )
    return [name for name, folder in made.items() if folder not in held.values()]


def check_decoding(params: Params, path: Path = REGISTRY_FILE) -> None:
    """Raises ParamsError naming an entry of `evaluation.decoding` by which nothing would be decoded: its checkpoint or
    its benchmark is not there.

    For people who write params.yaml: a run on some of the benchmarks alone keeps the decoding of the others.
    """
    checkpoints = {"default", *_made(params), *load_registry(path)}
    benchmarks = {"default", *params.benchmarks}
    for name, by_benchmark in params.evaluation.decoding.items():
        if name not in checkpoints:
            raise ParamsError(f"evaluation.decoding names checkpoint {name!r}; allowed: {sorted(checkpoints)}")
        if unknown := sorted(by_benchmark.keys() - benchmarks):
            raise ParamsError(f"evaluation.decoding.{name} names {unknown}; allowed: {sorted(benchmarks)}")


def follow_training(params: Params, path: Path = REGISTRY_FILE) -> None:
    """Keep the entries of the pipeline in step with the training stages: those that are gone go, new ones come."""
    with _editing(path):
        document = read_yaml(path)
        known = _validated(document, path)
        made, held = _made(params), _held(known)
        gone = [name for name, folder in held.items() if folder not in made.values()]
        new = {name: folder for name, folder in made.items() if folder not in held.values() and name not in known}
        for name in gone:
            del document["checkpoints"][name]
        for name, folder in new.items():
            document["checkpoints"][name] = _on_one_line(Checkpoint(path=folder.as_posix(), origin="pipeline"))
        if gone or new:
            write_yaml(document, path)


def _editing(path: Path) -> AbstractContextManager[object]:
    """Two writers at once would lose an entry."""
    return exclusive(path.parent / ".mmada" / "locks" / path.name)


def _made(params: Params) -> dict[str, Path]:
    """Name -> folder of all models that the graph makes."""
    return {name: Path(params.paths.models) / name for name in ("init", *params.training)}


def _held(registry: Mapping[str, Checkpoint]) -> dict[str, Path]:
    """Name -> folder of the entries that stand for models of the graph."""
    return {name: Path(entry.path) for name, entry in registry.items() if entry.origin == "pipeline"}


def _on_one_line(checkpoint: Checkpoint) -> CommentedMap:
    entry = CommentedMap(checkpoint.model_dump(exclude_defaults=True))
    entry.fa.set_flow_style()
    return entry


def _validated(document: Any, path: Path) -> Mapping[str, Checkpoint]:
    try:
        return _ENTRIES.validate_python(document["checkpoints"])
    except (KeyError, TypeError):
        raise ParamsError(f"{path} has no mapping `checkpoints`") from None
    except ValidationError as error:
        issue = error.errors()[0]
        where = ".".join(str(part) for part in issue["loc"])
        raise ParamsError(f"{path}: checkpoints.{where}: {issue['msg']} (got {issue['input']!r})") from None
