"""Filling in pictures in parallel (MaskGIT), with classifier-free guidance.

Random numbers are drawn in the order of the reference, so equal weights and seeds give equal codes; what the
reference computes and throws away (scores of other ids and of known places, hidden pads) is not computed.
Shapes: B sequences, L tokens, P tokens before the picture, N image tokens, U places that are unknown, K codes.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmada.errors import ParamsError
from mmada.model.mask_schedules import MASK_SCHEDULES, ScheduleName
from mmada.model.text_sampling import OnStep
from mmada.model.transformer import Transformer
from mmada.vocab import Vocab

_PLACES_AT_ONCE: Final = 64
"""For which random numbers are drawn at once: those of 8,192 codes take 4 MiB, which stay in a processor's cache."""


@dataclass(frozen=True)
class ImageSampling:
    """How a picture is filled in. `guidance` > 0 needs the unconditional prompt. Raises ParamsError for numbers that
    make no sense.
    """

    steps: int
    temperature: float = 1.0
    guidance: float = 0.0
    schedule: ScheduleName = "cosine"

    def __post_init__(self) -> None:
        if self.steps < 1 or not (0 <= self.temperature < math.inf and 0 <= self.guidance < math.inf):
            raise ParamsError(
                f"sampling: {self.steps} image steps must be positive, temperature {self.temperature} and guidance "
                f"{self.guidance} finite and not negative"
            )


@torch.no_grad()
def fill_image(
    model: Transformer,
    ids: Int[Tensor, "B L"],
    num_tokens: int,
    sampling: ImageSampling,
    *,
    vocab: Vocab,
    generator: torch.Generator,
    attendable: Bool[Tensor, "B L"] | None = None,
    unconditional: tuple[Int[Tensor, "B P"], Bool[Tensor, "B P"]] | None = None,
    on_step: OnStep | None = None,
) -> Int[Tensor, "B N"]:
    """Codes of the pictures that stand, masked, in the `num_tokens` places before the last token (eoi).

    `unconditional`: prompt (everything before the picture, as long as the conditional one) and its
    attendable, for guidance. The picture's final sample is returned whole; the caller's ids are not touched.
    """
    assert sampling.guidance == 0 or unconditional is not None, "guidance needs an unconditional prompt"
    x = ids.clone()
    image = slice(x.shape[1] - num_tokens - 1, x.shape[1] - 1)
    prompts = [_prompt(model, x[:, : image.start], attendable)]
    if sampling.guidance > 0 and unconditional is not None:
        prompts.append(_prompt(model, *unconditional))
    known = torch.where(x[:, image] == vocab.mask, -1, x[:, image] - vocab.image_range.start)
    sampled, temperature = known, sampling.temperature
    for step in range(sampling.steps):
        unknown = known < 0
        logits = _unknown_logits(model, prompts, x[:, image.start :], unknown, sampling.guidance, vocab)
        drawn, likelihood = _draw(logits, unknown, generator)
        sampled = known.masked_scatter(unknown, drawn)
        confidence = torch.full(known.shape, torch.finfo(likelihood.dtype).max, device=x.device)
        confidence = confidence.masked_scatter(unknown, likelihood)
        progress = (step + 1) / sampling.steps
        rate = MASK_SCHEDULES[sampling.schedule](torch.tensor(progress))
        keep_masked = (num_tokens * rate).floor().to(x.device)
        keep_masked = torch.minimum(unknown.sum(1, keepdim=True) - 1, keep_masked)
        keep_masked = keep_masked.clamp(min=1, max=num_tokens - 1).long()  # a lone code is revealed at once
        temperature = temperature * (1.0 - progress)  # compounds over steps, as in the reference
        remask = _least_confident(confidence, keep_masked, temperature, generator)
        known = torch.where(remask, -1, sampled)
        x[:, image] = torch.where(remask, vocab.mask, sampled + vocab.image_range.start)
        if on_step is not None:
            on_step(x)
    return sampled


@dataclass(frozen=True)
class _Prompt:
    """What stands before the picture, without the columns that nothing attends to; `first` is the position of
    the first that is left, so that every token keeps its own.
    """

    ids: Int[Tensor, "B P"]
    attendable: Bool[Tensor, "B P"] | None
    first: int


def _prompt(model: Transformer, ids: Int[Tensor, "B P"], attendable: Bool[Tensor, "B *"] | None) -> _Prompt:
    """Pads matter to models that cannot hide them ("full", "plus_one"): there all columns stay."""
    if attendable is None or model.config.attention == "full":
        return _Prompt(ids, None, 0)
    own = attendable[:, : ids.shape[1]]
    if model.config.attention != "masked":
        return _Prompt(ids, own, 0)
    used = own.any(0).int()
    first = int(used.argmax()) if bool(used.any()) else ids.shape[1]
    own = own[:, first:]
    return _Prompt(ids[:, first:], None if bool(own.all()) else own, first)


def _unknown_logits(
    model: Transformer,
    prompts: list[_Prompt],
    picture: Int[Tensor, "B M"],
    unknown: Bool[Tensor, "B N"],
    guidance: float,
    vocab: Vocab,
) -> Float[Tensor, "U K"]:
    """Scores of the codes at unknown places; `picture` is the image and eoi."""
    scores = []
    for prompt in prompts:
        attendable = None
        if prompt.attendable is not None:
            attendable = torch.cat([prompt.attendable, torch.ones_like(picture, dtype=torch.bool)], 1)
        hidden = model.hidden_states(torch.cat([prompt.ids, picture], 1), attendable, first=prompt.first)
        scores.append(model.logits(hidden[:, prompt.ids.shape[1] : -1][unknown], vocab.image_range))
    if guidance == 0:
        return scores[0]
    return (1 + guidance) * scores[0] - guidance * scores[1]


def _draw(
    logits: Float[Tensor, "U K"], unknown: Bool[Tensor, "B N"], generator: torch.Generator
) -> tuple[Int[Tensor, "U"], Float[Tensor, "U"]]:
    """A code for every unknown place, and its probability.

    torch.multinomial, which the reference calls over all places, draws one exponential number per place and
    code and takes the largest probability / number; here the same numbers are used at unknown places alone.
    """
    probs = logits.float().softmax(-1)
    drawn = (probs / _exponential(unknown, logits.shape[1], generator)).argmax(-1)
    return drawn, probs.gather(-1, drawn[:, None])[:, 0]


def _exponential(unknown: Bool[Tensor, "B N"], num_codes: int, generator: torch.Generator) -> Float[Tensor, "U K"]:
    """What Tensor.exponential_ draws for all places, at unknown ones.

    On the CPU a number comes from 64 random bits by way of a logarithm, which is most of its cost: it is taken of
    the wanted ones only. (There exponential_ may also leave the work to a processor vendor's own generator; this
    gives the same numbers on all.)
    """
    places = unknown.flatten()
    if unknown.device.type != "cpu":
        return torch.empty((len(places), num_codes), device=unknown.device).exponential_(1, generator=generator)[places]
    parts = []
    for wanted in torch.split(places, _PLACES_AT_ONCE):
        uniform = torch.empty((len(wanted), num_codes), dtype=torch.float64).uniform_(0, 1, generator=generator)
        parts.append(uniform[wanted].neg_().log1p_().neg_().float())
    return torch.cat(parts)


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
