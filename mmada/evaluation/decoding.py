"""Ask a model every item of a benchmark, in batches whose results are kept: a kill costs one batch."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import torch

from mmada.contracts.sample import Task
from mmada.errors import ContractError
from mmada.model.generation import Query, generate, num_tokens
from mmada.model.image_sampling import ImageSampling
from mmada.model.text_sampling import TextSampling
from mmada.model.transformer import Transformer
from mmada.progress import progress_bar
from mmada.text_tokenizer import TextTokenizer
from mmada.unit_store import UnitStore, unit_key
from mmada.vocab import Vocab

_LATER_OPTIONS: Final = (
    "remasking",
    "logits_eos_inf",
    "confidence_eos_eot_inf",
    "revisit_masks",
    "row_stops",
    "cache",
    "threshold",
    "factor",
)


@dataclass(frozen=True)
class Speaker:
    """A loaded model and all that answers depend on. `identity`: digest of its bytes and numerics class."""

    model: Transformer
    tokenizer: TextTokenizer
    vocab: Vocab
    identity: str


@dataclass(frozen=True)
class Decoding:
    """How answers are sampled. `num_image_tokens`: tokens of a picture that is drawn."""

    task: Task
    text: TextSampling
    image: ImageSampling
    num_image_tokens: int
    batch_size: int
    seed: int

    def identity(self) -> list[Any]:
        """What answers depend on besides model and items; the batch size is part of it (one generator per
        batch).
        """
        return [
            self.task,
            _plain(self.text),
            _plain(self.image),
            self.num_image_tokens,
            self.batch_size,
            self.seed,
        ]


@dataclass(frozen=True)
class Answer:
    """What a model said and drew. `codes`: row-major picture codes, empty for tasks without a drawing."""

    text: str
    codes: tuple[int, ...]


def check_lengths(speaker: Speaker, queries: Sequence[Query], decoding: Decoding, *, what: str) -> None:
    """Raises ContractError naming the first of the queries, of `what`, that leaves no room for its answer."""
    most = speaker.model.config.max_sequence_length
    for query in queries:
        length = num_tokens(
            decoding.task,
            query,
            speaker.tokenizer,
            speaker.vocab,
            text=decoding.text,
            num_image_tokens=decoding.num_image_tokens,
        )
        if length > most:
            raise ContractError(
                f"{what}: the item {query.prompt[:80]!r} takes {length} tokens with its answer, but the model takes "
                f"{most}; lower text_tokens of its evaluation.decoding, or take the item out"
            )


def answer_items(
    speaker: Speaker, queries: Sequence[Query], decoding: Decoding, store: UnitStore, *, title: str, first: int = 0
) -> list[Answer]:
    """One answer per query, in order. `first`: place of the first query among all; another place, another answer."""
    answers: list[Answer] = []
    with progress_bar(title, len(queries), "item") as bar:
        for start in range(0, len(queries), decoding.batch_size):
            batch = queries[start : start + decoding.batch_size]
            place = first + start
            key = unit_key("answers", speaker.identity, decoding.identity(), place, _asked(batch))
            stored = store.get(key)
            if stored is None:
                stored = _generate(speaker, batch, decoding, place)
                store.put(key, stored)
            answers += [Answer(text, tuple(codes)) for text, codes in json.loads(stored)]
            bar.update(len(batch))
    return answers


def _generate(speaker: Speaker, batch: Sequence[Query], decoding: Decoding, place: int) -> bytes:
    seed = int(hashlib.sha256(f"{decoding.seed}:{place}".encode()).hexdigest()[:15], 16)
    generated = generate(
        speaker.model,
        decoding.task,
        batch,
        speaker.tokenizer,
        speaker.vocab,
        text=replace(decoding.text, stop_id=speaker.vocab.eos),
        image=decoding.image,
        num_image_tokens=decoding.num_image_tokens,
        generator=torch.Generator(speaker.model.device).manual_seed(seed),
    )
    texts = generated.texts(speaker.tokenizer, speaker.vocab)
    codes = generated.codes(speaker.vocab).tolist() if decoding.num_image_tokens else [[] for _ in batch]
    return json.dumps(list(zip(texts, codes, strict=True)), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _asked(batch: Sequence[Query]) -> list[Any]:
    return [[query.prompt, None if query.codes is None else np.asarray(query.codes).tolist()] for query in batch]


def _plain(settings: TextSampling | ImageSampling) -> dict[str, Any]:
    """The settings by name. Options that came after the first scores are named where they are used, so that those
    scores keep their identity.
    """
    return {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if not isinstance(getattr(settings, field.name), slice)
        and (field.name not in _LATER_OPTIONS or getattr(settings, field.name) != field.default)
    }
