"""A small UniGRPO run that tests and the kill driver share: prompts of every task, rewards that any model can raise."""

from typing import Any

import numpy as np

from mmada.model.image_sampling import ImageSampling
from mmada.model.sequences import Row
from mmada.model.text_sampling import TextSampling
from mmada.text_tokenizer import TextTokenizer
from mmada.training.likelihoods import ESTIMATORS, NoiseRule
from mmada.training.objectives import Material
from mmada.training.parallel import World
from mmada.training.phases import Phases, RewardWeights
from mmada.training.policy_gradient import k3_divergence, standardised
from mmada.training.rollouts import RolloutSettings
from mmada.training.unigrpo import UniGrpo, UniGrpoSettings
from tests.tiny import sample, tiny_vocab
from tests.training.jobs import ALONE

PROMPTS = [
    sample("p0", "chat", "one", reference="e"),
    sample("p1", "mmu", "two", codes=1, reference="e"),
    sample("p2", "t2i", "red", codes=2),
    sample("p3", "r2i", "red", codes=3, reference="e"),
]
WEIGHTS = RewardWeights(
    {"chat": {"letters": 1.0}, "mmu": {"letters": 2.0}, "t2i": {"dark": 1.0}, "r2i": {"dark": 1.0, "letters": 0.5}}, {}
)


NOISE = NoiseRule(2, "formula", (0.0, 1.0))


class Memory(dict):
    """A store in memory."""

    def put(self, key, data):
        self[key] = data


def letters(response):
    """How much of the answer is the reference letter."""
    return sum(c == response.reference for c in response.completion) / max(1, len(response.completion))


def dark(response):
    """Share of low codes in a picture (pixels are codes here)."""
    return float((response.pixels < 8).mean())


REWARDS = {"letters": letters, "dark": dark}


def score(asked):
    """A scorer in this process."""
    for index, one in enumerate(asked):
        yield index, {name: REWARDS[name](one.response) for name in one.names}


def codes_as_pixels(codes):
    """Decodes no picture: its codes are its pixels."""
    return codes.numpy()[..., None].repeat(3, -1).astype(np.uint8)


def toy(
    tokenizer: TextTokenizer,
    store: Any,
    *,
    prompts: Any = PROMPTS,
    group: int = 4,
    world: World = ALONE,
    num_parts: int = 1,
    scorer: Any = score,
    estimator: str = "unigrpo",
    noise: NoiseRule = NOISE,
    initial: Any = None,
    log: Any = lambda *answers: None,
    **change: Any,
) -> UniGrpo:
    """An objective over `prompts`, all of them in every iteration."""
    values: dict[str, Any] = {
        "rollouts": RolloutSettings(group, TextSampling(4, 2, 4, temperature=1.0), ImageSampling(2)), "noise": noise,
        "estimator": ESTIMATORS[estimator], "advantage": standardised, "clip": 0.2, "kl_weight": 0.01,
        "divergence": k3_divergence, "kl_reference": "old", "weights": WEIGHTS, "vocabulary": "modality",
    }  # fmt: skip
    keys = [prompt.key for prompt in prompts]
    own = prompts[world.rank :: world.size]
    vocab = tiny_vocab(tokenizer)
    material = Material(lambda i: [Row(p, i) for p in own], lambda i: keys, tokenizer, vocab, world, 1, num_parts)
    chosen = UniGrpoSettings(**(values | change))
    return UniGrpo(material, chosen, scorer, Phases(store, store), codes_as_pixels, initial, log)
