"""The two samplers as the reference has them: same inputs, same random numbers, same tokens.

`fill_text` and `fill_image` do the work and have more options. Shapes: B sequences, L tokens, P prompt tokens,
N image tokens.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mmada.errors import CheckpointError, ContractError
from mmada.model.image_sampling import ImageSampling, fill_image
from mmada.model.text_sampling import TextSampling, fill_text
from mmada.model.transformer import Transformer
from mmada.vocab import Vocab, check_range


def sample_text(
    model: Transformer,
    prompt_ids: Int[Tensor, "B P"],
    *,
    vocab: Vocab,
    max_new_tokens: int,
    steps: int,
    block_length: int,
    temperature: float = 0.0,
    guidance: float = 0.0,
) -> Int[Tensor, "B new"]:
    """Prompts with `max_new_tokens` tokens sampled after each: [B, P + max_new_tokens].

    Draws from torch's global generator where temperature > 0. Raises ParamsError when tokens, steps and blocks do
    not split evenly, ContractError for ids outside the vocabulary, CheckpointError for what exceeds the model.
    """
    sampling = TextSampling(max_new_tokens, steps, block_length, temperature, guidance, revisit_masks=True)
    window = prompt_ids.new_full((len(prompt_ids), max_new_tokens), vocab.mask)
    ids = torch.cat([prompt_ids, window], 1)
    _check(model, ids, vocab)
    return fill_text(model, ids, prompt_ids.shape[1], sampling, vocab=vocab)


def sample_image(
    model: Transformer,
    ids: Int[Tensor, "B L"],
    attendable: Bool[Tensor, "B L"] | None,
    uncond_ids: Int[Tensor, "B L"] | None,
    uncond_attendable: Bool[Tensor, "B L"] | None,
    *,
    vocab: Vocab,
    steps: int,
    guidance: float,
    temperature: float,
    generator: torch.Generator,
) -> Int[Tensor, "B N"]:
    """Codes of the pictures whose N places, masked, stand in `ids` before the last token (eoi).

    `uncond_ids`: the same rows without a condition, for guidance; only what stands before their pictures is read.
    Raises ContractError when `ids` hold no picture, the unconditional rows are missing or of another shape, or
    an id lies outside the vocabulary; CheckpointError for what exceeds the model.
    """
    _check(model, ids, vocab)
    num_tokens = _num_image_tokens(ids, vocab)
    unconditional = None
    if guidance > 0:
        if uncond_ids is None or uncond_ids.shape != ids.shape:
            found = None if uncond_ids is None else tuple(uncond_ids.shape)
            raise ContractError(
                f"guidance {guidance}: unconditional ids of shape {tuple(ids.shape)} expected, {found} found"
            )
        _check(model, uncond_ids, vocab)
        before = slice(0, ids.shape[1] - num_tokens - 1)
        seen = torch.ones_like(uncond_ids) if uncond_attendable is None else uncond_attendable
        unconditional = uncond_ids[:, before], seen[:, before].bool()
    return fill_image(
        model,
        ids,
        num_tokens,
        ImageSampling(steps, temperature, guidance),
        vocab=vocab,
        generator=generator,
        attendable=None if attendable is None else attendable.bool(),
        unconditional=unconditional,
    )


def _num_image_tokens(ids: Int[Tensor, "B L"], vocab: Vocab) -> int:
    """Length of the run of masked or known image tokens before the last token."""
    image = vocab.image_range
    is_picture = (ids == vocab.mask) | ((ids >= image.start) & (ids < image.stop))
    runs = sorted(set(is_picture[:, :-1].flip(1).int().cumprod(1).sum(1).tolist()))
    if len(runs) != 1 or runs[0] == 0 or bool(is_picture[:, -1].any()):
        raise ContractError(
            f"rows that end in the same number of image tokens and eoi expected, runs of {runs} image tokens before "
            f"last ids {sorted(set(ids[:, -1].tolist()))} found"
        )
    return int(runs[0])


def _check(model: Transformer, ids: Int[Tensor, "B L"], vocab: Vocab) -> None:
    config = model.config
    if vocab.size != config.embedding_size:
        raise CheckpointError(f"model has {config.embedding_size} embedding rows, its vocabulary {vocab.size}")
    if ids.shape[1] > config.max_sequence_length:
        raise CheckpointError(
            f"sequence of {ids.shape[1]} tokens, but the model takes {config.max_sequence_length}; shorten the prompt "
            "or sample fewer tokens"
        )
    check_range(ids, 0, vocab.size, "id")
