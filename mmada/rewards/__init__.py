"""Rewards of reinforcement learning, by name. A new reward is one file, one line here and its name in `RewardName`."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mmada.errors import ParamsError
from mmada.rewards.correctness import correctness
from mmada.rewards.picture import picture
from mmada.rewards.response import Response, Reward
from mmada.rewards.think_format import think_format

__all__ = ["REWARDS", "REWARD_MODELS", "TEXT_REWARDS", "Response", "Reward", "build_rewards"]

REWARDS: Final[Mapping[str, Reward]] = MappingProxyType(
    {"correctness": correctness, "think_format": think_format, "picture": picture}
)
"""Rewards that need nothing but the response."""

TEXT_REWARDS: Final = frozenset({"correctness", "think_format"})
"""Those that look at no picture, also where there is one."""


def _load_clip(folder: Path) -> Reward:
    from mmada.rewards.clip_score import load_clip_score  # torch: seconds that workers without models are spared

    return load_clip_score(folder)


def _load_image_reward(folder: Path) -> Reward:
    from mmada.rewards.image_reward import load_image_reward

    return load_image_reward(folder)


REWARD_MODELS: Final[Mapping[str, Callable[[Path], Reward]]] = MappingProxyType(
    {"clip": _load_clip, "image_reward": _load_image_reward}
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
