"""Sampling answers to one prompt, and how they are kept: the unit of the first phase of an UniGRPO iteration.

Shapes: R rollouts (answers; those to one prompt one after another), L tokens.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from mmada.contracts.sample import TASKS, Sample, pack, unpack
from mmada.errors import ContractError
from mmada.model.generation import Generated, Query, generate, num_tokens
from mmada.model.image_sampling import ImageSampling
from mmada.model.masking import uniforms
from mmada.model.sequences import Batch, Row
from mmada.model.text_sampling import TextSampling
from mmada.model.transformer import Transformer
from mmada.params_section import DRAWING_TASKS
from mmada.text_tokenizer import TextTokenizer
from mmada.unit_files import pack_files, packed_file, unpack_files
from mmada.vocab import Vocab

DecodePictures = Callable[[Int[Tensor, "B h w"]], UInt8[np.ndarray, "B H W 3"]]

NOT_SAMPLED: Final = -1


@dataclass(frozen=True)
class RolloutSettings:
    """How answers are sampled."""

    group_size: int
    text: TextSampling
    image: ImageSampling


@dataclass(frozen=True)
class Rollouts:
    """Answers as rows of the network.

    `batch.maskable` marks the sampled tokens that count: text up to the first eos, and pictures. `beyond`
    marks sampled tokens after it, which do not. `order`: the step of sampling that revealed a token; `NOT_SAMPLED` for
    tokens that were given.
    """

    batch: Batch
    beyond: Bool[Tensor, "R L"]
    order: Int[Tensor, "R L"]


@dataclass(frozen=True)
class Group:
    """All answers to one prompt. `iteration`: whose policy gave them; `texts`: what they say; `pictures`: codes of what
    they draw.
    """

    iteration: int
    row: Row
    rollouts: Rollouts
    texts: tuple[str, ...]
    pictures: tuple[Int[np.ndarray, "h w"], ...]


def check_prompt(
    sample: Sample, settings: RolloutSettings, tokenizer: TextTokenizer, vocab: Vocab, *, max_length: int
) -> None:
    """Raises ContractError for a prompt that leaves no room for its answer in `max_length` tokens."""
    drawn, text = _num_drawn(sample), settings.text
    length = num_tokens(sample.task, _query(sample), tokenizer, vocab, text=text, num_image_tokens=drawn)
    if length > max_length:
        raise ContractError(
            f"sample {sample.key}: {length} tokens with the answer that is to be sampled, but the model takes "
            f"{max_length}; lower unigrpo.sampling.text_tokens or selection.max_text_tokens"
        )


def _query(sample: Sample) -> Query:
    return Query(sample.prompt, sample.codes if sample.task == "mmu" else None)


def _num_drawn(sample: Sample) -> int:
    """Codes of the picture that an answer draws."""
    return sample.codes.size if sample.codes is not None and sample.task in DRAWING_TASKS else 0


def sample_group(
    model: Transformer,
    iteration: int,
    row: Row,
    settings: RolloutSettings,
    tokenizer: TextTokenizer,
    vocab: Vocab,
    *,
    seed: int,
) -> Group:
    """Sample `group_size` answers to a prompt.

    Their random numbers depend on (seed, sample, epoch) alone, so they are the same whatever else is sampled, where,
    and in which order.
    """
    sample = row.sample
    draw = uniforms([sample.key], [row.epoch], seed=seed, purpose="rollouts", count=1)[0, 0]
    steps: list[Bool[Tensor, "R L"]] = []
    generated = generate(
        model,
        sample.task,
        [_query(sample)] * settings.group_size,
        tokenizer,
        vocab,
        text=settings.text,
        image=settings.image,
        num_image_tokens=_num_drawn(sample),
        generator=torch.Generator(model.device).manual_seed(int(draw * 2**53)),
        on_step=lambda x: steps.append((x == vocab.mask).cpu()),
    )
    pictures: tuple[Int[np.ndarray, "h w"], ...] = ()
    if sample.task in DRAWING_TASKS and sample.codes is not None:
        pictures = tuple(codes.reshape(sample.codes.shape) for codes in generated.codes(vocab).cpu().numpy())
    texts = tuple(generated.texts(tokenizer, vocab)) if generated.text.stop > generated.text.start else ()
    rollouts = _rollouts(generated, row, steps, vocab)
    return Group(iteration, row, rollouts, texts or ("",) * settings.group_size, pictures)


def _rollouts(generated: Generated, row: Row, masked: Sequence[Bool[Tensor, "R L"]], vocab: Vocab) -> Rollouts:
    """`masked`: what was still masked after each step."""
    ids = generated.ids.cpu()
    counted, beyond, sampled = (torch.zeros(ids.shape, dtype=torch.bool) for _ in range(3))
    is_eos = ids[:, generated.text] == vocab.eos
    over = (is_eos.int().cumsum(1) - is_eos.int()) > 0
    counted[:, generated.text], beyond[:, generated.text] = ~over, over
    counted[:, generated.image] = True
    sampled[:, generated.text], sampled[:, generated.image] = True, True
    # What the last step drew may still be masked after it: a picture's last sample is taken whole.
    order = torch.stack(list(masked[:-1])).int().sum(0) if len(masked) > 1 else torch.zeros(ids.shape, dtype=torch.int)
    image = vocab.image_range
    attendable = generated.attendable.cpu()
    batch = Batch(
        keys=tuple(f"{row.sample.key}#{number}" for number in range(len(ids))),
        task=torch.full((len(ids),), TASKS.index(row.sample.task)),
        ids=ids,
        maskable=counted,
        attendable=attendable,
        is_image=(ids >= image.start) & (ids < image.stop),
        start=(~attendable).int().sum(1),
    )
    return Rollouts(batch, beyond, torch.where(sampled, order.int(), NOT_SAMPLED))


def join(groups: Sequence[Group], vocab: Vocab) -> Rollouts:
    """The answers of all groups as one batch, aligned at their ends."""
    parts = [group.rollouts for group in groups]
    longest = max(part.batch.ids.shape[1] for part in parts)

    def padded(tensors: Sequence[Tensor], value: int | bool) -> Tensor:
        return torch.cat(
            [torch.nn.functional.pad(one, (longest - one.shape[1], 0), value=value) for one in tensors]  # on the left
        )

    attendable = padded([part.batch.attendable for part in parts], value=False)
    batch = Batch(
        keys=tuple(key for part in parts for key in part.batch.keys),
        task=torch.cat([part.batch.task for part in parts]),
        ids=padded([part.batch.ids for part in parts], value=vocab.ipad),
        maskable=padded([part.batch.maskable for part in parts], value=False),
        attendable=attendable,
        is_image=padded([part.batch.is_image for part in parts], value=False),
        start=(~attendable).int().sum(1),
    )
    beyond = padded([part.beyond for part in parts], value=False)
    return Rollouts(batch, beyond, padded([part.order for part in parts], value=NOT_SAMPLED))


_BATCH_TENSORS: Final = ("task", "ids", "maskable", "attendable", "is_image", "start")


def pack_group(group: Group) -> bytes:
    """Bytes for the store, which say by themselves what was asked and answered."""
    rollouts = group.rollouts
    tensors = {name: getattr(rollouts.batch, name).contiguous() for name in _BATCH_TENSORS}
    tensors |= {"beyond": rollouts.beyond.contiguous(), "order": rollouts.order.contiguous()}
    if group.pictures:
        tensors["pictures"] = torch.from_numpy(np.stack(group.pictures))
    sample = group.row.sample
    about = {"iteration": group.iteration, "key": sample.key, "epoch": group.row.epoch, "texts": group.texts}
    return pack_files(
        {
            **{f"sample.{extension}": data for extension, data in pack(sample).items()},
            "about.json": json.dumps(about, ensure_ascii=False).encode(),
            "rollouts.safetensors": safetensors.torch.save(tensors),
        }
    )


def place_of(data: bytes) -> tuple[int, str, int]:
    """Iteration, sample and epoch of a packed group, which tell where it stands in a run."""
    about = json.loads(packed_file(data, "about.json") or b"")
    return about["iteration"], about["key"], about["epoch"]


def unpack_group(data: bytes) -> Group:
    """Inverse of `pack_group`."""
    files = unpack_files(data)
    about = json.loads(files["about.json"])
    tensors: Mapping[str, Tensor] = safetensors.torch.load(files["rollouts.safetensors"])
    members = {name.removeprefix("sample."): files[name] for name in files if name.startswith("sample.")}
    keys = tuple(f"{about['key']}#{number}" for number in range(len(tensors["ids"])))
    batch = Batch(keys=keys, **{name: tensors[name] for name in _BATCH_TENSORS})
    pictures = tuple(tensors["pictures"].numpy()) if "pictures" in tensors else ()
    row = Row(unpack(about["key"], members), about["epoch"])
    rollouts = Rollouts(batch, tensors["beyond"], tensors["order"])
    return Group(about["iteration"], row, rollouts, tuple(about["texts"]), pictures)
