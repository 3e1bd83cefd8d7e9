"""Samplers: text by confidence, block after block (LLaDA), and pictures in parallel (MaskGIT).

Given a seeded generator both draw in the order of the reference, so equal weights and seeds give equal
tokens. Shapes: B sequences, L tokens, P prompt tokens, V ids, N image tokens, K codes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmada.errors import ParamsError
from mmada.model.mask_schedules import MASK_SCHEDULES, ScheduleName
from mmada.model.transformer import Transformer
from mmada.vocab import Vocab


@dataclass(frozen=True)
class TextSampling:
    """How a window of text is filled. `new_tokens` and `steps` must split evenly over blocks of `block`
    tokens.

    `guidance` > 0 contrasts with a fully masked prompt. `ids`: the ids that may be sampled (None: all).
    `stop_id`: when every row ends a block with it, the rest of the window is filled with it.
    """

    new_tokens: int
    steps: int
    block: int
    temperature: float = 0.0
    guidance: float = 0.0
    ids: slice | None = None
    stop_id: int | None = None

    def __post_init__(self) -> None:
        blocks = self.new_tokens // self.block
        if self.new_tokens % self.block or self.steps % blocks or self.steps < blocks:
            raise ParamsError(
                f"sampling: {self.new_tokens} text tokens in blocks of {self.block} with {self.steps} steps "
                "do not split evenly; make tokens a multiple of the block, steps of the number of blocks"
            )


@dataclass(frozen=True)
class ImageSampling:
    """How a picture is filled in. `guidance` > 0 needs the unconditional prompt."""

    steps: int
    temperature: float = 1.0
    guidance: float = 0.0
    schedule: ScheduleName = "cosine"


@torch.no_grad()
def sample_text(
    model: Transformer,
    ids: Int[Tensor, "B L"],
    start: int,
    sampling: TextSampling,
    *,
    mask_id: int,
    attendable: Bool[Tensor, "B L"] | None = None,
    generator: torch.Generator | None = None,
    on_step: Callable[[], None] | None = None,
) -> Int[Tensor, "B L"]:
    """Fill the masked tokens of ids[:, start : start + new_tokens]; the rest is left as it is.

    Each step takes the likeliest candidate everywhere in the block and keeps the most confident ones; nothing
    is masked again. With temperature > 0 candidates are drawn by Gumbel-max in float64 from one uniform
    tensor over all tokens and allowed ids; `generator` is then required.
    """
    assert sampling.temperature == 0 or generator is not None, "sampling with temperature needs a generator"
    x = ids.clone()
    is_prompt = torch.arange(x.shape[1], device=x.device) < start
    blocks = sampling.new_tokens // sampling.block
    steps = sampling.steps // blocks
    for block in range(blocks):
        span = slice(start + block * sampling.block, start + (block + 1) * sampling.block)
        quota = reveal_quota((x[:, span] == mask_id).sum(1), steps)
        for step in range(steps):
            logits = _text_logits(model, x, is_prompt, span, sampling, mask_id, attendable)
            noise = None
            if sampling.temperature > 0:
                shape = (x.shape[0], x.shape[1], logits.shape[-1])
                noise = torch.rand(shape, generator=generator, dtype=torch.float64, device=x.device)[:, span]
            x[:, span] = _reveal(x[:, span], logits, noise, quota[:, step], sampling, mask_id)
            if on_step is not None:
                on_step()
        if sampling.stop_id is not None and bool((x[:, span.stop - 1] == sampling.stop_id).all()):
            rest = x[:, span.stop : start + sampling.new_tokens]
            rest[rest == mask_id] = sampling.stop_id
            break
    return x


def reveal_quota(masked: Int[Tensor, "B"], steps: int) -> Int[Tensor, "B steps"]:
    """How many tokens each step reveals: equal shares, the remainder one each on the first steps."""
    base, rest = masked[:, None] // steps, masked[:, None] % steps
    return base + (torch.arange(steps, device=masked.device) < rest)


def _text_logits(
    model: Transformer,
    x: Int[Tensor, "B L"],
    is_prompt: Bool[Tensor, "L"],
    span: slice,
    sampling: TextSampling,
    mask_id: int,
    attendable: Bool[Tensor, "B L"] | None,
) -> Float[Tensor, "B block V"]:
    if sampling.guidance == 0:
        return model.logits(model.hidden_states(x, attendable)[:, span], sampling.ids)
    blind = x.masked_fill(is_prompt, mask_id)
    both = None if attendable is None else torch.cat([attendable, attendable])
    seen, unseen = model.logits(model.hidden_states(torch.cat([x, blind]), both)[:, span], sampling.ids).chunk(2)
    return unseen + (1 + sampling.guidance) * (seen - unseen)


def _reveal(
    x: Int[Tensor, "B block"],
    logits: Float[Tensor, "B block V"],
    noise: Float[Tensor, "B block V"] | None,
    quota: Int[Tensor, "B"],
    sampling: TextSampling,
    mask_id: int,
) -> Int[Tensor, "B block"]:
    wide = logits.double()  # float64: low-precision Gumbel-max hurts generation quality (arXiv:2409.02908)
    scored = wide if noise is None else wide.exp() / (-noise.log()) ** sampling.temperature
    best = scored.argmax(-1)
    confidence = wide.softmax(-1).gather(-1, best[..., None])[..., 0]
    is_masked = x == mask_id
    confidence = confidence.masked_fill(~is_masked, -torch.inf)
    candidate = best + (0 if sampling.ids is None else sampling.ids.start)
    reveal = torch.zeros_like(is_masked)
    for row, count in enumerate(quota.tolist()):
        reveal[row, confidence[row].topk(count).indices] = True
    return torch.where(reveal & is_masked, candidate, x)


@torch.no_grad()
def sample_images(
    model: Transformer,
    ids: Int[Tensor, "B L"],
    num_tokens: int,
    sampling: ImageSampling,
    *,
    vocab: Vocab,
    generator: torch.Generator,
    attendable: Bool[Tensor, "B L"] | None = None,
    unconditional: tuple[Int[Tensor, "B P"], Bool[Tensor, "B P"]] | None = None,
    on_step: Callable[[], None] | None = None,
) -> Int[Tensor, "B N"]:
    """Codes of the pictures that stand, masked, in the `num_tokens` places before the last token (eoi).

    `unconditional`: prompt (everything before the picture, as long as the conditional one) and its
    attendable, for guidance. The picture's final sample is returned whole; the caller's ids are not touched.
    """
    assert sampling.guidance == 0 or unconditional is not None, "guidance needs an unconditional prompt"
    x = ids.clone()
    image = slice(x.shape[1] - num_tokens - 1, x.shape[1] - 1)
    known = torch.where(x[:, image] == vocab.mask, -1, x[:, image] - vocab.image_range.start)
    sampled, temperature = known, sampling.temperature
    for step in range(sampling.steps):
        logits = _image_logits(model, x, image, sampling.guidance, vocab, attendable, unconditional)
        probs = logits.float().softmax(-1)
        drawn = torch.multinomial(probs.flatten(0, 1), 1, generator=generator).view(known.shape)
        unknown = known < 0
        sampled = torch.where(unknown, drawn, known)
        confidence = probs.gather(-1, sampled[..., None])[..., 0]
        confidence = confidence.masked_fill(~unknown, torch.finfo(confidence.dtype).max)
        progress = (step + 1) / sampling.steps
        rate = MASK_SCHEDULES[sampling.schedule](torch.tensor(progress))
        keep_masked = (num_tokens * rate).floor().to(x.device)
        keep_masked = torch.minimum(unknown.sum(1, keepdim=True) - 1, keep_masked).clamp(min=1).long()
        temperature = temperature * (1.0 - progress)  # compounds over steps, as in the reference
        remask = _least_confident(confidence, keep_masked, temperature, generator)
        known = torch.where(remask, -1, sampled)
        x[:, image] = torch.where(remask, vocab.mask, sampled + vocab.image_range.start)
        if on_step is not None:
            on_step()
    return sampled


def _image_logits(
    model: Transformer,
    x: Int[Tensor, "B L"],
    image: slice,
    guidance: float,
    vocab: Vocab,
    attendable: Bool[Tensor, "B L"] | None,
    unconditional: tuple[Int[Tensor, "B P"], Bool[Tensor, "B P"]] | None,
) -> Float[Tensor, "B N K"]:
    if guidance == 0 or unconditional is None:
        return model.logits(model.hidden_states(x, attendable)[:, image], vocab.image_range)
    blank, blank_attendable = unconditional
    seen_attendable = torch.ones_like(x, dtype=torch.bool) if attendable is None else attendable
    after = seen_attendable[:, blank.shape[1] :]
    both = torch.cat([x, torch.cat([blank, x[:, blank.shape[1] :]], 1)])
    both_attendable = torch.cat([seen_attendable, torch.cat([blank_attendable, after], 1)])
    seen, unseen = model.logits(model.hidden_states(both, both_attendable)[:, image], vocab.image_range).chunk(2)
    return (1 + guidance) * seen - guidance * unseen


def _least_confident(
    confidence: Float[Tensor, "B N"],
    count: Int[Tensor, "B 1"],
    temperature: float,
    generator: torch.Generator,
) -> Bool[Tensor, "B N"]:
    """The `count` least confident places after Gumbel noise on the log confidence."""
    uniform = torch.zeros_like(confidence).uniform_(0, 1, generator=generator)
    gumbel = -_log(-_log(uniform))
    noisy = _log(confidence) + temperature * gumbel
    cut = noisy.sort(dim=-1).values.gather(1, count)
    return noisy < cut


def _log(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return x.clamp(min=1e-20).log()
