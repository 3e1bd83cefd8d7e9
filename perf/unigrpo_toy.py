"""UniGRPO alone on a toy task: name the digit that a word says. Rewards from chance to nearly always right, per seed.

The model is first taught the form of an answer (a digit, any digit) by masked prediction; which digit is right it
learns from rewards alone, by the sampler, the reward workers, the objective and the loop of stage 3.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import torch

from mmada.contracts.sample import Sample
from mmada.model.image_sampling import ImageSampling
from mmada.model.masking import NoiseRule as TextNoise
from mmada.model.sequences import Row
from mmada.model.text_sampling import TextSampling
from mmada.model.transformer import Transformer
from mmada.rewards.scoring import RewardWorkers
from mmada.text_tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from mmada.training.likelihoods import ESTIMATORS, NoiseRule
from mmada.training.loop import train
from mmada.training.objectives import MaskedPrediction, MaskedPredictionSettings, Material, Objective, RowSource
from mmada.training.parallel import World
from mmada.training.phases import RewardWeights, open_phases
from mmada.training.policy_gradient import centred, k3_divergence
from mmada.training.rollouts import RolloutSettings
from mmada.training.unigrpo import UniGrpo, UniGrpoSettings
from tests.tiny import TEXTS, sample, tiny_model, tiny_vocab
from tests.training.jobs import settings

SEEDS: Final = (1, 2, 3, 4, 5)
LOW, HIGH = 0.2, 0.8
_WORDS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_ALONE: Final = World(0, 1)
_WINDOW: Final = 4
_FORM_STEPS: Final = 150
_INNER_UPDATES: Final = 4
_ITERATIONS: Final = 100
_SPAN: Final = 5
"""Iterations over which the last reward is averaged."""


def _train(model: Transformer, objective: Objective, steps: int, rate: float, folder: Path) -> list[dict[str, float]]:
    log: list[dict[str, float]] = []
    train(
        model,
        objective,
        settings(steps, learning_rate=rate, min_learning_rate=rate, checkpoint_every=steps),
        state_dir=folder,
        world=_ALONE,
        on_metrics=lambda run, step, values: log.append(dict(values)),
        publish=lambda position: None,
        label=folder.name,
    )
    return log


def _material(rows: RowSource, tokenizer: TextTokenizer, seed: int) -> Material:
    def keys(step: int) -> list[str]:
        return [row.sample.key for row in rows(step)]

    return Material(rows, keys, tokenizer, tiny_vocab(tokenizer), _ALONE, seed, 1)


def _form(tokenizer: TextTokenizer, seed: int) -> MaskedPrediction:
    """Every word with every digit: how an answer looks, not which one is right."""
    pairs: list[Sample] = [
        sample(f"{word}-{digit}", "chat", word, str(digit)) for word in _WORDS for digit in range(len(_WORDS))
    ]
    chosen = MaskedPredictionSettings(
        coefficients={"chat": 1.0},
        window={"chat": _WINDOW},
        loss="unified",
        vocabulary="modality",
        padding="masked_out",
        noise=TextNoise({"chat": 0.3}),
        cond_dropout=0.0,
    )
    return MaskedPrediction(_material(lambda step: [Row(one, step) for one in pairs], tokenizer, seed), chosen)


def _policy(tokenizer: TextTokenizer, seed: int, folder: Path, scorer: RewardWorkers) -> UniGrpo:
    prompts = [sample(word, "chat", word, reference=str(digit)) for digit, word in enumerate(_WORDS)]
    chosen = UniGrpoSettings(
        rollouts=RolloutSettings(16, TextSampling(_WINDOW, _WINDOW, _WINDOW, temperature=1.0), ImageSampling(1)),
        noise=NoiseRule(_INNER_UPDATES, "formula", (0.0, 1.0)),
        estimator=ESTIMATORS["unigrpo"],
        advantage=centred,  # the fewer answers of a group are wrong, the more standardised ones would weigh them
        clip=0.2,
        kl_weight=0.01,
        divergence=k3_divergence,
        kl_reference="old",
        weights=RewardWeights({"chat": {"correctness": 1.0}}, {}),
        vocabulary="modality",
    )
    material = _material(lambda number: [Row(one, number) for one in prompts], tokenizer, seed)
    return UniGrpo(material, chosen, scorer, open_phases(folder), None, None, lambda *answers: None)


def learn(seed: int, folder: Path) -> tuple[list[float], float]:
    """Mean reward of each iteration, and the processor time that reinforcement learning took, in seconds."""
    tokenizer = load_tokenizer(folder.parent)
    model = tiny_model(tiny_vocab(tokenizer), seed=seed, d_model=64)
    _train(model, _form(tokenizer, seed), _FORM_STEPS, 3e-3, folder / "form")
    began = time.process_time()
    with closing(RewardWorkers({}, seconds=10.0, workers=1)) as scorer:
        objective = _policy(tokenizer, seed, folder, scorer)
        log = _train(model, objective, _ITERATIONS * _INNER_UPDATES, 1e-3, folder / "unigrpo")
    return [values["reward/chat/total"] for values in log[::_INNER_UPDATES]], time.process_time() - began


def bench_unigrpo_toy(seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Per seed: reward of the first iteration and of the last ones, and when the high mark was passed."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        train_tokenizer(TEXTS * 20, Path(name), vocab_size=320)
        for seed in seeds:
            rewards, seconds = learn(seed, Path(name) / f"seed-{seed}")
            passed = next((number for number, reward in enumerate(rewards) if reward >= HIGH), None)
            found[f"seed_{seed}"] = {
                "first_reward": round(rewards[0], 3),
                "last_reward": round(sum(rewards[-_SPAN:]) / _SPAN, 3),
                "iterations_to_0.8": passed,
                "processor_seconds": round(seconds, 1),
            }
    runs = list(found.values())
    found["seeds_that_learned"] = sum(run["first_reward"] <= LOW and run["last_reward"] >= HIGH for run in runs)
    return found
