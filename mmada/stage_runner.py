"""Run one stage: give it its parameters, keep its output only when it is whole, and record how it came to be.

A stage is `mmada/stages/<name>.py` with a function of the same name and these constants:

- `VERSION`: raised whenever the bytes that the stage makes from equal input change;
- `OUT`: where the output goes: a field of `paths`, optionally with a folder below it;
- `KEYED_BY` (keyed stages): the section whose entries are its keys, or `checkpoints` for those of models.yaml;
- `READS` (optional): argument -> dotted path of params.yaml, where an argument is not a whole section.
"""

import importlib
import inspect
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pydantic import BaseModel

from mmada.checkpoint_registry import find_checkpoint
from mmada.errors import ParamsError
from mmada.lineage.manifest import Artifact, write_manifest
from mmada.lineage.provenance import ProvenanceStore, Run
from mmada.params_schema import Params
from mmada.shards.index import index_parts
from mmada.stage_report import StageReport, write_report
from mmada.storage import exclusive, explain_os_errors
from mmada.unit_store import WORK_DIR, open_unit_store

_FROM_RUNNER: Final = frozenset({"out", "key", "paths", "store", "checkpoint", "registered"})
"""`registered`: names of all benchmarks. Stages refuse data that was not searched for one; it changes no byte."""
_CHECKPOINTS: Final = "checkpoints"  # keys of models.yaml, not a section of params.yaml


@dataclass(frozen=True)
class Stage:
    """A stage's module together with the key that it is run for ("" when it has none)."""

    name: str
    key: str
    module: ModuleType

    @property
    def address(self) -> str:
        """`name` or `name@key`, as in dvc.yaml and on the command line."""
        return f"{self.name}@{self.key}" if self.key else self.name

    @property
    def function(self) -> Callable[..., StageReport]:
        function: Callable[..., StageReport] = getattr(self.module, self.name)
        return function

    def reads(self) -> dict[str, str]:
        """Argument -> dotted path in params.yaml, for every parameter that the stage reads."""
        explicit: dict[str, str] = getattr(self.module, "READS", {})
        keyed_by = getattr(self.module, "KEYED_BY", None)
        names = [name for name in inspect.signature(self.function).parameters if name not in _FROM_RUNNER]
        default = {name: f"{name}.{{key}}" if name == keyed_by else name for name in names}
        return {name: (default | explicit)[name].format(key=self.key) for name in names}

    def output(self, params: Params) -> Path:
        """Folder of the stage's output."""
        field, _, below = str(self.module.OUT).partition("/")
        return Path(getattr(params.paths, field)) / below / self.key


def stage_names() -> list[str]:
    """Names of all stages, from the files in mmada/stages."""
    folder = Path(__file__).parent / "stages"
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def find_stage(address: str, params: Params) -> Stage:
    """The stage at `name[@key]`; ParamsError lists what exists when there is no such stage or key."""
    name, _, key = address.partition("@")
    if name not in stage_names():
        raise ParamsError(f"there is no stage {name!r}; stages: {', '.join(stage_names())}")
    stage = Stage(name, key, importlib.import_module(f"mmada.stages.{name}"))
    keyed_by = getattr(stage.module, "KEYED_BY", None)
    if (keyed_by is not None) != bool(key):
        need = f"needs a key: {name}@<key of {keyed_by}>" if keyed_by else "takes no key"
        raise ParamsError(f"stage {name} {need}")
    if keyed_by == _CHECKPOINTS:
        find_checkpoint(key)
    elif keyed_by and key not in (keys := getattr(params, keyed_by)):
        raise ParamsError(f"{keyed_by} in params.yaml has no {key!r}; it has: {', '.join(keys)}")
    return stage


def run_stage(address: str, params: Params) -> Artifact:
    """Run a stage and put its output in place. On any failure the earlier output and other stages' stay as they are."""
    stage = find_stage(address, params)
    target = stage.output(params)
    with explain_os_errors(target), exclusive(WORK_DIR / "locks" / stage.address):
        started = datetime.now(UTC)
        clock = time.monotonic()
        partial = WORK_DIR / "partial" / stage.address
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            report = stage.function(**_arguments(stage, params, partial))
            artifact = write_manifest(
                partial,
                stage=stage.name,
                key=stage.key,
                version=stage.module.VERSION,
                metadata=report.metadata,
            )
            _put_in_place(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        _record(stage, params, report, artifact, target, started)
    write_report(
        report,
        Path(params.paths.reports) / f"{stage.address}.json",
        seconds=time.monotonic() - clock,
        output_id=artifact.id,
    )
    return artifact


def _arguments(stage: Stage, params: Params, partial: Path) -> dict[str, Any]:
    offered: dict[str, Any] = {
        "out": partial,
        "key": stage.key,
        "paths": params.paths,
        "store": open_unit_store(WORK_DIR / "units"),
        "registered": list(params.benchmarks),
    }
    wanted = inspect.signature(stage.function).parameters
    if "checkpoint" in wanted:
        offered["checkpoint"] = find_checkpoint(stage.key)
    return {name: value for name, value in offered.items() if name in wanted} | {
        name: lookup(params, path) for name, path in stage.reads().items()
    }


def lookup(params: Params, dotted: str) -> Any:
    """Value at a dotted path of the validated parameters."""
    value: Any = params
    for part in dotted.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


def _put_in_place(partial: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if partial.stat().st_dev != target.parent.stat().st_dev:
        partial = _brought_near(partial, target)
    if target.exists():
        # The old output moves aside first, so that no moment shows a mixture of old and new files.
        aside = partial.with_name(f".{partial.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
        shutil.rmtree(aside)
    partial.rename(target)


def _brought_near(partial: Path, target: Path) -> Path:
    """A copy on the disk of `target`, where that is another one: a folder cannot be renamed across disks."""
    near = target.with_name(f".{target.name}.partial")
    shutil.rmtree(near, ignore_errors=True)
    try:
        return shutil.copytree(partial, near)
    except BaseException:
        shutil.rmtree(near, ignore_errors=True)
        raise


def _record(
    stage: Stage, params: Params, report: StageReport, artifact: Artifact, target: Path, started: datetime
) -> None:
    run = Run(
        stage=stage.name,
        key=stage.key,
        version=stage.module.VERSION,
        path=target.as_posix(),
        inputs={name: (read.id, read.path.as_posix()) for name, read in report.inputs.items()},
        raw_files=report.raw_files,
        params={path: _plain(lookup(params, path)) for path in stage.reads().values()},
        started=started,
        rows=report.rows(),
        events=report.events,
    )
    ProvenanceStore(Path(params.paths.provenance)).append(artifact, run, rows=index_parts(target))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
