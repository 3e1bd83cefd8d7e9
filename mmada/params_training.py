"""Sections of params.yaml about models: sizes, training blocks, evaluation."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from mmada.params_section import (
    DRAWING_TASKS,
    PICTURE_TASKS,
    Count,
    Key,
    Number,
    Positive,
    Section,
    Seed,
    Share,
    TaskName,
    Whole,
)
from mmada.size_rules import head_width_fault, text_split_fault


class Model(Section):
    """The transformer that `init_model` makes: random, or grown from a published text model."""

    base: str
    """Folder of a published LLaDA/MMaDA checkpoint; empty: random weights of the sizes below."""
    d_model: Positive
    n_layers: Positive
    n_heads: Positive
    mlp_hidden_size: Positive
    max_sequence_length: Positive
    rope_theta: Annotated[Number, Field(gt=0)]
    seed: Seed

    @model_validator(mode="after")
    def _heads_fit(self) -> "Model":
        """A base model brings its own sizes."""
        if not self.base and (fault := head_width_fault(self.d_model, self.n_heads)):
            raise ValueError(fault)
        return self


class Sampling(Section):
    """How text and pictures are decoded, in training (rollouts) and in evaluation."""

    text_tokens: Positive
    text_steps: Positive
    text_block: Positive
    text_temperature: Annotated[Number, Field(ge=0)]
    image_steps: Positive
    image_temperature: Annotated[Number, Field(ge=0)]
    guidance: Annotated[Number, Field(ge=0)]
    cache: Literal["none", "prefix", "dual"] = "none"
    """Keys and values of text that are kept within a block: faster, approximate."""
    threshold: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Confidence from which text is revealed at once, whatever `text_steps` says: faster, approximate."""

    @model_validator(mode="after")
    def _text_splits(self) -> "Sampling":
        is_parallel = self.threshold is not None
        if fault := text_split_fault(self.text_tokens, self.text_steps, self.text_block, is_parallel=is_parallel):
            raise ValueError(fault)
        return self

    @model_serializer(mode="wrap")
    def _what_is_chosen(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Digests and records of exact decoding and one answer an item are those of the time before the choice."""
        dumped: dict[str, Any] = dump(self)
        plain = {"cache": "none", "threshold": None, "answers_per_item": 1}
        return {name: value for name, value in dumped.items() if name not in plain or value != plain[name]}


class Answering(Sampling):
    """How the items of a benchmark are answered."""

    think: bool
    """Drawings by the layout that thinks before it draws, other tasks behind the published request to think."""
    answers_per_item: Positive = 1
    """A score is over all of them; GenEval asks for 4 drawings a prompt."""


Decay = Annotated[Number, Field(ge=0, lt=1)]
"""What a running mean keeps of itself at each step."""


class Optimiser(Section):
    """AdamW with warm-up and a cosine to `min_learning_rate`; Muon for the matrices inside the blocks, if asked."""

    learning_rate: Annotated[Number, Field(gt=0)]
    muon_learning_rate: Annotated[Number, Field(ge=0)]
    """Peak rate of Muon; 0 leaves all weights to AdamW. It follows the same schedule."""
    min_learning_rate: Annotated[Number, Field(ge=0)]
    warmup_steps: Count
    weight_decay: Annotated[Number, Field(ge=0)]
    betas: tuple[Decay, Decay]
    max_grad_norm: Annotated[Number, Field(gt=0)]


class Guard(Section):
    """Which batches are skipped: a loss or gradient that is no finite number, or a gradient that is a spike."""

    spike_factor: Annotated[Number, Field(ge=0)] = 20.0
    """A spike exceeds so many times the median of recent gradient norms (and of `max_grad_norm`); 0: none does."""
    window: Positive = 64
    """Batches that are recent."""
    max_skipped: Count = 20
    """Batches that a run may skip in all; one more ends it with an error."""


class KeepPublished(Section):
    """Which published checkpoints stay: those that any entry names; all of them when all entries are 0."""

    last: Count = 0
    every: Count = 0
    """Steps; those of its multiples stay."""
    best: Count = 0
    """So many of the lowest recent training loss."""


RewardName = Literal["correctness", "think_format", "picture", "clip", "image_reward"]
Rewards = dict[RewardName, Number]
"""Reward -> weight."""
_REWARDED_TASKS: Final[Mapping[RewardName, tuple[TaskName, ...]]] = {
    "correctness": ("lm", "chat", "mmu", "r2i"),
    "think_format": ("lm", "chat", "mmu", "r2i"),
    "picture": DRAWING_TASKS,
    "clip": PICTURE_TASKS,
    "image_reward": DRAWING_TASKS,
}
"""Tasks whose responses hold what a reward looks at."""


class UniGrpo(Section):
    """Stage 3 (arXiv:2505.15809). What the paper leaves open is explicit here."""

    prompts_per_iteration: Positive
    group_size: Annotated[Whole, Field(ge=2)]
    inner_updates: Positive
    likelihood: Literal["unigrpo", "diffu_grpo", "random_masking", "coupled", "trace"] = "unigrpo"
    """What each inner update hides and scores: as UniGRPO, as d1, or as one of dLLM-RL's three methods."""
    noise: Literal["formula", "example"]
    """Spacing of UniGRPO's noise times over the inner updates: the paper's formula, or the even one of its example."""
    noise_start: tuple[Share, Share] = (0.0, 1.0)
    """Range of the uniform draw of the first noise time: a share of all times (`formula`) or of the spacing
    (`example`)."""
    clip: Annotated[Number, Field(gt=0)]
    advantages: Literal["standardised", "centred"] = "standardised"
    """Rewards minus their group's mean, divided by its standard deviation (as published) or not (as d1)."""
    kl_weight: Annotated[Number, Field(ge=0)]
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    kl_reference: Literal["init", "old"]
    """The model that the stage starts from, or the policy that sampled."""
    rewards: dict[TaskName, Rewards]
    """Task -> reward -> weight."""
    corpus_rewards: dict[Key, Rewards] = Field(default_factory=dict)
    """Corpus -> reward -> weight, in place of those of its task: captions among picture questions."""
    reward_seconds: Annotated[Number, Field(gt=0)] = 10.0
    """Wall clock that scoring one answer may take; what takes longer counts as 0."""
    sampling: Sampling
    reward_models: dict[Literal["clip", "image_reward"], str] = Field(default_factory=dict)
    """Local folders of the reward models, where such a reward is used."""

    @model_validator(mode="after")
    def _choices_go_together(self) -> "UniGrpo":
        if self.noise_start[0] > self.noise_start[1]:
            raise ValueError(f"noise_start {self.noise_start} is no range: the first number is the lower end")
        if self.likelihood != "unigrpo" and self.noise_start != (0.0, 1.0):
            raise ValueError(f"likelihood `{self.likelihood}` draws no noise times: leave noise_start out")
        if self.likelihood == "coupled" and self.inner_updates % 2:
            raise ValueError("likelihood `coupled` updates in pairs: make inner_updates even")
        for task, weights in self.rewards.items():
            check_rewards(weights, task, f"rewards.{task}")
        used = {name for weights in [*self.rewards.values(), *self.corpus_rewards.values()] for name in weights}
        for name in sorted(used & {"clip", "image_reward"} - self.reward_models.keys()):
            raise ValueError(f"reward {name!r} is a model: name its local folder in reward_models.{name}")
        return self


def check_rewards(weights: Rewards, task: TaskName, where: str) -> None:
    """Raises ValueError for a reward that finds nothing to judge in responses of the task, and where there is none."""
    if not any(weights.values()):
        fitting = [name for name, tasks in _REWARDED_TASKS.items() if task in tasks]
        raise ValueError(f"{where} gives no reward a weight, so that nothing would be learned; allowed: {fitting}")
    for name in weights:
        if task not in _REWARDED_TASKS[name]:
            raise ValueError(f"{where}: {name!r} judges {', '.join(_REWARDED_TASKS[name])}, not {task}")


class MaskedPrediction(Section):
    """Stages 1 and 2: hide a share of the tokens, predict them."""

    batch_size: Positive
    """Samples of a micro-batch, of all processes."""
    loss_weights: dict[TaskName, Annotated[Number, Field(ge=0)]]
    """Weight of each task's loss; every task of the mixture has one, if only 0."""
    loss: Literal["published", "unified"]
    padding: Literal["eos", "masked_out"]
    """Pads after text as targets (as published), or hidden and not learned."""
    response_window: dict[TaskName, Positive]
    """Response tokens that are filled up with eos, so that the model learns to end inside the sampling window."""
    text_noise_floor: dict[TaskName, Annotated[Number, Field(gt=0, lt=1)]]
    """Smallest share of text that is masked, per task (0.001, as published, where a task is not named)."""
    image_schedule: Literal["cosine", "linear", "pow", "sigmoid"]
    r2i_noise: Literal["joint", "staged"]
    cond_dropout: Share
    """How often a drawing's prompt is left out, so that the model can be guided."""
    packing: Annotated[bool, Field(exclude_if=lambda packing: not packing)] = False
    """Several samples share a row of the network, so that hardly anything is padding."""


class TrainingData(Section):
    """Which rows a training stage sees. `write_shards` reads this block and nothing else of its stage."""

    corpora: Annotated[dict[Key, Annotated[Number, Field(gt=0)]], Field(min_length=1)]
    """Corpus -> weight in the mixture."""
    direct_answers: tuple[Key, ...]
    """Corpora whose responses lose their thought, so that the model learns to answer at once."""


class TrainingBlock(Section):
    """One training stage: a block of params.yaml, not a script.

    Choices that came later than others are left out of digests and records where they have their default.
    """

    objective: Literal["masked_prediction", "unigrpo"]
    init: Key
    """`init`, or the training block whose model is the parent."""
    data: TrainingData
    vocabulary: Literal["full", "modality"]
    """Softmax over all ids, or over the text ids for text and the codes for pictures (cheaper)."""
    max_steps: Positive
    grad_accumulation: Positive
    """Micro-batches of a step."""
    optimiser: Optimiser
    precision: Literal["fp32", "bf16"]
    compile: bool
    """torch.compile of the blocks: half a minute to start, then 1.5 times as fast on a GPU (perf/results/gpu.json)."""
    activation_checkpointing: bool
    """Keep the blocks' inputs alone and compute their insides again: half of the memory for a quarter more time."""
    threads: Positive
    checkpoint_every: Positive
    """Steps between resume states."""
    publish_every: Count
    """Steps between checkpoints that are kept and evaluated; 0 keeps only the finished model."""
    seed: Seed
    ema_decay: Annotated[Decay, Field(exclude_if=lambda decay: decay == 0)] = 0.0
    """Decay per step of the average of the weights that is published in their place (0.9999); 0: they are published."""
    keep_published: Annotated[KeepPublished, Field(exclude_if=lambda keep: keep == KeepPublished())] = KeepPublished()
    guard: Annotated[Guard, Field(exclude_if=lambda guard: guard == Guard())] = Guard()
    masked_prediction: MaskedPrediction | None = None
    unigrpo: UniGrpo | None = None

    @property
    def samples_per_step(self) -> int:
        """Samples that a step draws, of all processes."""
        if self.masked_prediction is not None:
            return self.masked_prediction.batch_size * self.grad_accumulation
        assert self.unigrpo is not None, "a block has the section of its objective"
        return self.unigrpo.prompts_per_iteration

    @model_validator(mode="after")
    def _has_the_section_of_its_objective(self) -> "TrainingBlock":
        sections = {"masked_prediction": self.masked_prediction, "unigrpo": self.unigrpo}
        given = [name for name, section in sections.items() if section is not None]
        if given != [self.objective]:
            raise ValueError(
                f"the objective is {self.objective}, so its section belongs here and no other; has {given}"
            )
        if self.unigrpo is not None:
            if self.keep_published.best:
                raise ValueError("keep_published.best goes by the training loss, which says nothing of a policy")
            rows = self.unigrpo.prompts_per_iteration * self.unigrpo.group_size
            if rows < self.grad_accumulation:
                raise ValueError(f"{rows} rollouts an iteration cannot fill {self.grad_accumulation} micro-batches")
        return self


def recorded_block(raw: Mapping[str, Any]) -> TrainingBlock:
    """The training block of a provenance record. The first records have no section `masked_prediction`, but its entries
    in the block itself, for UniGRPO too.

    Raises ValidationError when it is none.
    """
    moved = {name: value for name, value in raw.items() if name in MaskedPrediction.model_fields}
    if not moved:
        return TrainingBlock.model_validate(raw)
    block = {name: value for name, value in raw.items() if name not in moved}
    if raw.get("objective") == "masked_prediction":
        block["masked_prediction"] = moved
    return TrainingBlock.model_validate(block)


class Evaluation(Section):
    """How checkpoints are decoded and scored."""

    batch_size: Positive
    seed: Seed
    threads: Positive
    decoding: dict[Key, dict[Key, Answering]]
    """Checkpoint -> benchmark -> how it is decoded; `default` stands for every name that is not listed."""

    def decoding_for(self, name: str, model_key: str) -> Mapping[str, Answering]:
        """Benchmark -> how a checkpoint is decoded: by its own entry, or that of the training stage that made it.

        `model_key`: key in the model's manifest; a model without one is an untrained one (`init`).
        """
        return self.decoding.get(name) or self.decoding.get(model_key or "init") or self.decoding["default"]

    @model_validator(mode="after")
    def _defaults_exist(self) -> "Evaluation":
        lacking = [name for name, by_benchmark in self.decoding.items() if "default" not in by_benchmark]
        if "default" not in self.decoding or lacking:
            raise ValueError(f"decoding needs an entry `default`, also within each of {sorted(self.decoding)}")
        return self
