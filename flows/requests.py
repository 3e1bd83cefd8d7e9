"""What a person may ask for in the Custom Run form: typed, with the choices that this project has.

The choices are read from the project when a deployment is made, and its server refuses anything else; `flows.serve`
makes the deployments again when the choices change.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)
from ruamel.yaml import YAML

from flows.run_workspace import resolve_commit
from mmada.checkpoint_registry import load_registry
from mmada.data_versions import TAG_PREFIX, data_versions
from mmada.errors import InputError
from mmada.git import git
from mmada.params_schema import Params, load_params, parse_params

CURRENT: Final = "current commit"
EVERYTHING: Final = "everything"
AS_COMMITTED: Final = "params.yaml as committed"
_CONFIGURATIONS: Final = Path("docs/params")


def _params() -> Params:
    return load_params(Path("params.yaml"))


def training_stages() -> list[str]:
    """Training blocks of params.yaml."""
    return list(_params().training)


def targets() -> list[str]:
    """`everything`, and the stages that a person would want to reach."""
    training = training_stages()
    reached = [
        "select",
        "validate",
        *(f"write_shards@{key}" for key in training),
        *(f"train@{key}" for key in training),
    ]
    return [EVERYTHING, *reached, *(f"evaluate@{name}" for name in load_registry()), "build_site"]


def offered_versions() -> list[str]:
    """`current commit` and the names of all promoted versions, newest first."""
    return [CURRENT, *data_versions(Path())]


def corpus_configurations() -> list[str]:
    """`params.yaml as committed`, and the patches in docs/params."""
    return [AS_COMMITTED, *sorted(path.stem for path in _CONFIGURATIONS.glob("*.yaml"))]


def registered_checkpoints() -> list[str]:
    """Names in models.yaml."""
    return list(load_registry())


def benchmarks() -> list[str]:
    """Benchmarks of params.yaml."""
    return list(_params().benchmarks)


def _one_of(choices: Callable[[], list[str]], value: str) -> str:
    known = choices()
    if value not in known:
        raise ValueError(f"{value!r} is unknown; allowed: {', '.join(known)}")
    return value


def _choice(choices: Callable[[], list[str]], title: str) -> tuple[Any, ...]:
    """Metadata of a string with fixed choices: checked here, and offered as a list in the form."""
    schema = WithJsonSchema({"type": "string", "enum": choices()})
    return AfterValidator(partial(_one_of, choices)), schema, _titled(title)


def _titled(title: str) -> Any:
    """Metadata of a parameter's title; Prefect itself would show the parameter's name."""
    return Field(json_schema_extra={"title": title})


TrainingStage = Annotated[str, *_choice(training_stages, "Training stage")]
Target = Annotated[str, *_choice(targets, "Target stage")]
DataVersion = Annotated[str, *_choice(offered_versions, "Data version")]
CorpusConfiguration = Annotated[str, *_choice(corpus_configurations, "Corpus configuration")]
RegisteredCheckpoint = Annotated[str, *_choice(registered_checkpoints, "Checkpoint")]
BenchmarkName = Annotated[str, *_choice(benchmarks, "Benchmark")]


Suite = Annotated[tuple[BenchmarkName, ...], _titled("Benchmarks")]
FirstCheckpoint = Annotated[str, _titled("First checkpoint")]


def _plain_fields(schema: dict[str, Any]) -> None:
    """Show an optional number as a number field that may stay empty, not as a choice between `int` and `None`.

    Prefect's server takes null for every entry of a form that has no default and need not be filled in.
    """
    for position, entry in enumerate(schema["properties"].values()):
        entry["position"] = position  # a server on Postgres forgets the order of entries
        if "default" in entry and entry["default"] is None:
            del entry["default"]
            entry |= next(one for one in entry.pop("anyOf") if one["type"] != "null")


class _Form(BaseModel):
    """A group of entries, each of which may stay empty."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_plain_fields)

    @model_serializer(mode="wrap")
    def _filled_in(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The form begins with what this gives for the default: an entry that is null would show the word `null`.
        return {name: value for name, value in serialize(self).items() if value is not None}


class TrainingOverrides(_Form):
    """What to change in the training block; what is left empty stays as it is in params.yaml."""

    max_steps: int | None = Field(default=None, gt=0, title="Steps", description="Optimiser steps of the whole stage.")
    learning_rate: float | None = Field(
        default=None, gt=0, lt=1, title="Learning rate", description="Peak rate of AdamW, for example 0.0003."
    )
    batch_size: int | None = Field(
        default=None, gt=0, title="Batch size", description="Samples of a micro-batch; not of UniGRPO."
    )
    publish_every: int | None = Field(
        default=None,
        ge=0,
        title="Publish every",
        description="Steps between checkpoints that are kept and evaluated; 0 keeps only the finished model.",
    )
    seed: int | None = Field(default=None, title="Seed", description="Of data order, noise and dropout.")
    mixture: dict[str, float] | None = Field(
        default=None,
        title="Mixture weights",
        description='Corpus to weight, for example {"captions": 4, "questions": 1}; corpora left out are not used.',
    )

    def patch(self, stage: str, params: Params) -> dict[str, Any]:
        """The overrides as a patch of `params` (JSON Merge Patch).

        Raises InputError when these have no such stage, or one that takes no batch size.
        """
        if stage not in params.training:
            raise InputError(f"this data version has no training stage {stage!r}; it has: {', '.join(params.training)}")
        if self.batch_size is not None and params.training[stage].unigrpo is not None:
            raise InputError(
                f"a batch size changes nothing in {stage}: UniGRPO learns from prompts_per_iteration x group_size "
                "answers a step, which params.yaml says; leave the field empty"
            )
        block: dict[str, Any] = self.model_dump(exclude={"learning_rate", "batch_size", "mixture"})
        if self.batch_size is not None:
            block["masked_prediction"] = {"batch_size": self.batch_size}
        if self.learning_rate is not None:
            block["optimiser"] = {"learning_rate": self.learning_rate}
        if self.mixture is not None:
            left_out = dict.fromkeys(params.training[stage].data.corpora)
            block["data"] = {"corpora": left_out | self.mixture}
        return {"training": {stage: block}} if block else {}


class DecodingOverrides(_Form):
    """How to decode; what is left empty is as in `evaluation.decoding` of params.yaml."""

    think: Literal["as configured", "yes", "no"] = Field(
        default="as configured", title="Think", description="Ask for a thought before the answer or the picture."
    )
    text_steps: int | None = Field(default=None, gt=0, title="Text steps", description="Denoising steps of a text.")
    text_block: int | None = Field(
        default=None, gt=0, title="Text block", description="Tokens per semi-autoregressive block."
    )
    text_temperature: float | None = Field(
        default=None, ge=0, title="Text temperature", description="Gumbel noise; 0 is greedy."
    )
    image_steps: int | None = Field(default=None, gt=0, title="Image steps", description="MaskGIT steps of a picture.")
    image_temperature: float | None = Field(
        default=None, ge=0, title="Image temperature", description="Noise in the choice of codes that MaskGIT keeps."
    )
    guidance: float | None = Field(
        default=None, ge=0, title="Guidance", description="Scale of classifier-free guidance; 0 is none."
    )

    def patch(self, name: str, model_key: str, params: Params) -> dict[str, Any]:
        """The overrides of checkpoint `name` as a patch of `params`: an entry of its own for every benchmark."""
        changed = self.model_dump(exclude={"think"})
        if self.think != "as configured":
            changed["think"] = self.think == "yes"
        if not changed:
            return {}
        known = params.evaluation.decoding_for(name, model_key)
        entry = {benchmark: one.model_dump(mode="json") | changed for benchmark, one in known.items()}
        return {"evaluation": {"decoding": {name: entry}}}


Overrides = Annotated[TrainingOverrides, _titled("Overrides")]
Decoding = Annotated[DecodingOverrides, _titled("Decoding")]


def base_commit(project: Path, data_version: str) -> str:
    """Full hash of the commit that a data version stands for."""
    return resolve_commit(project, "HEAD" if data_version == CURRENT else TAG_PREFIX + data_version)


def committed_params(project: Path, commit: str) -> Params:
    """params.yaml as a run of the commit finds it, whatever has been edited since. Raises ParamsError."""
    text = git(project, "show", f"{commit}:./params.yaml")
    return parse_params(YAML(typ="safe").load(text), f"params.yaml of commit {commit[:12]}")


def suite_patch(suite: Sequence[str], params: Params) -> dict[str, Any]:
    """The patch of `params` that leaves the benchmarks of a suite; none means all. Raises InputError for others."""
    if unknown := sorted(set(suite) - params.benchmarks.keys()):
        raise InputError(f"this data version has no benchmark {unknown}; it has: {', '.join(params.benchmarks)}")
    return {"benchmarks": {name: None for name in params.benchmarks if name not in suite}} if suite else {}


def corpus_patch(project: Path, configuration: str) -> Mapping[str, Any]:
    """The patch of params.yaml that a corpus configuration stands for."""
    if configuration == AS_COMMITTED:
        return {}
    import yaml

    patch: dict[str, Any] = yaml.safe_load((project / _CONFIGURATIONS / f"{configuration}.yaml").read_text("utf-8"))
    return patch
