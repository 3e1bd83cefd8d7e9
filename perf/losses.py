"""Loss and backward pass of one long row over the published vocabulary, beside logits of every position."""

import json
import subprocess
import sys
import time
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from mmada.model.losses import token_log_probs
from mmada.model.transformer import Transformer, TransformerConfig
from mmada.model.weights import new_model
from mmada.vocab import Vocab
from perf.memory import peak_bytes

LENGTH: Final = 1539
ROUNDS: Final = 3
_SIZES: Final = {"d_model": 64, "n_layers": 1, "n_heads": 2, "mlp_hidden_size": 128, "max_sequence_length": LENGTH}


def bench_losses() -> dict[str, float]:
    """Peak memory of the whole process and seconds of both, each in a process of its own, and how far their gradients
    are apart. Half of the row is masked text: the expectation of the published noise.
    """
    full, ours = _measured("full"), _measured("ours")
    pairs = zip(_gradients("full"), _gradients("ours"), strict=True)
    return {
        "full_peak_mb": full["peak_mb"],
        "ours_peak_mb": ours["peak_mb"],
        "memory_ratio": ours["peak_mb"] / full["peak_mb"],
        "full_s": full["seconds"],
        "ours_s": ours["seconds"],
        "time_ratio": ours["seconds"] / full["seconds"],
        "largest_difference_of_gradients": max(float((a - b).abs().max()) for a, b in pairs),
    }


def _measured(which: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", __name__, which], check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _case() -> tuple[Transformer, Tensor, Tensor]:
    vocab = Vocab.published()
    model = new_model(TransformerConfig(**_SIZES, embedding_size=vocab.size), seed=0)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, vocab.num_text, (1, LENGTH), generator=generator)
    return model, ids, torch.rand(1, LENGTH, generator=generator) < 0.5


def _backward(which: str, model: Transformer, ids: Tensor, is_target: Tensor) -> None:
    vocab = Vocab.published()
    x_t = ids.masked_fill(is_target, vocab.mask)
    if which == "full":
        cross_entropy = functional.cross_entropy(model(x_t)[0], ids[0], reduction="none")
        loss = (cross_entropy * is_target[0]).sum() / is_target.sum()
    else:
        log_probs = token_log_probs(model, model.hidden_states(x_t), ids, is_target, vocab, vocabulary="full")
        loss = -log_probs.sum() / is_target.sum()
    torch.autograd.backward(loss)


def _gradients(which: str) -> list[Tensor]:
    model, ids, is_target = _case()
    _backward(which, model, ids, is_target)
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def _run(which: str) -> dict[str, float]:
    model, ids, is_target = _case()
    seconds = []
    for _ in range(ROUNDS):
        model.zero_grad()
        started = time.perf_counter()
        _backward(which, model, ids, is_target)
        seconds.append(time.perf_counter() - started)
    return {"peak_mb": peak_bytes() / 2**20, "seconds": min(seconds)}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_run(sys.argv[1])))
