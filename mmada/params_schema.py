"""What params.yaml may say: one frozen section per top-level key, validated before anything runs.

Defaults live in params.yaml, not here; a field with a default is one that most corpora do not need. Sections about data
are in `params_data`, those about models in `params_training`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from mmada.errors import ParamsError
from mmada.params_data import (
    Annotation,
    Benchmark,
    Corpus,
    DemoCorpus,
    Gate,
    Ingest,
    Selection,
    Shards,
    TextTokenizer,
    Vq,
)
from mmada.params_section import DRAWING_TASKS, Key, Section
from mmada.params_training import Evaluation, Model, TrainingBlock, check_rewards

_UNTRAINED: Final = "init"
"""Name of the model that `init_model` makes, in `training.<stage>.init` and in models.yaml."""
PARAMS_FILE: Final = Path("params.yaml")
"""Where it is, from the project's root, where every command runs."""


class Paths(Section):
    """Folders of every stage's output, relative to the project's root. Interpolated into dvc.yaml."""

    demo_corpora: str
    ingested: str
    text_tokenizer: str
    magvit: str
    codes: str
    benchmark_items: str
    facts: str
    selected: str
    profiles: str
    gate: str
    shards: str
    models: str
    checkpoints: str
    scores: str
    score_store: str
    reports: str
    provenance: str
    site: str


def _at_least_one(benchmarks: dict[str, Benchmark]) -> dict[str, Benchmark]:
    if not benchmarks:
        raise ValueError(
            "name at least one set of held-out items: rows are searched for them, and checkpoints are scored on them"
        )
    return benchmarks


class Params(Section):
    """The whole of params.yaml."""

    paths: Paths
    demo_corpora: dict[Key, DemoCorpus]
    corpora: Annotated[dict[Key, Corpus], Field(min_length=1)]
    ingest: Ingest
    text_tokenizer: TextTokenizer
    vq: Vq
    benchmarks: Annotated[dict[Key, Benchmark], AfterValidator(_at_least_one)]
    annotation: Annotation
    selection: Selection
    gate: Gate
    shards: Shards
    model: Model
    training: Annotated[dict[Key, TrainingBlock], Field(min_length=1)]
    evaluation: Evaluation

    @model_validator(mode="after")
    def _names_exist(self) -> "Params":
        if _UNTRAINED in self.training:
            raise ValueError(f"training.{_UNTRAINED}: that is what the untrained model is called; choose another name")
        parents = {_UNTRAINED, *self.training}
        for name, block in self.training.items():
            if block.init not in parents or block.init == name:
                raise ValueError(f"training.{name}.init is {block.init!r}; allowed: {sorted(parents - {name})}")
            unknown = sorted({*block.data.corpora, *block.data.direct_answers} - set(self.corpora))
            if unknown:
                raise ValueError(f"training.{name}.data.corpora names {unknown}; allowed: {sorted(self.corpora)}")
        return self

    @model_validator(mode="after")
    def _stages_begin_somewhere(self) -> "Params":
        begun = {_UNTRAINED}
        while ready := {name for name, block in self.training.items() if block.init in begun} - begun:
            begun |= ready
        if waiting := sorted(self.training.keys() - begun):
            raise ValueError(f"training: {waiting} wait for one another; the `init` of one must lead to {_UNTRAINED}")
        return self

    @model_validator(mode="after")
    def _rows_fit_the_model(self) -> "Params":
        """A base model brings its own length."""
        rows, most = self.selection.max_text_tokens, self.model.max_sequence_length
        if rows > most and not self.model.base:
            raise ValueError(
                f"selection.max_text_tokens is {rows}, and the model takes sequences of model.max_sequence_length = "
                f"{most}: no stage could train on such rows; lower the one or raise the other"
            )
        return self

    @model_validator(mode="after")
    def _rows_are_learned(self) -> "Params":
        for name, block in self.training.items():
            if block.masked_prediction is None:
                continue
            for corpus in block.data.corpora:
                task = self.corpora[corpus].task
                if task not in block.masked_prediction.loss_weights:
                    raise ValueError(
                        f"training.{name}.masked_prediction.loss_weights has no entry for {task}, the task of corpus "
                        f"{corpus}: its rows would be drawn and teach nothing; give it a weight"
                    )
        return self

    @model_validator(mode="after")
    def _answers_are_rewarded(self) -> "Params":
        for name, block in self.training.items():
            if block.unigrpo is None:
                continue
            where = f"training.{name}.unigrpo"
            unknown = sorted(block.unigrpo.corpus_rewards.keys() - block.data.corpora.keys())
            if unknown:
                raise ValueError(f"{where}.corpus_rewards names {unknown}; allowed: {sorted(block.data.corpora)}")
            for corpus in block.data.corpora:
                task = self.corpora[corpus].task
                if corpus in block.unigrpo.corpus_rewards:
                    check_rewards(block.unigrpo.corpus_rewards[corpus], task, f"{where}.corpus_rewards.{corpus}")
                elif task not in block.unigrpo.rewards:
                    raise ValueError(f"{where}.rewards has no entry for {task}, the task of corpus {corpus}")
                if task not in DRAWING_TASKS and block.unigrpo.sampling.text_temperature == 0:
                    raise ValueError(
                        f"{where}.sampling.text_temperature is 0: all answers to a prompt of corpus {corpus} would be "
                        "the same, and nothing would be learned; use a positive one"
                    )
        return self


def load_params(path: Path) -> Params:
    """Read and validate params.yaml.

    Raises ParamsError that lists every wrong entry by its dotted path with the allowed values.
    """
    with explain_yaml_errors(path):
        raw = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return parse_params(raw, str(path))


@contextmanager
def explain_yaml_errors(path: Path) -> Iterator[None]:
    """What reading the YAML file at `path` may raise, as ParamsError."""
    try:
        yield
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run from the project's root, the folder with params.yaml") from None
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        raise ParamsError(f"{path}, line {line}: {error.problem}; rename one of the two, or take it out") from None
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None


def parse_params(raw: Any, where: str) -> Params:
    """Validate already loaded parameters; `where` names their origin in messages."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        lines = [_issue_line(issue) for issue in error.errors()]
        entries = "1 entry is" if len(lines) == 1 else f"{len(lines)} entries are"
        raise ParamsError(f"{where}: {entries} not allowed; mend and run again\n" + "\n".join(lines)) from None


def _issue_line(issue: ErrorDetails) -> str:
    line = f"  {'.'.join(str(part) for part in issue['loc']) or '(top level)'}: {issue['msg']}"
    value = issue["input"]
    if isinstance(value, Mapping):
        return line
    # A date or a number where a name belongs, such as that of the data version 2026-11-05.
    quotes = "; write it in quotes" if issue["type"] == "string_type" and isinstance(value, int | float | date) else ""
    return f"{line} (got {value!r}){quotes}"
