"""Small models, vocabularies and samples that tests of the model and of training share."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from mmada.contracts.sample import Sample, Task
from mmada.model.transformer import Transformer
from mmada.model.weights import new_model, parse_config
from mmada.text_tokenizer import TextTokenizer, load_tokenizer, make_vocab, train_tokenizer
from mmada.vocab import Vocab

PARITY = Path(__file__).parent / "fixtures" / "parity" / "lm_small"

TEXTS = [
    "a red circle left of a blue square",
    "how many shapes are there? <think>I see 3 + 4 = 7.</think>7",
    "one two three four five six seven\nuser assistant",
]


@cache
def parity() -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors of the reference's small model."""
    return json.loads(PARITY.with_suffix(".json").read_text()), load_file(PARITY.with_suffix(".safetensors"))


def parity_weight(key: str, shape: list[int], seed: int) -> Tensor:
    """A weight computed from its name, by the rule of the fixtures."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    x = np.random.default_rng(int.from_bytes(digest[:8], "little")).standard_normal(shape)
    x = 1 + 0.05 * x if "norm" in key else x / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(x.astype(np.float32))


@cache
def parity_model() -> Transformer:
    """The reference's small model, rebuilt."""
    spec, _ = parity()
    with torch.random.fork_rng():  # or the first test to ask for it would go on with other random numbers
        model = Transformer(parse_config(spec["config"], "fixture"))
    seed = spec["weights"]["seed"]
    model.load_state_dict({key: parity_weight(key, shape, seed) for key, shape in spec["keys"].items()})
    return model.eval()


def parity_vocab() -> Vocab:
    """Its id layout; ids that the fixtures do not name are free ones of the text range."""
    special = parity()[0]["special"]
    names = ("bos", "eos", "mask", "ipad", "t2i", "mmu", "soi", "eoi", "num_text")
    return Vocab(
        **{name: special[name] for name in names},
        num_codes=64, size=480, r2i=394, start_header=396, end_header=397, eot=398,
    )  # fmt: skip


@cache
def _tokenizer(folder: str) -> TextTokenizer:
    train_tokenizer(TEXTS * 20, Path(folder), vocab_size=320)
    return load_tokenizer(Path(folder))


def tiny_tokenizer(tmp_path_factory: Any) -> TextTokenizer:
    """A BPE fitted on a few sentences."""
    return _tokenizer(str(tmp_path_factory.getbasetemp() / "tokenizer"))


def tiny_vocab(tokenizer: TextTokenizer) -> Vocab:
    """Layout of the tiny tokenizer with 32 image codes."""
    return make_vocab(tokenizer, num_codes=32)


def tiny_model(vocab: Vocab, *, seed: int = 0, d_model: int = 32, n_layers: int = 2) -> Transformer:
    """A random model of a few thousand weights."""
    spec = {"d_model": d_model, "n_layers": n_layers, "n_heads": 2, "mlp_hidden_size": 2 * d_model}
    spec |= {"max_sequence_length": 256, "embedding_size": vocab.size}
    return new_model(parse_config(spec, "tiny"), seed=seed)


def sample(
    key: str, task: Task, prompt: str = "", response: str = "", codes: int | None = None, reference: str = ""
) -> Sample:
    """A sample; `codes` seeds a 2x2 picture."""
    picture = None
    if codes is not None:
        picture = np.random.default_rng(codes).integers(0, 32, (2, 2)).astype(np.uint16)
    return Sample(key, task, prompt, response, reference, "corpus", "source", "CC0-1.0", key, picture)


def mixed_samples() -> list[Sample]:
    """Two samples of each task, of different lengths."""
    return [
        sample("a", "t2i", "a red circle", codes=1),
        sample("b", "t2i", "a blue square left of a red circle", codes=2),
        sample("c", "lm", response="one two three four"),
        sample("d", "lm", response="six seven"),
        sample("e", "chat", "3 + 4", "7"),
        sample("f", "chat", "how many shapes?", "<think>3 + 4 = 7</think>7"),
        sample("g", "mmu", "how many shapes?", "3", codes=3),
        sample("h", "mmu", "which is left of it?", "red", codes=4),
        sample("i", "r2i", "a red circle", "<think>a circle</think>", codes=5),
        sample("j", "r2i", "a blue square", "<think>one blue square left</think>", codes=6),
    ]
