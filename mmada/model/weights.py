"""Model folders: the published layout in and out, and the text model that becomes a multimodal one.

A folder is `config.json` + `model.safetensors` (or shards and `model.safetensors.index.json`) + `vocab.json`, with a
model card.
Published folders have no `vocab.json`; their layout follows from the number of embedding rows.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from mmada.errors import CheckpointError, MmadaError
from mmada.model.model_card import CARD, model_card
from mmada.model.transformer import Transformer, TransformerConfig, initialise
from mmada.tensor_files import check_shapes, read_shapes, read_tensors
from mmada.vocab import Vocab

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
CONFIG: Final = "config.json"
VOCAB: Final = "vocab.json"

EMBEDDING: Final = "model.transformer.wte.weight"
OUTPUT: Final = "model.transformer.ff_out.weight"

_FIXED: Final[Mapping[str, object]] = {
    "model_type": "mmada", "architectures": ["MMadaModelLM"], "block_type": "llama",
    "activation_type": "silu", "layer_norm_type": "rms", "layer_norm_with_affine": True, "rope": True,
    "rope_full_precision": True, "include_bias": False, "include_qkv_bias": False,
    "bias_for_layer_norm": False, "weight_tying": False, "tie_word_embeddings": False,
    "scale_logits": False, "input_emb_norm": False, "alibi": False, "use_cache": False,
    "flash_attention": False, "attention_dropout": 0.0, "residual_dropout": 0.0, "embedding_dropout": 0.0,
    "init_fn": "mitchell", "init_device": "meta", "precision": "amp_bf16",
}  # fmt: skip
"""Entries of config.json that describe the one block type there is."""

_REQUIRED: Final = (
    "block_type",
    "activation_type",
    "layer_norm_type",
    "rope",
    "include_bias",
    "weight_tying",
)
"""Entries that must hold these values wherever they appear, or the numbers would be silently wrong."""


def new_model(config: TransformerConfig, *, seed: int) -> Transformer:
    """A model with random weights, a function of (config, seed)."""
    with torch.device("meta"):
        model = Transformer(config)
    model.to_empty(device="cpu")
    initialise(model, torch.Generator().manual_seed(seed))
    return model


def save_model(model: Transformer, vocab: Vocab, folder: Path, *, max_shard_bytes: int = 5 * 10**9) -> None:
    """Write a model folder; equal weights give equal bytes. Large weights are split as the published ones."""
    save_state(dict(model.state_dict()), model.config, vocab, folder, max_shard_bytes=max_shard_bytes)


def save_state(
    state: Mapping[str, Tensor],
    config: TransformerConfig,
    vocab: Vocab,
    folder: Path,
    *,
    max_shard_bytes: int,
) -> None:
    """`save_model` for a state dict that was gathered elsewhere."""
    if config.embedding_size != vocab.size:
        raise CheckpointError(f"model has {config.embedding_size} embedding rows, its vocabulary {vocab.size}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config_json(config, vocab), indent=2, sort_keys=True) + "\n")
    (folder / VOCAB).write_text(vocab.to_json())
    card = model_card(config, vocab, sum(tensor.numel() for tensor in state.values()))
    (folder / CARD).write_text(card, encoding="utf-8")
    shards = _split(state, max_shard_bytes)
    if len(shards) == 1:
        save_file(shards[0], folder / WEIGHTS, metadata={"format": "pt"})
        return
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, folder / name, metadata={"format": "pt"})
    where = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    total = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def load_model(
    folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Transformer:
    """Model of a folder in eval mode, every key and shape checked.

    Raises CheckpointError that names the first missing, unknown or misshapen tensors, or the config entry
    that describes another kind of network.
    """
    folder = Path(folder)
    config = load_config(folder)
    state = load_state(folder)
    with torch.device("meta"):
        model = Transformer(config)
    _check_state(model, {key: tensor.shape for key, tensor in state.items()}, folder)
    model.load_state_dict({key: tensor.to(device, dtype) for key, tensor in state.items()}, assign=True)
    return model.eval()


def check_model(folder: Path) -> None:
    """Raises what `load_model` and `load_vocab` would, as far as it can be told without reading the weights."""
    with torch.device("meta"):
        model = Transformer(load_config(folder))
    shapes = {key: shape for name in _weight_files(folder) for key, shape in read_shapes(folder / name).items()}
    _check_state(model, shapes, folder)
    load_vocab(folder)


def _check_state(model: Transformer, given: Mapping[str, torch.Size], folder: Path) -> None:
    check_shapes({key: tensor.shape for key, tensor in model.state_dict().items()}, given, str(folder))


def load_config(folder: Path) -> TransformerConfig:
    """Sizes of a model folder, without its weights."""
    return parse_config(read_json(folder / CONFIG), str(folder / CONFIG))


def load_vocab(folder: str | Path) -> Vocab:
    """Vocabulary of a model folder: of its vocab.json, else of `special` in its config.json, else the published one.

    Raises CheckpointError when the folder does not say it, or does not fit it.
    """
    folder = Path(folder)
    raw = read_json(folder / CONFIG)
    config = parse_config(raw, str(folder / CONFIG))
    if (folder / VOCAB).is_file():
        vocab = Vocab.from_json((folder / VOCAB).read_text())
    else:
        try:
            vocab = Vocab.from_config(raw)
        except MmadaError as error:
            raise CheckpointError(f"{folder}: {error}") from error
    for name, found, expected in (
        ("embedding rows", config.embedding_size, vocab.size),
        ("mask_token_id", raw.get("mask_token_id", vocab.mask), vocab.mask),
    ):
        if found != expected:
            raise CheckpointError(f"{folder}: {CONFIG} says {name} {found}, its vocabulary {expected}")
    return vocab


def parse_config(raw: Mapping[str, Any], where: str) -> TransformerConfig:
    """Sizes from a published-style config.json. Raises CheckpointError when it describes another network."""
    for name in _REQUIRED:
        if name in raw and raw[name] != _FIXED[name]:
            raise CheckpointError(f"{where}: {name} is {raw[name]!r}, only {_FIXED[name]!r} is supported")
    if raw.get("n_kv_heads") not in (None, raw.get("n_heads")):
        raise CheckpointError(f"{where}: n_kv_heads {raw['n_kv_heads']} differs from n_heads: not supported")
    names = ("d_model", "n_layers", "n_heads", "mlp_hidden_size", "max_sequence_length")
    try:
        sizes = {name: int(raw[name]) for name in names}
        rows = int(raw.get("embedding_size") or raw["vocab_size"])
        rope_theta, rms_norm_eps = float(raw.get("rope_theta", 500000.0)), float(raw.get("rms_norm_eps", 1e-5))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: missing or unreadable size {error}; is this a LLaDA/MMaDA folder?") from error
    if absurd := [name for name, size in sizes.items() if size < 1]:
        raise CheckpointError(f"{where}: {absurd[0]} is {sizes[absurd[0]]}; sizes are positive")
    return TransformerConfig(
        **sizes,
        embedding_size=rows,
        rope_theta=rope_theta,
        rms_norm_eps=rms_norm_eps,
        attention=raw.get("attention_policy", "masked"),
    )


def config_json(config: TransformerConfig, vocab: Vocab) -> dict[str, object]:
    """config.json of a model, in the published vocabulary of keys plus `attention_policy`."""
    return {
        **_FIXED,
        "d_model": config.d_model, "n_layers": config.n_layers, "n_heads": config.n_heads,
        "n_kv_heads": config.n_heads, "mlp_hidden_size": config.mlp_hidden_size,
        "max_sequence_length": config.max_sequence_length, "rope_theta": config.rope_theta,
        "rms_norm_eps": config.rms_norm_eps, "vocab_size": vocab.size, "embedding_size": vocab.size,
        "new_vocab_size": vocab.size, "llm_vocab_size": vocab.num_text, "codebook_size": vocab.num_codes,
        "mask_token_id": vocab.mask, "eos_token_id": vocab.eos, "pad_token_id": vocab.eos,
        "attention_policy": config.attention,
    }  # fmt: skip


def load_state(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, from one file or from shards."""
    state: dict[str, Tensor] = {}
    for name in _weight_files(folder):
        tensors = read_tensors(folder / name)
        twice = sorted(tensors.keys() & state.keys())
        if twice:
            raise CheckpointError(f"{folder}: tensor {twice[0]} stands in two files")
        state |= tensors
    return state


def extend_vocabulary(
    state: Mapping[str, Tensor], config: TransformerConfig, vocab: Vocab, *, seed: int
) -> tuple[dict[str, Tensor], TransformerConfig]:
    """A text model's weights with embedding and output rows added up to `vocab.size`.

    New rows are normal with each column's mean and standard deviation over the old rows, a function of the
    seed (the reference leaves this to the version of its library). Raises CheckpointError when the text model
    has more rows than the vocabulary.
    """
    missing = vocab.size - config.embedding_size
    if missing < 0:
        raise CheckpointError(f"text model has {config.embedding_size} rows, the vocabulary only {vocab.size}")
    generator = torch.Generator().manual_seed(seed)
    grown = dict(state)
    for key in (EMBEDDING, OUTPUT):
        old = state[key].float()
        noise = torch.randn(missing, old.shape[1], generator=generator)
        rows = old.mean(0) + noise * old.std(0, correction=0)
        grown[key] = torch.cat([state[key], rows.to(state[key].dtype)])
    sizes = {**config.__dict__, "embedding_size": vocab.size}
    return grown, TransformerConfig(**sizes)


def _weight_files(folder: Path) -> list[str]:
    return _shard_names(folder / INDEX) if (folder / INDEX).is_file() else [WEIGHTS]


def _shard_names(index: Path) -> list[str]:
    where = read_json(index).get("weight_map")
    names = sorted(set(where.values())) if isinstance(where, dict) else []
    if not names or any(Path(name).name != name for name in names):
        raise CheckpointError(f"{index}: weight_map should name the files beside it that hold the tensors: {names[:3]}")
    return names


def _split(state: Mapping[str, Tensor], max_bytes: int) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for key, tensor in state.items():
        if shards[-1] and used + tensor.nbytes > max_bytes:
            shards.append({})
            used = 0
        shards[-1][key] = tensor.detach().contiguous()
        used += tensor.nbytes
    return shards


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder. Raises CheckpointError when it is not there, or something else."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist; is {path.parent} a model folder?") from error
    except ValueError as error:  # no JSON, or no text at all
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} holds a JSON {type(raw).__name__}, not an object with names and values")
    return raw
