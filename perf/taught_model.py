"""A small model that answers the demo's word problems in a window of 256 tokens, taught in a minute or two.

The demo's own models answer in windows of 24 tokens and lose their way in longer ones. Where the project has been
run, its last model is taken further; a clean clone begins with random weights, and its answers are worth as much.
"""

import os
import random
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import trange

from mmada.demo_problems import Problem, random_problem
from mmada.model.losses import token_log_probs
from mmada.model.sequences import left_pad, prompt_ids
from mmada.model.transformer import Transformer
from mmada.model.weights import load_model, load_vocab, new_model, parse_config
from mmada.text_tokenizer import TextTokenizer, load_tokenizer, make_vocab, train_tokenizer
from mmada.vocab import Vocab

MODEL_VARIABLE = "MMADA_PERF_MODEL"
DEMO_MODEL = Path(__file__).resolve().parent.parent / "data" / "models" / "stage3"
WINDOW = 256
MAX_LENGTH = 512
_STEPS = 200
_ROWS = 16
_LEARNING_RATE = 5e-4
_TAIL_WEIGHT = 0.02
"""Of an eos that fills the window, beside a token of the answer: there are ten times as many of them."""


@dataclass(frozen=True)
class Taught:
    """A model, all that it needs to speak, and where it comes from."""

    model: Transformer
    tokenizer: TextTokenizer
    vocab: Vocab
    origin: str


def problems(number: int, *, held_out: bool, seed: int) -> list[Problem]:
    """Different problems of the demo's kind; no held-out one, nor the beginning of one, is ever taught."""
    rng, found = random.Random(f"perf {held_out} {seed}"), {}
    while len(found) < number:
        content, problem = random_problem(rng, held_out=held_out)
        found.setdefault(content, problem)
    return list(found.values())


def opened_windows(asked: list[Problem], taught: Taught, window: int = WINDOW) -> tuple[Tensor, Tensor, int]:
    """Ids with `window` masked tokens after each question, attendable, and where the window begins."""
    vocab = taught.vocab
    prompts, seen = left_pad([_prompt(one, taught.tokenizer, vocab) for one in asked], vocab)
    masks = torch.full((len(asked), window), vocab.mask)
    return torch.cat([prompts, masks], 1), torch.cat([seen, torch.ones_like(masks).bool()], 1), prompts.shape[1]


def demo_model() -> Taught | None:
    """The project's last model (or that of the folder in MMADA_PERF_MODEL) as it is; None where there is none."""
    folder = Path(os.environ.get(MODEL_VARIABLE, DEMO_MODEL))
    if not folder.is_dir():
        return None
    model = load_model(folder).eval().requires_grad_(False)
    return Taught(model, load_tokenizer(folder), load_vocab(folder), "the demo's last model")


def teach() -> Taught:
    """The demo's model, or random weights, after a few hundred steps in the longer window."""
    asked = problems(4000, held_out=False, seed=0)
    demo = demo_model()
    taught = _fresh(asked) if demo is None else _longer(demo)
    optimiser = torch.optim.AdamW(taught.model.parameters(), weight_decay=0.0)
    generator, rng = torch.Generator().manual_seed(0), random.Random(0)
    for step in trange(_STEPS, desc="teaching", unit="step", mininterval=5.0):
        for group in optimiser.param_groups:
            group["lr"] = _LEARNING_RATE * min(1.0, (step + 1) / 20) * (1 - 0.95 * step / _STEPS)
        _loss(taught, rng.sample(asked, _ROWS), generator).backward()
        torch.nn.utils.clip_grad_norm_(taught.model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    taught.model.eval().requires_grad_(False)
    return taught


def _loss(taught: Taught, asked: list[Problem], generator: torch.Generator) -> Tensor:
    """1/p-weighted denoising of the answers; behind them the window is masked in half of the rows, as when its
    blocks have not begun, and at the row's rate in the others.
    """
    vocab = taught.vocab
    masked, attendable, start = opened_windows(asked, taught)
    x0, is_answer = masked.clone(), torch.zeros_like(masked, dtype=torch.bool)
    x0[:, start:] = vocab.eos
    for row, one in enumerate(asked):
        answer = torch.tensor([*taught.tokenizer.encode(one.response), vocab.eos])
        x0[row, start : start + len(answer)] = answer
        is_answer[row, start : start + len(answer)] = True
    p_mask = torch.rand(len(asked), 1, generator=generator).clamp(min=0.15)
    is_masked = (torch.rand(x0.shape, generator=generator) < p_mask) & (masked == vocab.mask)
    is_masked[::2] |= (masked == vocab.mask)[::2] & ~is_answer[::2]
    hidden = taught.model.hidden_states(x0.masked_fill(is_masked, vocab.mask), attendable)
    log_probs = token_log_probs(taught.model, hidden, x0, is_masked, vocab, vocabulary="modality")
    weight = torch.where(is_answer, 1.0, _TAIL_WEIGHT) / p_mask
    return -(log_probs * weight).sum() / is_answer.sum()


def _prompt(one: Problem, tokenizer: TextTokenizer, vocab: Vocab) -> list[int]:
    return prompt_ids("chat", one.question, None, tokenizer, vocab)


def _longer(demo: Taught) -> Taught:
    """A model that can be taught, in sequences of up to `MAX_LENGTH`; rotary positions need no new weights."""
    with torch.device("meta"):
        model = Transformer(replace(demo.model.config, max_sequence_length=MAX_LENGTH))
    model.load_state_dict(demo.model.state_dict(), assign=True)
    return replace(demo, model=model.requires_grad_(True), origin=f"{demo.origin}, taught {_STEPS} steps further")


def _fresh(asked: list[Problem]) -> Taught:
    texts = [f"{one.question}\n{one.response}\nuser assistant" for one in asked]
    with tempfile.TemporaryDirectory() as name:
        train_tokenizer(texts, Path(name), vocab_size=700)
        tokenizer = load_tokenizer(Path(name))
    vocab = make_vocab(tokenizer, num_codes=8192)
    sizes = {"d_model": 96, "n_layers": 4, "n_heads": 3, "mlp_hidden_size": 256, "rope_theta": 100.0}
    config = parse_config({**sizes, "max_sequence_length": MAX_LENGTH, "embedding_size": vocab.size}, "benchmark")
    return Taught(new_model(config, seed=0), tokenizer, vocab, f"random weights, taught {_STEPS} steps")
