"""Task layouts: how one sample becomes one row of ids, and how rows become a batch.

    t2i   [ipad]* t2i bos prompt eos soi image eoi
    lm    bos text eos
    chat  bos [user prompt] [assistant] response eos*
    mmu   mmu soi image eoi bos [user prompt] [assistant] response eos*
    r2i   r2i bos [user prompt] [assistant] thought eos* soi image eoi

Nothing is ever cut: a row that is too long is an error, because curation drops such rows before.
Shapes: B sequences, L tokens, N image tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mmada.contracts.sample import TASKS, Sample, Task
from mmada.errors import ContractError
from mmada.text_tokenizer import TextTokenizer, chat_prompt_ids
from mmada.vocab import Vocab

Padding = Literal["eos", "masked_out"]


class Row(NamedTuple):
    """One appearance of a sample in training. The epoch makes its noise differ from that of earlier ones."""

    sample: Sample
    epoch: int


@dataclass(frozen=True)
class Layout:
    """One row. `maskable`: True = a token the model learns to predict; everything else is given."""

    key: str
    task: Task
    ids: Int[np.ndarray, "L"]
    maskable: Bool[np.ndarray, "L"]


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length. `start`: first token of a row that is no left padding."""

    keys: tuple[str, ...]
    task: Int[Tensor, "B"]
    """Index into `TASKS`."""
    ids: Int[Tensor, "B L"]
    maskable: Bool[Tensor, "B L"]
    attendable: Bool[Tensor, "B L"]
    is_image: Bool[Tensor, "B L"]
    start: Int[Tensor, "B"]

    def rows(self, task: Task) -> Bool[Tensor, "B"]:
        """Which rows belong to `task`."""
        return self.task == TASKS.index(task)


def lay_out(
    sample: Sample,
    tokenizer: TextTokenizer,
    vocab: Vocab,
    *,
    window: int,
    max_length: int,
    drop_condition: bool = False,
) -> Layout:
    """The row of a sample.

    `window`: responses are filled with eos up to so many tokens (one eos at least), all of them targets, so
    that the model learns to end inside the window that sampling opens. `drop_condition`: leave out the prompt
    of a t2i row, for classifier-free guidance. Raises ContractError when the row exceeds `max_length`.
    """
    prompt = "" if drop_condition and sample.task == "t2i" else sample.prompt
    parts = _LAYOUTS[sample.task](prompt, sample, tokenizer, vocab, window)
    ids = np.concatenate([part for part, _ in parts])
    if len(ids) > max_length:
        raise ContractError(
            f"sample {sample.key}: {len(ids)} tokens with its response filled to {window}, but the model takes "
            f"{max_length}; lower response_window or selection.max_text_tokens, or raise model.max_sequence_length"
        )
    maskable = np.concatenate([np.full(len(part), target) for part, target in parts])
    return Layout(sample.key, sample.task, ids, maskable)


def collate(layouts: Sequence[Layout], vocab: Vocab, *, padding: Padding, length: int | None = None) -> Batch:
    """Pad rows to the longest (or to `length`).

    t2i rows are padded on the left with ipad, the others on the right with eos. Pads are hidden from
    attention and are no targets; with padding "eos" those after lm, chat and mmu text are visible targets, as
    published.
    """
    assert layouts, "a batch needs rows"
    longest = max(len(layout.ids) for layout in layouts) if length is None else length
    size = (len(layouts), longest)
    ids = np.full(size, vocab.eos, dtype=np.int64)
    maskable, attendable = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
    start = np.zeros(len(layouts), dtype=np.int64)
    for row, layout in enumerate(layouts):
        own = len(layout.ids)
        if own > longest:
            raise ContractError(f"sample {layout.key}: {own} tokens do not fit rows of {longest}; raise the length")
        if layout.task == "t2i":
            start[row] = longest - own
            ids[row, : start[row]] = vocab.ipad
        span = slice(start[row], start[row] + own)
        ids[row, span], maskable[row, span], attendable[row, span] = layout.ids, layout.maskable, True
        if padding == "eos" and layout.task in ("lm", "chat", "mmu"):
            maskable[row, own:], attendable[row, own:] = True, True
    return Batch(
        keys=tuple(layout.key for layout in layouts),
        task=torch.tensor([TASKS.index(layout.task) for layout in layouts]),
        ids=torch.from_numpy(ids),
        maskable=torch.from_numpy(maskable),
        attendable=torch.from_numpy(attendable),
        is_image=torch.from_numpy((ids >= vocab.image_range.start) & (ids < vocab.image_range.stop)),
        start=torch.from_numpy(start),
    )


def prompt_ids(
    task: Task, prompt: str, image_ids: Int[np.ndarray, "N"] | None, tokenizer: TextTokenizer, vocab: Vocab
) -> list[int]:
    """Everything before the tokens that are to be sampled (t2i: up to soi; r2i: up to the thought)."""
    if task == "t2i":
        return [vocab.t2i, vocab.bos, *tokenizer.encode(prompt), vocab.eos, vocab.soi]
    if task == "lm":
        return [vocab.bos, *tokenizer.encode(prompt)]
    chat = chat_prompt_ids(prompt, tokenizer, vocab)
    if task == "mmu":
        assert image_ids is not None, "a picture question needs its picture"
        return [vocab.mmu, vocab.soi, *image_ids.tolist(), vocab.eoi, *chat]
    return [vocab.required("r2i"), *chat] if task == "r2i" else chat


def left_pad(
    rows: Sequence[Sequence[int]], vocab: Vocab, *, length: int | None = None
) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"]]:
    """Ids and attendable of prompts of different lengths, aligned at their ends (positions are relative, so
    hidden pads on the left change nothing).
    """
    longest = max(len(row) for row in rows) if length is None else length
    ids = torch.full((len(rows), longest), vocab.ipad)
    attendable = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, longest - len(row) :] = torch.tensor(row)
        attendable[index, longest - len(row) :] = True
    return ids, attendable


_Part = tuple[Int[np.ndarray, "n"], bool]
"""A run of ids and whether it is a target."""


def _given(ids: Sequence[int]) -> _Part:
    return np.asarray(ids, dtype=np.int64), False


def _response(text: str, tokenizer: TextTokenizer, vocab: Vocab, window: int) -> _Part:
    ids = tokenizer.encode(text)
    return np.asarray([*ids, *[vocab.eos] * max(1, window - len(ids))], dtype=np.int64), True


def _image(sample: Sample, vocab: Vocab) -> Int[np.ndarray, "N"]:
    if sample.codes is None:
        raise ContractError(f"sample {sample.key}: task {sample.task!r} needs picture codes and has none")
    return vocab.image_ids(sample.codes.reshape(-1))


def _t2i(prompt: str, sample: Sample, tokenizer: TextTokenizer, vocab: Vocab, window: int) -> list[_Part]:
    opening = prompt_ids("t2i", prompt, None, tokenizer, vocab)
    return [_given(opening), (_image(sample, vocab), True), _given([vocab.eoi])]


def _lm(prompt: str, sample: Sample, tokenizer: TextTokenizer, vocab: Vocab, window: int) -> list[_Part]:
    text = [vocab.bos, *tokenizer.encode(sample.response), vocab.eos]
    return [(np.asarray(text, dtype=np.int64), True)]


def _chat(prompt: str, sample: Sample, tokenizer: TextTokenizer, vocab: Vocab, window: int) -> list[_Part]:
    opening = prompt_ids("chat", prompt, None, tokenizer, vocab)
    return [_given(opening), _response(sample.response, tokenizer, vocab, window)]


def _mmu(prompt: str, sample: Sample, tokenizer: TextTokenizer, vocab: Vocab, window: int) -> list[_Part]:
    opening = prompt_ids("mmu", prompt, _image(sample, vocab), tokenizer, vocab)
    return [_given(opening), _response(sample.response, tokenizer, vocab, window)]


def _r2i(prompt: str, sample: Sample, tokenizer: TextTokenizer, vocab: Vocab, window: int) -> list[_Part]:
    opening = prompt_ids("r2i", prompt, None, tokenizer, vocab)
    thought = _response(sample.response, tokenizer, vocab, window)
    return [_given(opening), thought, _given([vocab.soi]), (_image(sample, vocab), True), _given([vocab.eoi])]


_LayoutRule = Callable[[str, Sample, TextTokenizer, Vocab, int], list[_Part]]
_LAYOUTS: Final[Mapping[Task, _LayoutRule]] = MappingProxyType(
    {"t2i": _t2i, "lm": _lm, "chat": _chat, "mmu": _mmu, "r2i": _r2i}
)
