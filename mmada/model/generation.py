"""From questions to answers: builds prompts of one task, samples, and reads text and codes back.

Used by rollouts and by evaluation, so that both mean the same by "what the model answers".
Shapes: B sequences, L tokens, N image tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mmada.contracts.sample import Task
from mmada.model.image_sampling import ImageSampling, fill_image
from mmada.model.sequences import left_pad, prompt_ids
from mmada.model.text_sampling import OnStep, TextSampling, fill_text
from mmada.model.transformer import Transformer
from mmada.params_section import DRAWING_TASKS
from mmada.text_tokenizer import TextTokenizer
from mmada.vocab import Vocab


@dataclass(frozen=True)
class Query:
    """What is asked. `codes`: the picture that a mmu question is about."""

    prompt: str
    codes: Int[np.ndarray, "h w"] | None = None


@dataclass(frozen=True)
class Generated:
    """Whole sequences, aligned at their ends; `text` and `image` are the places that were sampled."""

    task: Task
    ids: Int[Tensor, "B L"]
    attendable: Bool[Tensor, "B L"]
    text: slice
    image: slice

    def texts(self, tokenizer: TextTokenizer, vocab: Vocab) -> list[str]:
        """Sampled text of each row, up to the first eos."""
        rows = self.ids[:, self.text].tolist()
        return [tokenizer.decode(row[: row.index(vocab.eos)] if vocab.eos in row else row) for row in rows]

    def codes(self, vocab: Vocab) -> Int[Tensor, "B N"]:
        """Sampled image codes of each row (no columns for tasks that draw nothing)."""
        return vocab.image_codes(self.ids[:, self.image])


def generate(
    model: Transformer,
    task: Task,
    queries: Sequence[Query],
    tokenizer: TextTokenizer,
    vocab: Vocab,
    *,
    text: TextSampling,
    image: ImageSampling,
    num_image_tokens: int,
    generator: torch.Generator,
    on_step: OnStep | None = None,
) -> Generated:
    """Answer queries of one task: text for lm, chat and mmu; a picture for t2i; a thought, then a picture for
    r2i.

    Text is sampled among text ids only. The result depends on the order of the queries through `generator`.
    """
    draws, writes = task in DRAWING_TASKS, task != "t2i"
    device = model.device
    prompts, seen = left_pad([_prompt(task, query, tokenizer, vocab) for query in queries], vocab)
    window = text.new_tokens if writes else 0
    tail = _to_sample(task, text, num_image_tokens, vocab)
    after = torch.tensor(tail, dtype=torch.long).expand(len(queries), -1)
    ids = torch.cat([prompts, after], 1).to(device)
    attendable = torch.cat([seen, torch.ones_like(after, dtype=torch.bool)], 1).to(device)
    start, length = prompts.shape[1], ids.shape[1]
    places = slice(length - 1 - num_image_tokens, length - 1) if draws else slice(length, length)
    if writes:
        ids = fill_text(
            model,
            ids,
            start,
            replace(text, ids=vocab.text_range),
            vocab=vocab,
            attendable=attendable,
            generator=generator,
            on_step=on_step,
        )
    if draws:
        blank = None
        if image.guidance > 0:
            blank = _blank(task, ids, start, places, vocab, attendable)
        codes = fill_image(
            model,
            ids,
            num_image_tokens,
            image,
            vocab=vocab,
            generator=generator,
            attendable=attendable,
            unconditional=blank,
            on_step=on_step,
        )
        ids[:, places] = vocab.image_ids(codes)
    return Generated(task, ids, attendable, slice(start, start + window), places)


def num_tokens(
    task: Task, query: Query, tokenizer: TextTokenizer, vocab: Vocab, *, text: TextSampling, num_image_tokens: int
) -> int:
    """Length of the sequence in which a query is answered."""
    return len(_prompt(task, query, tokenizer, vocab)) + len(_to_sample(task, text, num_image_tokens, vocab))


def _to_sample(task: Task, text: TextSampling, num_image_tokens: int, vocab: Vocab) -> list[int]:
    """What follows a prompt before anything of it is sampled."""
    ids = [vocab.mask] * text.new_tokens if task != "t2i" else []
    if task in DRAWING_TASKS:
        ids += [vocab.soi] * (task == "r2i") + [vocab.mask] * num_image_tokens + [vocab.eoi]
    return ids


def _prompt(task: Task, query: Query, tokenizer: TextTokenizer, vocab: Vocab) -> list[int]:
    image_ids = None if query.codes is None else vocab.image_ids(np.asarray(query.codes).reshape(-1))
    return prompt_ids(task, query.prompt, image_ids, tokenizer, vocab)


def _blank(
    task: Task,
    ids: Int[Tensor, "B L"],
    start: int,
    places: slice,
    vocab: Vocab,
    attendable: Bool[Tensor, "B L"],
) -> tuple[Int[Tensor, "B P"], Bool[Tensor, "B P"]]:
    """Everything before the picture without its condition: an empty t2i prompt, whatever the task."""
    empty = [vocab.t2i, vocab.bos, vocab.eos, vocab.soi]
    padded, seen = left_pad([empty] * len(ids), vocab, length=places.start)
    return padded.to(ids.device), seen.to(ids.device)
