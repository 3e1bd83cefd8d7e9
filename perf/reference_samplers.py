"""What the reference's samplers compute, written plainly: all tokens, all ids, in float64, nothing kept.

Benchmarks run them beside ours, and tests compare tokens with theirs.
"""

import math

import torch
from torch import Tensor

from mmada.model.transformer import Transformer
from mmada.vocab import Vocab


@torch.no_grad()
def plain_text(
    model: Transformer,
    ids: Tensor,
    start: int,
    mask: int,
    *,
    new: int,
    steps: int,
    block: int,
    temperature: float = 0.0,
    guidance: float = 0.0,
    remasking: str = "low_confidence",
    attendable: Tensor | None = None,
) -> Tensor:
    """LLaDA's semi-autoregressive sampler; draws from the global generator."""
    x, is_prompt = ids.clone(), ids != mask
    for first in range(start, start + new, block):
        stop = first + block
        masked, share = (x[:, first:stop] == mask).sum(1), steps * block // new
        for step in range(share):
            if guidance > 0:
                both = None if attendable is None else torch.cat([attendable, attendable])
                seen, unseen = model(torch.cat([x, x.masked_fill(is_prompt, mask)]), both).chunk(2)
                logits = unseen + (guidance + 1) * (seen - unseen)
            else:
                logits = model(x, attendable)
            scored = logits.double()
            if temperature > 0:
                scored = scored.exp() / (-torch.rand_like(logits, dtype=torch.float64).log()) ** temperature
            candidate = scored.argmax(-1)
            if remasking == "random":
                confidence = torch.rand(x.shape, device=x.device)
            else:
                confidence = logits.double().softmax(-1).gather(-1, candidate[..., None])[..., 0]
            confidence[:, stop:] = -torch.inf
            confidence = confidence.masked_fill(x != mask, -torch.inf)
            for row in range(len(x)):
                count = int(masked[row]) // share + (step < int(masked[row]) % share)
                chosen = confidence[row].topk(count).indices
                x[row, chosen] = torch.where(x[row, chosen] == mask, candidate[row, chosen], x[row, chosen])
    return x


@torch.no_grad()
def plain_image(
    model: Transformer,
    ids: Tensor,
    attendable: Tensor,
    uncond_ids: Tensor,
    uncond_attendable: Tensor,
    *,
    vocab: Vocab,
    num_tokens: int,
    steps: int,
    guidance: float,
    temperature: float,
    generator: torch.Generator,
) -> Tensor:
    """MaskGIT's sampler with guidance: conditional and unconditional rows in one batch."""
    x, image = ids.clone(), slice(ids.shape[1] - num_tokens - 1, ids.shape[1] - 1)
    both_attendable = torch.cat([attendable, uncond_attendable])
    sampled = x[:, image]
    for step in range(steps):
        blank = torch.cat([uncond_ids[:, : image.start], x[:, image.start :]], 1)
        seen, unseen = model(torch.cat([x, blank]), both_attendable).chunk(2)
        logits = ((1 + guidance) * seen - guidance * unseen)[:, image, vocab.image_range]
        known = torch.where(x[:, image] == vocab.mask, -1, x[:, image] - vocab.image_range.start)
        probs = logits.float().softmax(-1)
        drawn = torch.multinomial(probs.flatten(0, 1), 1, generator=generator).view(known.shape)
        sampled = torch.where(known < 0, drawn, known)
        confidence = probs.gather(-1, sampled[..., None])[..., 0]
        confidence = confidence.masked_fill(known >= 0, torch.finfo(confidence.dtype).max)
        progress = (step + 1) / steps
        count = math.floor(num_tokens * torch.tensor(progress * math.pi * 0.5).cos())
        count = torch.minimum((known < 0).sum(1) - 1, torch.tensor(count, device=x.device)).clamp(min=1)
        temperature = temperature * (1.0 - progress)
        uniform = torch.zeros_like(confidence).uniform_(0, 1, generator=generator)
        gumbel = -(-uniform.clamp(min=1e-20).log()).clamp(min=1e-20).log()
        noisy = confidence.clamp(min=1e-20).log() + temperature * gumbel
        cut = noisy.sort(dim=-1).values.gather(1, count[:, None])
        x[:, image] = torch.where(noisy < cut, vocab.mask, sampled + vocab.image_range.start)
    return sampled


def picture_prompt(vocab: Vocab, text: int, tokens: int, words: int) -> tuple[Tensor, Tensor]:
    """Ids of a prompt of `words` ids, padded on the left to `text` + 1, before a masked picture; and attendable."""
    prompt = [vocab.t2i, vocab.bos, *range(20, 20 + words), vocab.eos]
    pads = text + 1 - len(prompt)
    ids = [vocab.ipad] * pads + prompt + [vocab.soi, *[vocab.mask] * tokens, vocab.eoi]
    return torch.tensor([ids]), torch.arange(len(ids))[None] >= pads
