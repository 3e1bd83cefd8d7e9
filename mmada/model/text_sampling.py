"""Filling in text by confidence, block after block (LLaDA), exactly or by the short cuts of Fast-dLLM.

Random numbers are drawn in the order of the reference, so equal weights and seeds give equal tokens.
Shapes: B sequences, R sequences that still run, L tokens, W tokens of the window in view, V ids.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmada.errors import ParamsError
from mmada.model.kv_cache import CacheName, KvCache
from mmada.model.transformer import Transformer
from mmada.size_rules import text_split_fault
from mmada.vocab import Vocab

Remasking = Literal["low_confidence", "random"]
OnStep = Callable[[Int[Tensor, "B L"]], None]
"""Called after every step with the sequences as they stand; they are not to be changed."""


@dataclass(frozen=True)
class TextSampling:
    """How a window of text is filled. Raises ParamsError for options that do not go together.

    As published (LLaDA, MMaDA): `new_tokens` and `steps` split evenly over blocks of `block` tokens; every
    step of a block reveals an equal share of it. With `revisit_masks`, and without the options of the last group,
    tokens are those of the reference.
    """

    new_tokens: int
    steps: int
    block: int
    temperature: float = 0.0
    """Of the Gumbel noise; 0 takes the likeliest id."""
    guidance: float = 0.0
    """> 0 contrasts with a fully masked prompt: logits = blind + (1 + guidance) * (seen - blind)."""
    ids: slice | None = None
    """The ids that may be sampled (None: all)."""
    stop_id: int | None = None
    """When every row ends a block with it, the rest of the window is filled with it."""
    remasking: Remasking = "low_confidence"
    """Which candidates of a step are kept: the most confident ones, or random ones."""
    logits_eos_inf: bool = False
    """Never sample eos (LLaDA's option of that name, for benchmarks with long answers)."""
    confidence_eos_eot_inf: bool = False
    """Reveal eos and eot after everything else (LLaDA's option of that name). LLaDA's code does so only at
    temperature 0 and for eot otherwise; here both hold at any temperature."""

    revisit_masks: bool = False
    """A candidate may be the mask itself. Such a token is up again in the blocks that follow, as in the reference;
    without this option it stays masked."""

    row_stops: bool = False
    """A row leaves the batch alone, as soon as a finished block of it holds `stop_id`: what follows is not
    sampled, while the tokens up to the first `stop_id` stay what they were."""
    cache: CacheName = "none"
    """"prefix" keeps the keys and values of all before the current block, "dual" also those after it, both
    renewed when a block begins. Approximate: in between they do not know which tokens of the block were
    revealed (arXiv:2505.22618)."""
    threshold: float | None = None
    """Reveal all candidates of at least this confidence, one at least; `steps` is then of no account.
    Approximate: tokens of one step are drawn as if independent (arXiv:2505.22618, which uses 0.9)."""
    factor: float | None = None
    """As `threshold`, but reveal the n most confident candidates as long as the n-th has confidence
    1 - factor / (n + 1) at least (arXiv:2505.22618)."""

    def __post_init__(self) -> None:
        is_number = 0 <= self.temperature < math.inf and 0 <= self.guidance < math.inf
        if min(self.new_tokens, self.steps, self.block) < 1 or not is_number:
            raise ParamsError(
                f"sampling: {self.new_tokens} tokens, {self.steps} steps and blocks of {self.block} must be positive, "
                f"temperature {self.temperature} and guidance {self.guidance} finite and not negative"
            )
        if fault := text_split_fault(self.new_tokens, self.steps, self.block, is_parallel=self.is_parallel):
            raise ParamsError(f"sampling: {fault}")
        if self.threshold is not None and self.factor is not None:
            raise ParamsError(f"sampling: threshold {self.threshold} and factor {self.factor} exclude one another")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise ParamsError(f"sampling: threshold is {self.threshold}; a confidence lies in (0, 1]")
        if self.factor is not None and self.factor <= 0:
            raise ParamsError(f"sampling: factor is {self.factor}; use a positive one")
        if self.is_parallel and self.remasking == "random":
            raise ParamsError("sampling: threshold and factor go by confidence; use remasking low_confidence")

    @property
    def is_parallel(self) -> bool:
        """Whether confidence decides how many tokens a step reveals, rather than `steps`."""
        return self.threshold is not None or self.factor is not None


@torch.no_grad()
def fill_text(
    model: Transformer,
    ids: Int[Tensor, "B L"],
    start: int,
    sampling: TextSampling,
    *,
    vocab: Vocab,
    attendable: Bool[Tensor, "B L"] | None = None,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Int[Tensor, "B L"]:
    """Fill the masked tokens of ids[:, start : start + new_tokens]; what follows is left as it is.

    Each step takes the likeliest candidate everywhere in the block and keeps the most confident ones; nothing
    is masked again. With temperature > 0 candidates are drawn by Gumbel-max in float64 from one uniform
    tensor over all tokens and allowed ids, of `generator` (None: the global one).
    """
    filling = _Filling(model, sampling, vocab, ids.clone(), start, attendable, generator, on_step)
    rows = torch.arange(len(ids), device=ids.device)
    for first in range(start, start + sampling.new_tokens, sampling.block):
        span = slice(first, first + sampling.block)
        filling.fill_block(rows, span)
        if sampling.stop_id is not None:
            rows = filling.stop(rows, span, sampling.stop_id)
        if not len(rows):
            break
    return filling.x


def reveal_quota(masked: Int[Tensor, "B"], steps: int) -> Int[Tensor, "B steps"]:
    """How many tokens each step reveals: equal shares, the remainder one each on the first steps."""
    base, rest = masked[:, None] // steps, masked[:, None] % steps
    return base + (torch.arange(steps, device=masked.device) < rest)


@dataclass(frozen=True)
class _Filling:
    """One call of `fill_text`; `x` is filled in place."""

    model: Transformer
    sampling: TextSampling
    vocab: Vocab
    x: Int[Tensor, "B L"]
    start: int
    attendable: Bool[Tensor, "B L"] | None
    generator: torch.Generator | None
    on_step: OnStep | None

    def fill_block(self, rows: Int[Tensor, "R"], span: slice) -> None:
        """Reveal the tokens of one block, step by step."""
        sampling, mask = self.sampling, self.vocab.mask
        window = span
        if sampling.revisit_masks:
            leftover = (self.x[rows, : span.start] == mask).any(0).nonzero()
            window = slice(int(leftover[0]) if len(leftover) else span.start, span.stop)
        cache = None if sampling.cache == "none" else KvCache(self.model)
        steps = sampling.block if sampling.is_parallel else sampling.steps * sampling.block // sampling.new_tokens
        quota = reveal_quota((self.x[rows, span] == mask).sum(1), steps)
        for step in range(steps):
            count = (self.x[rows, window] == mask).sum(1) if sampling.is_parallel else quota[:, step]
            due = count > 0
            if not bool(due.all()):  # a row without work has none in later steps either
                rows, quota, count = rows[due], quota[due], count[due]
                if cache is not None:
                    cache.keep_rows(due.repeat(2) if sampling.guidance > 0 else due)
            if sampling.is_parallel and not len(rows):
                break
            noise, lots = self._draw(rows, window)
            if len(rows):
                logits = self._logits(rows, window, cache)
                self._reveal(rows, window, logits, noise, lots, count)
            if self.on_step is not None:
                self.on_step(self.x)

    def stop(self, rows: Int[Tensor, "R"], span: slice, stop_id: int) -> Int[Tensor, "S"]:
        """The rows that go on after a block; the windows of the others are filled with `stop_id`."""
        ended = self.x[rows, span.stop - 1] == stop_id
        ended = (self.x[rows, span] == stop_id).any(1) if self.sampling.row_stops else ended.all().expand(len(rows))
        rest = slice(span.stop, self.start + self.sampling.new_tokens)
        tail = self.x[rows[ended], rest]
        self.x[rows[ended], rest] = tail.masked_fill(tail == self.vocab.mask, stop_id)
        return rows[~ended]

    def _draw(
        self, rows: Int[Tensor, "R"], window: slice
    ) -> tuple[Float[Tensor, "R W V"] | None, Float[Tensor, "R W"] | None]:
        """The step's uniform numbers for candidates and for random remasking: drawn for all rows and tokens,
        also by steps that reveal nothing, because the reference does.
        """
        allowed = range(self.vocab.size)[self.sampling.ids or slice(None)]
        noise, lots = None, None
        if self.sampling.temperature > 0:
            noise = torch.rand(
                (*self.x.shape, len(allowed)), generator=self.generator, dtype=torch.float64, device=self.x.device
            )[rows, window]
        if self.sampling.remasking == "random":
            lots = torch.rand(self.x.shape, generator=self.generator, device=self.x.device)[rows, window]
        return noise, lots

    def _logits(self, rows: Int[Tensor, "R"], window: slice, cache: KvCache | None) -> Float[Tensor, "R W V"]:
        x, guidance = self.x[rows], self.sampling.guidance
        attendable = None if self.attendable is None else self.attendable[rows]
        if guidance == 0:
            return self.model.logits(self._hidden(x, attendable, window, cache), self.sampling.ids)
        blind = x.clone()
        blind[:, : self.start] = self.vocab.mask
        both = None if attendable is None else torch.cat([attendable, attendable])
        hidden = self._hidden(torch.cat([x, blind]), both, window, cache)
        seen, unseen = self.model.logits(hidden, self.sampling.ids).chunk(2)
        return unseen + (1 + guidance) * (seen - unseen)

    def _hidden(
        self, x: Int[Tensor, "R L"], attendable: Bool[Tensor, "R L"] | None, window: slice, cache: KvCache | None
    ) -> Float[Tensor, "R W D"]:
        if cache is None:
            return self.model.hidden_states(x, attendable)[:, window]
        if cache.is_empty:
            return cache.full_pass(x, attendable)[:, window]
        columns = window if self.sampling.cache == "dual" else slice(window.start, x.shape[1])
        return cache.partial_pass(x, attendable, columns)[:, : window.stop - window.start]

    def _reveal(
        self,
        rows: Int[Tensor, "R"],
        window: slice,
        logits: Float[Tensor, "R W V"],
        noise: Float[Tensor, "R W V"] | None,
        lots: Float[Tensor, "R W"] | None,
        count: Int[Tensor, "R"],
    ) -> None:
        sampling, vocab = self.sampling, self.vocab
        offset = 0 if sampling.ids is None else sampling.ids.start
        wide = logits.double()  # float64: low-precision Gumbel-max hurts generation quality (arXiv:2409.02908)
        if sampling.logits_eos_inf:
            _forbid(wide, vocab.eos - offset)
        if sampling.is_parallel:  # or a block might never be clean
            _forbid(wide, vocab.mask - offset)
        scored = wide if noise is None else wide.exp() / (-noise.log()) ** sampling.temperature
        best = scored.argmax(-1)
        if sampling.confidence_eos_eot_inf:
            _forbid(wide, *(id_ - offset for id_ in (vocab.eos, vocab.eot) if id_ is not None))
        confidence = wide.softmax(-1).gather(-1, best[..., None])[..., 0] if lots is None else lots
        is_masked = self.x[rows, window] == vocab.mask
        confidence = confidence.masked_fill(~is_masked, -torch.inf)
        if sampling.is_parallel:
            reveal = _sure(confidence, sampling)
        else:
            reveal = _top(confidence, count, window, self.x.shape[1])
        self.x[rows, window] = torch.where(reveal & is_masked, best + offset, self.x[rows, window])


def _forbid(logits: Float[Tensor, "R W V"], *places: int) -> None:
    """Take ids out of the choice, in place; those that may not be sampled anyway have no place."""
    logits[..., [place for place in places if 0 <= place < logits.shape[-1]]] = -torch.inf


def _top(confidence: Float[Tensor, "R W"], count: Int[Tensor, "R"], window: slice, length: int) -> Bool[Tensor, "R W"]:
    """The `count` most confident tokens of each row. Equals are told apart as topk does it over a whole row."""
    whole = confidence.new_full((len(confidence), length), -torch.inf)
    whole[:, window] = confidence
    reveal = torch.zeros_like(whole, dtype=torch.bool)
    for row, number in enumerate(count.tolist()):
        reveal[row, whole[row].topk(number).indices] = True
    return reveal[:, window]


def _sure(confidence: Float[Tensor, "R W"], sampling: TextSampling) -> Bool[Tensor, "R W"]:
    """The tokens that threshold or factor let through, the most confident one always."""
    ranked, order = confidence.sort(dim=-1, descending=True)
    if sampling.threshold is not None:
        enough = ranked >= sampling.threshold
    else:
        assert sampling.factor is not None, "one of the two is set"
        number = torch.arange(1, ranked.shape[1] + 1, device=ranked.device)
        enough = (ranked >= 1 - sampling.factor / (number + 1)).cumprod(-1).bool()
    enough[:, 0] = True
    return torch.zeros_like(enough).scatter(-1, order, enough)
