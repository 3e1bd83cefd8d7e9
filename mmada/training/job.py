"""One training job, in as many processes as torchrun started: open what it reads, run the loop, write the
model.

`python -m mmada.training.job JOB.json` is what every process of a distributed job runs.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mmada.environment import whole_number
from mmada.errors import ParamsError, exit_explained
from mmada.model.from_params import sampling_settings
from mmada.model.masking import NoiseRule
from mmada.model.sequences import Row
from mmada.model.transformer import compile_blocks
from mmada.model.weights import load_model, load_vocab, save_state
from mmada.numerics import compute_device
from mmada.params_training import TrainingBlock
from mmada.params_training import UniGrpo as UniGrpoSection
from mmada.processes import die_with_parent
from mmada.rewards.correctness import check_reference
from mmada.rewards.picture import picture_spec
from mmada.rewards.scoring import RewardWorkers
from mmada.shards.loader import Loader
from mmada.shards.reader import ShardReader
from mmada.storage import atomic_write
from mmada.text_tokenizer import copy_tokenizer, load_tokenizer
from mmada.training import likelihoods
from mmada.training.checkpoints import Position
from mmada.training.curves import metric_sink
from mmada.training.guard import GuardRule
from mmada.training.loop import TrainResult, TrainSettings, train
from mmada.training.objectives import (
    KeySource,
    MaskedPrediction,
    MaskedPredictionSettings,
    Material,
    Objective,
    RowSource,
)
from mmada.training.order import training_order
from mmada.training.outbox import Outbox
from mmada.training.parallel import World, full_state, joined, shard_model
from mmada.training.phases import RewardWeights, open_phases
from mmada.training.policy_gradient import ADVANTAGES, DIVERGENCES
from mmada.training.publication import Publication
from mmada.training.retention import Retention
from mmada.training.rollout_log import RolloutLog, log_place
from mmada.training.rollouts import DecodePictures, RolloutSettings, check_prompt
from mmada.training.sampled_pictures import PictureSampler, drawing_prompts
from mmada.training.state_places import open_states
from mmada.training.unigrpo import UniGrpo, UniGrpoSettings
from mmada.vq.magvit import load_magvit, to_uint8
from mmada.workers import num_workers

_MAX_SHARD_BYTES = 5 * 10**9
_LOGGED_ITERATIONS = 50
_MOST_BETWEEN_LOGS = 10
"""Steps. Whoever watches a run of a million steps wants its loss within a minute or two, too."""


@dataclass(frozen=True)
class Job:
    """Everything that a training process must be told. Folders are relative to the project.

    On a machine that shares no disk with the project, `shards`, `state_dir` and `curves` may be s3:// addresses, and
    `outbox` is one for what is made; "" where models are put into `out` and published by `publication`.
    """

    name: str
    run: str
    """Digest of all that the result depends on; resume states of another run are not continued."""
    shards: str
    parent: str
    magvit: str
    out: str
    state_dir: str
    curves: str
    """File of metrics, one JSON line per logged step."""
    block: Mapping[str, Any]
    publication: Publication
    outbox: str = ""

    @classmethod
    def read(cls, path: Path) -> "Job":
        """The job that `write` wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        publication = raw["publication"]
        publication["retention"] = Retention(**publication["retention"])
        return cls(**{**raw, "publication": Publication(**publication)})

    def write(self, path: Path) -> None:
        """Write the job for the processes to read."""
        atomic_write(path, json.dumps(asdict(self), sort_keys=True).encode())


def run_job(job: Job) -> TrainResult:
    """Train and write the model folder (weights, configuration, vocabulary, tokenizer) to `job.out`."""
    block = TrainingBlock.model_validate(job.block)
    with joined() as world, ExitStack() as opened:
        model, vocab = load_model(Path(job.parent), device=compute_device()), load_vocab(Path(job.parent))
        tokenizer = load_tokenizer(Path(job.parent), vocab=vocab)
        reader = ShardReader.open(job.shards)
        rows, keys = _row_source(reader, block, job.name, world)
        material = Material(rows, keys, tokenizer, vocab, world, block.seed, block.grad_accumulation)
        if block.unigrpo is not None and open_states(job.state_dir).newest() is None:
            _check_rows(reader, block.unigrpo, material, model.config.max_sequence_length)
        objective = opened.enter_context(make_objective(block, material, job))
        is_packed = block.masked_prediction is not None and block.masked_prediction.packing
        if is_packed and model.config.attention != "masked":
            raise ParamsError(
                f"training.{job.name}.masked_prediction.packing needs a model that masks attention; {job.parent} says "
                f"{model.config.attention!r}, with which samples of one row would see each other: set packing to false"
            )
        model.activation_checkpointing = block.activation_checkpointing
        if block.compile:
            compile_blocks(model)
        shard_model(model, world)
        outbox = Outbox(job.outbox, Path(job.out)) if job.outbox else None

        def write_model(folder: Path, state: Mapping[str, Tensor]) -> None:
            save_state(state, model.config, vocab, folder, max_shard_bytes=_MAX_SHARD_BYTES)
            copy_tokenizer(Path(job.parent), folder)

        def publish(position: Position) -> None:
            state = full_state(model)  # a collective: every process takes part
            if world.is_first:
                (outbox or job.publication).publish(position, lambda folder: write_model(folder, state))

        result = train(
            model,
            objective,
            _settings(block, job),
            state_dir=job.state_dir,
            world=world,
            on_metrics=metric_sink(job.curves, world),
            publish=publish,
            label=f"train {job.name}",
            on_saved=_sampler(job, reader, material),
        )
        state = full_state(model)
        if world.is_first and outbox is not None:
            outbox.finish(lambda folder: write_model(folder, state))
        elif world.is_first:
            write_model(Path(job.out), state)
    return result


def _sampler(job: Job, reader: ShardReader, material: Material) -> PictureSampler | None:
    """What looks at the model at every saved step, in the project; one process cannot sample a sharded model alone."""
    prompts = [] if material.world.size > 1 or job.outbox else drawing_prompts(reader)
    if not prompts:
        return None
    return PictureSampler(
        folder=Path(job.curves).with_suffix(""),
        run=job.run,
        prompts=prompts,
        tokenizer=material.tokenizer,
        vocab=material.vocab,
        decode_pictures=picture_decoder(Path(job.magvit)),
    )


@contextmanager
def make_objective(block: TrainingBlock, material: Material, job: Job) -> Iterator[Objective]:
    """The objective that the block names, with what it needs meanwhile."""
    if block.unigrpo is not None:
        with closing(_reward_workers(block.unigrpo)) as scorer:
            for weights in reward_weights(block.unigrpo).labelled().values():
                scorer.load(weights)
            yield _unigrpo(block, block.unigrpo, material, job, scorer)
        return
    yield masked_prediction(block, material)


def masked_prediction(block: TrainingBlock, material: Material) -> MaskedPrediction:
    """The objective of a block of masked prediction."""
    choices = block.masked_prediction
    assert choices is not None, "a block has the section of its objective"
    return MaskedPrediction(
        material,
        MaskedPredictionSettings(
            coefficients=dict(choices.loss_weights),
            window=dict(choices.response_window),
            loss=choices.loss,
            vocabulary=block.vocabulary,
            padding=choices.padding,
            noise=NoiseRule(choices.text_noise_floor, choices.image_schedule, choices.r2i_noise),
            cond_dropout=choices.cond_dropout,
            packing=choices.packing,
        ),
    )


def _reward_workers(choices: UniGrpoSection) -> RewardWorkers:
    """As many as this machine has workers, shared with the other training processes on it."""
    folders: dict[str, Path] = {name: Path(folder) for name, folder in choices.reward_models.items()}
    workers = num_workers() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return RewardWorkers(folders, choices.reward_seconds, max(1, workers))


def _check_rows(reader: ShardReader, choices: UniGrpoSection, material: Material, max_length: int) -> None:
    """All rows of a run that begins: one that cannot be answered or judged would end it at the iteration that draws it.

    Raises ContractError for the first such row.
    """
    keys = [key for of_corpus in reader.keys().values() for key in of_corpus]
    own = keys[material.world.rank :: material.world.size]
    settings, weights = _rollout_settings(choices), reward_weights(choices)
    for sample in map(reader.sample, own):
        check_prompt(sample, settings, material.tokenizer, material.vocab, max_length=max_length)
        rewards = weights.of(sample)
        if "picture" in rewards:
            picture_spec(sample.prompt, sample.reference)
        if "correctness" in rewards:
            check_reference(sample.prompt, sample.reference)


def _rollout_settings(choices: UniGrpoSection) -> RolloutSettings:
    text, image = sampling_settings(choices.sampling)
    return RolloutSettings(choices.group_size, text, image)


def _unigrpo(
    block: TrainingBlock, choices: UniGrpoSection, material: Material, job: Job, scorer: RewardWorkers
) -> UniGrpo:
    return UniGrpo(
        material,
        UniGrpoSettings(
            rollouts=_rollout_settings(choices),
            noise=likelihoods.NoiseRule(choices.inner_updates, choices.noise, choices.noise_start),
            estimator=likelihoods.ESTIMATORS[choices.likelihood],
            advantage=ADVANTAGES[choices.advantages],
            clip=choices.clip,
            kl_weight=choices.kl_weight,
            divergence=DIVERGENCES[choices.kl_estimator],
            kl_reference=choices.kl_reference,
            weights=reward_weights(choices),
            vocabulary=block.vocabulary,
        ),
        scorer=scorer,
        phases=open_phases(job.state_dir),
        decode_pictures=picture_decoder(Path(job.magvit)),
        initial=load_model(Path(job.parent), device=compute_device()) if choices.kl_reference == "init" else None,
        log=_rollout_log(block, choices, job) if material.world.is_first else lambda groups, rewards, advantage: None,
    )


def _rollout_log(block: TrainingBlock, choices: UniGrpoSection, job: Job) -> RolloutLog:
    iterations = -(-block.max_steps // choices.inner_updates)
    return RolloutLog(log_place(job.curves, job.name), every=-(-iterations // _LOGGED_ITERATIONS))


def reward_weights(choices: UniGrpoSection) -> RewardWeights:
    """What answers are scored by."""
    weights = choices.model_dump(include={"rewards", "corpus_rewards"})
    return RewardWeights(weights["rewards"], weights["corpus_rewards"])


def picture_decoder(folder: Path) -> DecodePictures:
    """Pixels of grids of codes, by the picture tokenizer of a folder."""
    magvit = load_magvit(folder).to(compute_device())
    return lambda grids: to_uint8(magvit.decode(grids.flatten(1), height=grids.shape[1], width=grids.shape[2]))


def _settings(block: TrainingBlock, job: Job) -> TrainSettings:
    optimiser = block.optimiser
    return TrainSettings(
        max_steps=block.max_steps,
        learning_rate=optimiser.learning_rate,
        muon_learning_rate=optimiser.muon_learning_rate,
        min_learning_rate=optimiser.min_learning_rate,
        warmup_steps=optimiser.warmup_steps,
        weight_decay=optimiser.weight_decay,
        betas=optimiser.betas,
        max_grad_norm=optimiser.max_grad_norm,
        precision=block.precision,
        threads=block.threads,
        checkpoint_every=block.checkpoint_every,
        publish_every=job.publication.every,
        log_every=min(max(1, block.max_steps // 100), _MOST_BETWEEN_LOGS),
        ema_decay=block.ema_decay,
        guard=GuardRule(**block.guard.model_dump()),
        run=job.run,
    )


def _row_source(reader: ShardReader, block: TrainingBlock, name: str, world: World) -> tuple[RowSource, KeySource]:
    workers = whole_number("MMADA_LOADER_WORKERS", default=0)
    order = training_order(reader.keys(), block)
    loader = Loader(reader, order, block.max_steps, workers, world.rank, world.size)
    log = os.environ.get("MMADA_SAMPLE_LOG", "")  # a folder; one file per job

    def rows(step: int) -> list[Row]:
        if log and world.is_first:
            with (Path(log) / f"{name}.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, "keys": loader.keys(step)}) + "\n")
        return [Row(sample, epoch) for sample, epoch in loader.batch(step)]

    return rows, loader.keys


if __name__ == "__main__":
    die_with_parent()
    with exit_explained():
        run_job(Job.read(Path(sys.argv[1])))
