"""Make the first parent: random weights, or a published model grown to the picture vocabulary."""

from pathlib import Path
from typing import Final

from mmada.lineage.manifest import Artifact, file_sha256, open_artifact
from mmada.model.transformer import TransformerConfig
from mmada.model.weights import (
    extend_vocabulary,
    load_state,
    new_model,
    parse_config,
    read_json,
    save_model,
    save_state,
)
from mmada.params_schema import Paths
from mmada.params_training import Model
from mmada.stage_report import StageReport
from mmada.text_tokenizer import copy_tokenizer, load_tokenizer, make_vocab
from mmada.vocab import Vocab
from mmada.vq.magvit import load_magvit

VERSION: Final = 2
OUT: Final = "models/init"

_MAX_SHARD_BYTES: Final = 5 * 10**9


def init_model(*, out: Path, paths: Paths, model: Model) -> StageReport:
    """A model folder of its own: weights, configuration, vocabulary, text tokenizer."""
    inputs = {
        "text_tokenizer": open_artifact(Path(paths.text_tokenizer)),
        "magvit": open_artifact(Path(paths.magvit)),
    }
    tokenizer = load_tokenizer(inputs["text_tokenizer"].path)
    vocab = make_vocab(tokenizer, num_codes=load_magvit(inputs["magvit"].path).sizes.num_codes)
    raw_files = _from_base(Path(model.base), vocab, model.seed, out) if model.base else _random(model, vocab, out)
    copy_tokenizer(inputs["text_tokenizer"].path, out)
    return StageReport(
        inputs=inputs, raw_files=raw_files, metadata=_identity(inputs), metrics={"vocabulary": vocab.size}
    )


def _random(model: Model, vocab: Vocab, out: Path) -> dict[str, str]:
    config = TransformerConfig(
        d_model=model.d_model,
        n_layers=model.n_layers,
        n_heads=model.n_heads,
        mlp_hidden_size=model.mlp_hidden_size,
        embedding_size=vocab.size,
        max_sequence_length=model.max_sequence_length,
        rope_theta=model.rope_theta,
    )
    save_model(new_model(config, seed=model.seed), vocab, out)
    return {}


def _from_base(base: Path, vocab: Vocab, seed: int, out: Path) -> dict[str, str]:
    config = parse_config(read_json(base / "config.json"), str(base / "config.json"))
    state, config = extend_vocabulary(load_state(base), config, vocab, seed=seed)
    save_state(state, config, vocab, out, max_shard_bytes=_MAX_SHARD_BYTES)
    return {path.as_posix(): file_sha256(path) for path in sorted(base.glob("*")) if path.is_file()}


def _identity(inputs: dict[str, Artifact]) -> dict[str, str]:
    """What a child must share with its parent."""
    return {name: artifact.id for name, artifact in inputs.items()}
