"""Decoding on a GPU beside the reference's way: text with each kind of cache, and pictures with guidance."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmada.model.image_sampling import ImageSampling, fill_image
from mmada.model.kv_cache import CacheName
from mmada.model.text_sampling import TextSampling, fill_text
from mmada.model.transformer import Transformer
from perf.gpu_shapes import Shapes
from perf.measuring import Clock, reported
from perf.reference_samplers import picture_prompt, plain_image, plain_text

REFERENCE_KERNELS = (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION)
"""The reference turns the memory-efficient kernel off; flash attention takes no mask."""


CACHES: tuple[CacheName, ...] = ("dual", "prefix", "none")
"""The fastest first, in case time runs out."""


def text_part(shapes: Shapes, model: Transformer, clock: Clock, is_late: Callable[[], bool]) -> dict[str, Any]:
    """Text at a fixed quota: one token per step and row (as published) and four.

    Random weights say nothing about confidence, so confidence-parallel decoding is not timed; its speed is that
    of the quota that it reaches.
    """
    found: dict[str, Any] = {"prompt": shapes.prompt, "new_tokens": shapes.new_tokens, "block": shapes.block}
    new, block = shapes.new_tokens, shapes.block
    few = new // block * 2  # steps enough to time the plain sampler, whose steps all cost the same
    for rows in shapes.text_batches:
        prompt = torch.randint(0, 300, (rows, shapes.prompt), device=clock.device)
        ids = torch.cat([prompt, torch.full((rows, new), shapes.vocab.mask, device=clock.device)], 1)
        own: dict[str, Any] = {}
        found[f"rows_{rows}"] = own
        with reported(own, "plain"):
            plain_text(model, ids, shapes.prompt, shapes.vocab.mask, new=block, steps=1, block=block)  # warm up
            seconds, peak_gb, _ = clock(
                lambda ids=ids: plain_text(
                    model, ids, shapes.prompt, shapes.vocab.mask, new=new, steps=few, block=block
                )
            )
            per_step = seconds / few
            own["plain"] = {"step_s": per_step, "tokens_per_s_at_1": rows / per_step, "peak_gb": peak_gb}
        for cache in CACHES:
            with reported(own, cache):
                if is_late():
                    raise TimeoutError("out of time")
                own[cache] = cached_text(shapes, model, clock, ids, cache)
        if "plain" in own and "step_s" in own["plain"]:
            for cache in CACHES:
                if "tokens_per_s_at_1" in own[cache]:
                    own[cache]["ratio_at_1"] = own[cache]["tokens_per_s_at_1"] / own["plain"]["tokens_per_s_at_1"]
                    own[cache]["ratio_at_4"] = own[cache]["tokens_per_s_at_4"] / own["plain"]["tokens_per_s_at_1"]
    return found


def cached_text(shapes: Shapes, model: Transformer, clock: Clock, ids: Tensor, cache: CacheName) -> dict[str, Any]:
    """Our sampler with one kind of cache."""
    own: dict[str, Any] = {}
    for quota in (1, 4):
        steps = shapes.new_tokens // quota
        sampling = TextSampling(shapes.new_tokens, steps, shapes.block, ids=shapes.vocab.text_range, cache=cache)

        def work(sampling: TextSampling = sampling) -> None:
            fill_text(model, ids, shapes.prompt, sampling, vocab=shapes.vocab)

        if not own:
            warm = TextSampling(shapes.block, 2, shapes.block, ids=shapes.vocab.text_range, cache=cache)
            fill_text(model, ids, shapes.prompt, warm, vocab=shapes.vocab)
        seconds, own["peak_gb"], _ = clock(work)
        own[f"step_s_at_{quota}"] = seconds / steps
        own[f"tokens_per_s_at_{quota}"] = len(ids) * shapes.new_tokens / seconds
    return own


def picture_part(shapes: Shapes, model: Transformer, clock: Clock, is_late: Callable[[], bool]) -> dict[str, Any]:
    """One picture with guidance 3.5: the reference's way with its kernels, the same with any kernel, and ours."""
    ids, attendable, uncond_ids, uncond_attendable = picture_prompts(shapes, clock.device)
    places = shapes.picture_tokens
    before = slice(0, ids.shape[1] - places - 1)
    found: dict[str, Any] = {"tokens": places, "length": ids.shape[1], "prompt": shapes.picture_prompt, "guidance": 3.5}

    def plain(steps: int, kernels: Any) -> Tensor:
        with kernels:
            return plain_image(
                model, ids, attendable, uncond_ids, uncond_attendable, vocab=shapes.vocab, num_tokens=places,
                steps=steps, guidance=3.5, temperature=1.0, generator=torch.Generator(clock.device).manual_seed(0),
            )  # fmt: skip

    def ours(steps: int) -> Tensor:
        return fill_image(
            model, ids, places, ImageSampling(steps, 1.0, 3.5), vocab=shapes.vocab, attendable=attendable,
            generator=torch.Generator(clock.device).manual_seed(0),
            unconditional=(uncond_ids[:, before], uncond_attendable[:, before]),
        )  # fmt: skip

    ways: dict[str, Callable[[int], Tensor]] = {
        "plain": lambda steps: plain(steps, sdpa_kernel(list(REFERENCE_KERNELS))),
        "plain_any_kernel": lambda steps: plain(steps, nullcontext()),
        "ours": ours,
    }
    for steps in shapes.picture_steps:
        own: dict[str, Any] = {}
        found[f"steps_{steps}"] = own
        drawn: dict[str, Tensor] = {}
        for name, way in ways.items():
            with reported(own, name):
                if is_late():
                    raise TimeoutError("out of time")
                way(1)
                seconds, peak_gb, drawn[name] = clock(partial(way, steps))
                own[name] = {"picture_s": seconds, "tokens_per_s": places / seconds, "peak_gb": peak_gb}
        for name in ("plain", "plain_any_kernel"):
            if name in drawn and "ours" in drawn:
                own[f"ratio_{name}"] = own[name]["picture_s"] / own["ours"]["picture_s"]
                own[f"equal_codes_{name}"] = float((drawn[name] == drawn["ours"]).float().mean())
    return found


def picture_prompts(shapes: Shapes, device: torch.device) -> list[Tensor]:
    """A prompt and the empty one before a masked picture: ids and attendable of both."""
    pairs = (
        picture_prompt(shapes.vocab, shapes.picture_text, shapes.picture_tokens, words)
        for words in (shapes.picture_prompt, 0)
    )
    return [tensor.to(device) for pair in pairs for tensor in pair]
