"""Rewards of reinforcement learning, by name. A new reward is one file and one line here."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from jaxtyping import UInt8
from numpy import ndarray

from mmada.errors import ParamsError
from mmada.rewards.clip_score import load_clip_score
from mmada.rewards.correctness import correctness
from mmada.rewards.image_reward import load_image_reward
from mmada.rewards.picture import picture
from mmada.rewards.think_format import think_format


class Reward(Protocol):
    """Scores one response. `pixels` is the drawn picture, None for tasks that draw nothing."""

    def __call__(
        self, *, prompt: str, completion: str, reference: str, pixels: UInt8[ndarray, "H W 3"] | None
    ) -> float: ...


REWARDS: Final[Mapping[str, Reward]] = MappingProxyType(
    {"correctness": correctness, "think_format": think_format, "picture": picture}
)
"""Rewards that need nothing but the response."""

REWARD_MODELS: Final[Mapping[str, Callable[[Path], Reward]]] = MappingProxyType(
    {"clip": load_clip_score, "image_reward": load_image_reward}
)
"""Rewards that are models, loaded from a local folder."""


def build_rewards(names: Iterable[str], folders: Mapping[str, Path]) -> dict[str, Reward]:
    """The named rewards, models loaded. Raises ParamsError for an unknown name or a missing folder."""
    built: dict[str, Reward] = {}
    for name in sorted(set(names)):
        if name in REWARDS:
            built[name] = REWARDS[name]
        elif name not in REWARD_MODELS:
            raise ParamsError(f"no reward {name!r}; allowed: {sorted([*REWARDS, *REWARD_MODELS])}")
        elif name not in folders:
            raise ParamsError(f"reward {name!r} is a model: name its local folder in reward_models.{name}")
        else:
            built[name] = REWARD_MODELS[name](folders[name])
    return built
