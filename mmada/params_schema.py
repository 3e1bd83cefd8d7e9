"""What params.yaml may say: one frozen section per top-level key, validated before anything runs.

Defaults live in params.yaml, not here; a field with a default below is one that most corpora do not need.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmada.errors import ParamsError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Key = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
TaskName = Literal["t2i", "lm", "chat", "mmu", "r2i"]
PICTURE_TASKS: Final = ("t2i", "mmu", "r2i")


class Section(BaseModel):
    """A closed, immutable block of params.yaml: an unknown key is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
    gate: str
    shards: str
    models: str
    scores: str
    reports: str
    provenance: str
    site: str


class CorpusCounts(Section):
    """How many clean rows of each kind the embedded corpus holds."""

    pictures: Positive
    questions: Positive
    drawings: Positive
    problems: Positive
    texts: Positive
    heldout_problems: Positive
    heldout_questions: Positive
    heldout_prompts: Positive


class Dirt(Section):
    """How many rows of each defect are planted, named by the reason that the drop ledger must give."""

    malformed_json: Count
    image_truncated: Count
    image_mislabelled: Count
    row_too_long: Count
    duplicate_exact: Count
    duplicate_near: Count
    answer_wrong: Count
    thought_unclosed: Count
    thought_loop: Count
    contaminated: Count


class DemoCorpus(Section):
    """The embedded corpus, made from a seed."""

    seed: int
    counts: CorpusCounts
    dirt: Dirt


Format = Literal[
    "jsonl",
    "json",
    "parquet",
    "webdataset",
    "image_folder",
    "llava",
    "messages",
    "trajectories",
    "huggingface",
]


REQUIRED_FIELDS: Final[Mapping[TaskName, tuple[str, ...]]] = {
    "t2i": ("prompt", "image"),
    "lm": ("response",),
    "chat": ("prompt",),
    "mmu": ("prompt", "image"),
    "r2i": ("prompt", "response", "image"),
}
"""What a row must have for each task. Without a response a chat or mmu row serves reinforcement learning only."""

_FROM_FORMAT: Final = {"llava": ("prompt", "response", "image"), "messages": ("prompt", "response")}


def _check_pattern(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"reference_pattern {pattern!r} is no regular expression: {error}") from None
    if pattern and groups != 1:
        raise ValueError(f"reference_pattern {pattern!r} has {groups} groups; it needs one, around the answer")


class Corpus(Section):
    """One raw corpus: where it lies, how it is written (declared, never guessed), what it is used for."""

    path: str
    format: Format
    task: TaskName
    files: str = "**/*"
    """Glob of the files to read below `path`."""
    columns: dict[Literal["prompt", "response", "reference", "image", "kind"], str] = {}
    """Our field -> the corpus's column. A response or reference may be absent."""
    prompt: str = ""
    """A fixed prompt for corpora whose rows have none (captioning)."""
    reference_pattern: str = ""
    """Regular expression with one group that finds the gold answer in the reference column (GSM8K: '#### (.+)')."""
    image_path: str = "{}"
    """Where a picture lies below `path`; `{}` stands for the image column ("images/{}.png")."""
    sidecar: str = ""
    """A JSON file beside each data file whose fields all rows of that file inherit (R1 dumps: problem.json)."""
    max_rows: Positive | None = None
    """Read only the first rows of the corpus (smoke runs)."""
    revision: str = ""
    """Commit hash of a Hugging Face dataset; required for `huggingface`."""
    split: str = "train"
    """Split of a Hugging Face dataset."""
    source: str
    licence: str

    @model_validator(mode="after")
    def _columns_fit(self) -> "Corpus":
        if self.format == "huggingface" and not self.revision:
            raise ValueError("a huggingface corpus needs `revision`, the commit to pin")
        given = {*self.columns, *_FROM_FORMAT.get(self.format, ()), *(["prompt"] if self.prompt else [])}
        absent = sorted(set(REQUIRED_FIELDS[self.task]) - given)
        if absent:
            raise ValueError(f"task {self.task} needs a column for each of {absent}: declare them in `columns`")
        _check_pattern(self.reference_pattern)
        return self


class Ingest(Section):
    """Limits that bound what one raw row may cost."""

    max_row_bytes: Positive
    max_image_bytes: Positive
    max_image_pixels: Positive
    max_json_depth: Positive
    rows_per_unit: Positive


class TextTokenizer(Section):
    """Byte-level BPE fitted on the ingested text, or a published folder."""

    folder: str
    """Folder of a published tokenizer to use unchanged; empty: fit one."""
    vocab_size: Positive
    rows: Positive
    """Rows to fit on, taken in order of row_id."""


class Vq(Section):
    """The MAGVIT-v2 picture tokenizer: given weights, or a small one fitted here."""

    weights: str
    """Folder with published weights; empty: fit."""
    resolution: Positive
    crop_policy: Literal["centre_crop", "squash", "pad"]
    threads: Positive
    ch: Positive
    ch_mult_encoder: tuple[Positive, ...]
    ch_mult_decoder: tuple[Positive, ...]
    num_res_blocks_encoder: tuple[Positive, ...]
    num_res_blocks_decoder: tuple[Positive, ...]
    z_channels: Positive
    steps: Count
    batch_size: Positive
    crop: Positive
    """Side of the training crops in pixels, a multiple of the network's factor."""
    mosaic_share: Share
    """Share of each batch that is put together from tiles of different pictures."""
    learning_rate: Annotated[float, Field(gt=0)]
    save_every: Positive
    max_pictures: Positive
    """Pictures to fit on, taken in order of their sha256."""
    seed: int


class Decontamination(Section):
    """When a row counts as holding a benchmark item."""

    ngram: Positive
    containment: Share


class Annotation(Section):
    """How facts are computed (changing one recomputes facts)."""

    minhash_permutations: Positive
    shingle: Positive
    near_duplicate_floor: Share
    """Pairs below this Jaccard similarity are not recorded, so a selection threshold cannot go lower."""
    decontamination: Decontamination
    verify_seconds: float


class Selection(Section):
    """Thresholds: which rows are kept. Moving one re-runs selection and what follows, nothing before."""

    max_text_tokens: Positive
    max_loop_share: Share
    near_duplicate: Share
    require_correct: bool
    min_psnr: float
    min_pixel_std: float
    max_language_switches: Count


class Gate(Section):
    """Limits of the validation gate; a limit that fails stops the pipeline."""

    min_rows: Positive
    max_drop_share: Share
    min_rows_per_task: dict[TaskName, Count]
    max_text_tokens: Positive
    min_correct_share: Share
    """Smallest share of correct answers among kept rows whose answer can be checked."""


class Shards(Section):
    """Size of a WebDataset shard."""

    samples_per_shard: Positive


class Model(Section):
    """The transformer that `init_model` makes: random, or grown from a published text model."""

    base: str
    """Folder of a published LLaDA/MMaDA checkpoint; empty: random weights of the sizes below."""
    d_model: Positive
    n_layers: Positive
    n_heads: Positive
    mlp_hidden_size: Positive
    max_sequence_length: Positive
    rope_theta: float
    seed: int


class Sampling(Section):
    """How text and pictures are decoded, in training (rollouts) and in evaluation."""

    think: bool
    text_tokens: Positive
    text_steps: Positive
    text_block: Positive
    text_temperature: Annotated[float, Field(ge=0)]
    image_steps: Positive
    image_temperature: Annotated[float, Field(ge=0)]
    guidance: Annotated[float, Field(ge=0)]


class Optimiser(Section):
    """AdamW with warm-up and a cosine to `min_learning_rate`; Muon for the matrices inside the blocks, if asked."""

    learning_rate: Annotated[float, Field(gt=0)]
    muon_learning_rate: Annotated[float, Field(ge=0)]
    """Peak rate of Muon; 0 leaves all weights to AdamW. It follows the same schedule."""
    min_learning_rate: Annotated[float, Field(ge=0)]
    warmup_steps: Count
    weight_decay: Annotated[float, Field(ge=0)]
    betas: tuple[float, float]
    max_grad_norm: Annotated[float, Field(gt=0)]


class UniGrpo(Section):
    """Stage 3. The paper leaves group size, inner updates, clip and KL open; here they are explicit."""

    prompts_per_iteration: Positive
    group_size: Annotated[int, Field(ge=2)]
    inner_updates: Positive
    noise: Literal["formula", "example"]
    """`formula`: eq. of arXiv:2505.15809; `example`: the even spacing of its worked example."""
    clip: Annotated[float, Field(gt=0)]
    kl_weight: Annotated[float, Field(ge=0)]
    kl_reference: Literal["init", "old"]
    rewards: dict[TaskName, dict[str, float]]
    """task -> reward -> weight."""
    sampling: Sampling
    reward_models: dict[Literal["clip", "image_reward"], str] = {}
    """Local folders of the reward models, where such a reward is used."""


class TrainingData(Section):
    """Which rows a training stage sees. `write_shards` reads this block and nothing else of its stage."""

    corpora: Annotated[dict[Key, Annotated[float, Field(gt=0)]], Field(min_length=1)]
    """Corpus -> weight in the mixture."""
    direct_answers: tuple[Key, ...]
    """Corpora whose responses lose their thought, so that the model learns to answer at once."""


class TrainingBlock(Section):
    """One training stage: a block of params.yaml, not a script."""

    objective: Literal["masked_prediction", "unigrpo"]
    init: Key
    """`init`, or the training block whose model is the parent."""
    data: TrainingData
    loss_weights: dict[TaskName, float]
    loss: Literal["published", "unified"]
    vocabulary: Literal["full", "modality"]
    """Softmax over all ids, or over the text ids for text and the codes for pictures (cheaper)."""
    padding: Literal["eos", "masked_out"]
    """Pads after text as targets (as published), or hidden and not learned."""
    response_window: dict[TaskName, Positive]
    """Response tokens that are filled up with eos, so that the model learns to end inside the sampling window."""
    text_noise_floor: Annotated[float, Field(gt=0, lt=1)]
    """Smallest share of text that is masked; the published 0.001 suits long answers, more suits short ones."""
    image_schedule: Literal["cosine", "linear", "pow", "sigmoid"]
    r2i_noise: Literal["joint", "staged"]
    max_steps: Positive
    batch_size: Positive
    grad_accumulation: Positive
    optimiser: Optimiser
    cond_dropout: Share
    precision: Literal["fp32", "bf16"]
    threads: Positive
    checkpoint_every: Positive
    seed: int
    unigrpo: UniGrpo | None = None

    @model_validator(mode="after")
    def _unigrpo_when_used(self) -> "TrainingBlock":
        if (self.objective == "unigrpo") != (self.unigrpo is not None):
            raise ValueError("a block has a `unigrpo` section exactly when its objective is unigrpo")
        return self


class Benchmark(Section):
    """A held-out set of items."""

    path: str
    kind: Literal["reasoning", "vqa", "pictures"]
    format: Literal["questions", "picture_specs"]
    columns: dict[Literal["prompt", "reference", "image", "kind", "spec"], str]
    reference_pattern: str = ""
    image_path: str = "{}"
    """Where a picture lies beside the file at `path`; `{}` stands for the image column."""
    first_row: Count = 0
    max_items: Positive


class Evaluation(Section):
    """How checkpoints are decoded and scored."""

    batch_size: Positive
    seed: int
    threads: Positive
    decoding: dict[Key, dict[Key, Sampling]]
    """Checkpoint -> benchmark -> how it is decoded; `default` stands for every name that is not listed."""

    @model_validator(mode="after")
    def _defaults_exist(self) -> "Evaluation":
        lacking = [name for name, by_benchmark in self.decoding.items() if "default" not in by_benchmark]
        if "default" not in self.decoding or lacking:
            raise ValueError(f"decoding needs an entry `default`, also within each of {sorted(self.decoding)}")
        return self


class Params(Section):
    """The whole of params.yaml."""

    paths: Paths
    demo_corpora: dict[Key, DemoCorpus]
    corpora: Annotated[dict[Key, Corpus], Field(min_length=1)]
    ingest: Ingest
    text_tokenizer: TextTokenizer
    vq: Vq
    benchmarks: dict[Key, Benchmark]
    annotation: Annotation
    selection: Selection
    gate: Gate
    shards: Shards
    model: Model
    training: Annotated[dict[Key, TrainingBlock], Field(min_length=1)]
    evaluation: Evaluation

    @model_validator(mode="after")
    def _names_exist(self) -> "Params":
        parents = {"init", *self.training}
        for name, block in self.training.items():
            if block.init not in parents or block.init == name:
                raise ValueError(f"training.{name}.init is {block.init!r}; allowed: {sorted(parents - {name})}")
            unknown = sorted({*block.data.corpora, *block.data.direct_answers} - set(self.corpora))
            if unknown:
                raise ValueError(f"training.{name}.data.corpora names {unknown}; allowed: {sorted(self.corpora)}")
        return self


def load_params(path: Path) -> Params:
    """Read and validate params.yaml.

    Raises ParamsError that lists every wrong entry by its dotted path with the allowed values.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run from the project's root, where params.yaml is") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from None
    return parse_params(raw, str(path))


def parse_params(raw: Any, where: str) -> Params:
    """Validate already loaded parameters; `where` names their origin in messages."""
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in issue['loc']) or '(top level)'}: {issue['msg']}"
            + ("" if isinstance(issue["input"], Mapping) else f" (got {issue['input']!r})")
            for issue in error.errors()
        ]
        raise ParamsError(
            f"{where}: {len(lines)} entries are not allowed; mend them and run again\n" + "\n".join(lines)
        ) from None
