"""Objectives and settings that tests of training share."""

from typing import Any

from mmada.model.masking import NoiseRule
from mmada.model.sequences import Row
from mmada.text_tokenizer import TextTokenizer
from mmada.training.guard import GuardRule
from mmada.training.loop import TrainSettings
from mmada.training.objectives import MaskedPrediction, MaskedPredictionSettings, Material
from mmada.training.parallel import World
from tests.tiny import mixed_samples, tiny_vocab

ALONE = World(0, 1)


def settings(max_steps: int, **change: Any) -> TrainSettings:
    """A quick run."""
    values: dict[str, Any] = {
        "max_steps": max_steps, "learning_rate": 3e-3, "muon_learning_rate": 0.0,
        "min_learning_rate": 1e-4, "warmup_steps": 1,
        "weight_decay": 0.01, "betas": (0.9, 0.99), "max_grad_norm": 1.0, "precision": "fp32", "threads": 1,
        "checkpoint_every": 1000, "publish_every": 0, "log_every": 1, "run": "run-a",
        "ema_decay": 0.0, "guard": GuardRule(spike_factor=20.0, window=64, max_skipped=3),
    }  # fmt: skip
    return TrainSettings(**(values | change))


def rows(step: int) -> list[Row]:
    """Every sample once per step."""
    return [Row(one, step) for one in mixed_samples()]


def masked_objective(
    tokenizer: TextTokenizer, world: World, *, num_parts: int = 1, fixed_noise: bool = False, **change: Any
) -> MaskedPrediction:
    """Masked prediction of all tasks."""
    values: dict[str, Any] = {
        "coefficients": {"t2i": 1.0, "lm": 0.1, "chat": 0.5, "mmu": 0.5, "r2i": 0.3}, "window": {"chat": 6},
        "loss": "unified", "vocabulary": "modality", "padding": "masked_out", "cond_dropout": 0.1,
        "noise": NoiseRule(r2i="staged"),
    }  # fmt: skip

    def source(step: int) -> list[Row]:
        return rows(0 if fixed_noise else step)[world.rank :: world.size]

    def keys(step: int) -> list[str]:
        return [row.sample.key for row in rows(step)]

    material = Material(source, keys, tokenizer, tiny_vocab(tokenizer), world, 3, num_parts)
    return MaskedPrediction(material, MaskedPredictionSettings(**(values | change)))
