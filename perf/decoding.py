"""Decoding beside the reference's samplers, written plainly: text on a taught model, pictures at two shapes.

All seconds are processor time of one thread: on a machine with neighbours they hold where wall clocks do not.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mmada.answers import answers_match, extract_answer
from mmada.evaluation.metrics import Share, share
from mmada.model.image_sampling import ImageSampling, fill_image
from mmada.model.text_sampling import TextSampling, fill_text
from mmada.model.transformer import Transformer, TransformerConfig
from mmada.model.weights import new_model
from mmada.vocab import Vocab
from perf.reference_samplers import picture_prompt, plain_image, plain_text
from perf.taught_model import WINDOW, Taught, demo_model, opened_windows, problems, teach

BLOCK = 32
THRESHOLD = 0.9
"""As published for LLaDA (arXiv:2505.22618)."""
TIMED_ROWS = 2
ASKED = 240
"""Held-out problems whose answers are graded."""
ASKED_AT_ONCE = 40
PICTURE_STEPS = 6
GUIDANCE = 3.5


def bench_text_decoding() -> dict[str, Any]:
    """Tokens per second of 256 new tokens. The reference computes float64 scores of all ids at all tokens in each of
    256 steps; ours are exact (equal tokens), exact but for rows that end (equal up to eos), and short cuts (dual
    cache and threshold). The last are graded beside exact decoding on the same held-out problems, and so is the
    demo's model as it was trained, in its own window of 24 tokens.
    """
    taught = teach()
    asked = problems(ASKED, held_out=True, seed=1)
    ids, attendable, start = opened_windows(asked, taught)
    exact = TextSampling(WINDOW, WINDOW, BLOCK, revisit_masks=True)
    stopping = replace(exact, stop_id=taught.vocab.eos, row_stops=True)
    fast = replace(exact, ids=taught.vocab.text_range, cache="dual", threshold=THRESHOLD)
    fastest = replace(fast, stop_id=taught.vocab.eos, row_stops=True)
    few = slice(0, TIMED_ROWS)

    def ours(sampling: TextSampling) -> Tensor:
        return fill_text(taught.model, ids[few], start, sampling, vocab=taught.vocab, attendable=attendable[few])

    def plain() -> Tensor:
        return plain_text(
            taught.model, ids[few], start, taught.vocab.mask, new=WINDOW, steps=WINDOW, block=BLOCK,
            attendable=attendable[few],
        )  # fmt: skip

    ours(fast)  # warm up
    reference_s, expected = _timed(plain)
    found: dict[str, Any] = {
        "model": taught.origin,
        "rows": TIMED_ROWS,
        "new_tokens": WINDOW,
        "block": BLOCK,
        "reference_tokens_per_s": TIMED_ROWS * WINDOW / reference_s,
    }
    ways = {"exact": exact, "exact_rows_stop": stopping, "short_cuts": fast, "short_cuts_rows_stop": fastest}
    for name, sampling in ways.items():
        seconds, filled = _timed(lambda sampling=sampling: ours(sampling))
        found[f"{name}_tokens_per_s"] = TIMED_ROWS * WINDOW / seconds
        found[f"{name}_ratio"] = reference_s / seconds
        if name == "exact":
            found["exact_tokens_are_equal"] = torch.equal(filled, expected)
    found["accuracy"] = _accuracies(taught, replace(stopping, ids=taught.vocab.text_range), fastest)
    demo = demo_model()
    if demo is not None:  # as it was trained: what the short cuts cost a model that knows its window
        own = replace(stopping, ids=demo.vocab.text_range, new_tokens=24, steps=24, block=8)
        found["accuracy_demo_window_24"] = _accuracies(demo, own, replace(own, cache="dual", threshold=THRESHOLD))
    return found


def _accuracies(taught: Taught, exact: TextSampling, short_cuts: TextSampling) -> dict[str, Any]:
    """Shares of held-out problems answered rightly, with 95 % intervals."""
    shares = {"exact": _accuracy(taught, exact), "short_cuts": _accuracy(taught, short_cuts)}
    within = shares["exact"].low <= shares["short_cuts"].value <= shares["exact"].high
    return {"within_interval": within, **{name: one.to_json() for name, one in shares.items()}}


def _accuracy(taught: Taught, sampling: TextSampling) -> Share:
    correct = 0
    asked = problems(ASKED, held_out=True, seed=1)
    for first in range(0, ASKED, ASKED_AT_ONCE):
        group = asked[first : first + ASKED_AT_ONCE]
        ids, attendable, start = opened_windows(group, taught, sampling.new_tokens)
        filled = fill_text(taught.model, ids, start, sampling, vocab=taught.vocab, attendable=attendable)
        for one, row in zip(group, filled[:, start:].tolist(), strict=True):
            said = taught.tokenizer.decode(row[: row.index(taught.vocab.eos)] if taught.vocab.eos in row else row)
            correct += answers_match(extract_answer(said) or "", one.answer)
    return share(correct, ASKED)


@dataclass(frozen=True)
class _PictureShape:
    """`text`, `tokens`: places of the prompt and of the picture; `prompt`: words of the prompt that are no pads."""

    config: TransformerConfig
    vocab: Vocab
    text: int
    tokens: int
    prompt: int


def bench_picture_decoding() -> dict[str, Any]:
    """Seconds of a picture with guidance, random weights, equal codes. Two shapes: the published lengths (512 words,
    1,024 codes, a prompt of 40) with the published model's share of work in the output matrix (7 %); and a narrow
    model under the published vocabulary, where the output matrix is most of the reference's work.
    """
    proportions = _vocab(num_text=1074, num_codes=1024)
    shapes = {
        "published_proportions": _PictureShape(
            TransformerConfig(512, 4, 4, 1536, proportions.size, 2048), proportions, 512, 1024, 40
        ),
        "published_vocabulary": _PictureShape(
            TransformerConfig(256, 4, 4, 768, Vocab.published().size, 1024), Vocab.published(), 128, 256, 40
        ),
    }
    return {name: _picture_ratio(shape) for name, shape in shapes.items()}


def _picture_ratio(shape: _PictureShape) -> dict[str, Any]:
    model, vocab = new_model(shape.config, seed=0).eval(), shape.vocab
    ids, attendable = picture_prompt(vocab, shape.text, shape.tokens, shape.prompt)
    uncond_ids, uncond_attendable = picture_prompt(vocab, shape.text, shape.tokens, 0)
    before = slice(0, ids.shape[1] - shape.tokens - 1)

    def ours() -> Tensor:
        return fill_image(
            model, ids, shape.tokens, ImageSampling(PICTURE_STEPS, 1.0, GUIDANCE), vocab=vocab,
            generator=torch.Generator().manual_seed(0), attendable=attendable,
            unconditional=(uncond_ids[:, before], uncond_attendable[:, before]),
        )  # fmt: skip

    reference_s, expected = _timed(lambda: _plain_picture(model, shape, ids, attendable, uncond_ids, uncond_attendable))
    seconds, codes = _timed(ours)
    return {
        "steps": PICTURE_STEPS,
        "reference_s": reference_s,
        "ours_s": seconds,
        "ratio": reference_s / seconds,
        "codes_are_equal": torch.equal(codes, expected),
    }


def _plain_picture(model: Transformer, shape: _PictureShape, *prompts: Tensor) -> Tensor:
    return plain_image(
        model, *prompts, vocab=shape.vocab, num_tokens=shape.tokens, steps=PICTURE_STEPS, guidance=GUIDANCE,
        temperature=1.0, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def _vocab(num_text: int, num_codes: int) -> Vocab:
    names = ("bos", "eos", "mask", "ipad", "t2i", "mmu", "r2i", "soi", "eoi", "start_header", "end_header", "eot")
    special = {name: number for number, name in enumerate(names)}
    return Vocab(num_text=num_text, num_codes=num_codes, size=num_text + num_codes, **special)


def _timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.process_time()
    value = work()
    seconds = time.process_time() - started
    torch.set_num_threads(threads)
    return seconds, value
