"""The sampling half of an UniGRPO iteration: answers, their likelihoods before the update, and their rewards.

Each is written to a store as soon as it exists, so a kill loses at most the phase in progress, and any
iteration's rewards can be recomputed later. Shapes: R rollouts (groups one after another), L tokens, U inner
updates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from mmada.contracts.sample import TASKS, Sample, Task
from mmada.model.generation import Generated, Query, generate
from mmada.model.image_sampling import ImageSampling
from mmada.model.sequences import Batch
from mmada.model.text_sampling import TextSampling
from mmada.model.transformer import Transformer
from mmada.rewards import Reward
from mmada.text_tokenizer import TextTokenizer
from mmada.vocab import Vocab

DecodePictures = Callable[[Int[Tensor, "B h w"]], UInt8[np.ndarray, "B H W 3"]]


@dataclass(frozen=True)
class Rollouts:
    """Answers to the prompts of one iteration, `group_size` in a row for each prompt.

    `batch.maskable` marks the sampled tokens that count: text up to the first eos, and pictures. `beyond`
    marks sampled tokens after it, which stay masked and unscored, so that they do not give the length away.
    """

    batch: Batch
    beyond: Bool[Tensor, "R L"]
    text: Bool[Tensor, "R L"]


@dataclass(frozen=True)
class RolloutSettings:
    """How answers are sampled."""

    group_size: int
    text: TextSampling
    image: ImageSampling


def sample_rollouts(
    model: Transformer,
    samples: Sequence[Sample],
    settings: RolloutSettings,
    tokenizer: TextTokenizer,
    vocab: Vocab,
    *,
    generator: torch.Generator,
) -> Rollouts:
    """Sample `group_size` answers to every prompt, task by task, in the order of `samples`."""
    size = settings.group_size
    made: dict[int, tuple[Generated, int]] = {}
    for task in TASKS:
        chosen = [index for index, sample in enumerate(samples) if sample.task == task]
        for number in {_num_image_tokens(samples[index]) for index in chosen}:
            group = [index for index in chosen if _num_image_tokens(samples[index]) == number]
            queries = [_query(samples[index]) for index in group for _ in range(size)]
            generated = generate(
                model,
                task,
                queries,
                tokenizer,
                vocab,
                text=settings.text,
                image=settings.image,
                num_image_tokens=number,
                generator=generator,
            )
            made.update({index: (generated, place * size) for place, index in enumerate(group)})
    return _join([made[index] for index in range(len(samples))], samples, size, vocab)


def _query(sample: Sample) -> Query:
    return Query(sample.prompt, sample.codes if sample.task == "mmu" else None)


def _num_image_tokens(sample: Sample) -> int:
    """Tokens of the picture to draw: as many as the sample's own picture has."""
    return sample.codes.size if sample.codes is not None and sample.task in ("t2i", "r2i") else 0


def _join(made: Sequence[tuple[Generated, int]], samples: Sequence[Sample], size: int, vocab: Vocab) -> Rollouts:
    """Rows of all tasks in one batch, aligned at their ends."""
    longest = max(generated.ids.shape[1] for generated, _ in made)
    shape = (len(made) * size, longest)
    ids = torch.full(shape, vocab.ipad)
    attendable, counted, beyond, text = (torch.zeros(shape, dtype=torch.bool) for _ in range(4))
    for group, (generated, first) in enumerate(made):
        rows, source = slice(group * size, (group + 1) * size), slice(first, first + size)
        left = longest - generated.ids.shape[1]
        own = generated.ids[source].cpu()
        ids[rows, left:], attendable[rows, left:] = own, generated.attendable[source].cpu()
        window = own[:, generated.text]
        ended = (window == vocab.eos).int().cumsum(1)
        over = (ended - (window == vocab.eos).int()) > 0
        where = slice(left + generated.text.start, left + generated.text.stop)
        counted[rows, where], beyond[rows, where], text[rows, where] = ~over, over, ~over
        counted[rows, left + generated.image.start : left + generated.image.stop] = True
    image = vocab.image_range
    batch = Batch(
        keys=rollout_keys(samples, size),
        task=torch.tensor([TASKS.index(sample.task) for sample in samples for _ in range(size)]),
        ids=ids,
        maskable=counted,
        attendable=attendable,
        is_image=(ids >= image.start) & (ids < image.stop),
        start=(~attendable).int().sum(1),
    )
    return Rollouts(batch, beyond, text)


def score_rollouts(
    rollouts: Rollouts,
    samples: Sequence[Sample],
    rewards: Mapping[str, Reward],
    weights: Mapping[Task, Mapping[str, float]],
    *,
    tokenizer: TextTokenizer,
    vocab: Vocab,
    decode_pictures: DecodePictures | None,
) -> list[dict[str, float]]:
    """Weighted reward of each rollout, by name."""
    size = len(rollouts.batch.keys) // len(samples)
    breakdowns = []
    for row in range(len(rollouts.batch.keys)):
        sample = samples[row // size]
        answer = rollouts.batch.ids[row, rollouts.text[row]]
        completion = tokenizer.decode(answer[answer != vocab.eos].tolist())
        pixels = _drawn(rollouts, row, sample, vocab, decode_pictures)
        breakdowns.append(
            {
                name: weight
                * rewards[name](prompt=sample.prompt, completion=completion, reference=sample.reference, pixels=pixels)
                for name, weight in weights[sample.task].items()
            }
        )
    return breakdowns


def _drawn(
    rollouts: Rollouts, row: int, sample: Sample, vocab: Vocab, decode_pictures: DecodePictures | None
) -> UInt8[np.ndarray, "H W 3"] | None:
    if sample.task not in ("t2i", "r2i"):
        return None
    assert decode_pictures is not None, "drawing tasks need a picture decoder"
    assert sample.codes is not None, "a drawing sample has a picture"
    places = rollouts.batch.maskable[row] & rollouts.batch.is_image[row]
    codes = vocab.image_codes(rollouts.batch.ids[row, places])
    picture: UInt8[np.ndarray, "H W 3"] = decode_pictures(codes.view(1, *sample.codes.shape))[0]
    return picture


@dataclass(frozen=True)
class RolloutPhase:
    """What the update phase needs from the sampling phase, all of it before any weight moves.

    `is_masked`: which tokens each inner update masks; `old` and `reference`: log-probabilities of the masked
    tokens under the sampling policy and under the KL reference, with the same masks.
    """

    rollouts: Rollouts
    is_masked: Bool[Tensor, "U R L"]
    old: Float[Tensor, "U R L"]
    reference: Float[Tensor, "U R L"]


_BATCH_TENSORS: Final = ("task", "ids", "maskable", "attendable", "is_image", "start")


def pack_phase(phase: RolloutPhase) -> bytes:
    """Bytes for the store. Keys are not kept: the prompts of an iteration are a function of its number."""
    rollouts = phase.rollouts
    tensors = {name: getattr(rollouts.batch, name) for name in _BATCH_TENSORS}
    tensors |= {"beyond": rollouts.beyond, "text": rollouts.text}
    tensors |= {"is_masked": phase.is_masked, "old": phase.old, "reference": phase.reference}
    packed: bytes = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    return packed


def unpack_phase(data: bytes, keys: tuple[str, ...]) -> RolloutPhase:
    """Inverse of `pack_phase`."""
    tensors = safetensors.torch.load(data)
    batch = Batch(keys=keys, **{name: tensors[name] for name in _BATCH_TENSORS})
    rollouts = Rollouts(batch, tensors["beyond"], tensors["text"])
    return RolloutPhase(rollouts, tensors["is_masked"], tensors["old"], tensors["reference"])


def rollout_keys(samples: Sequence[Sample], group_size: int) -> tuple[str, ...]:
    """One key per rollout: the sample's and the number within its group."""
    return tuple(f"{sample.key}#{number}" for sample in samples for number in range(group_size))
