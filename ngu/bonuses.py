"""The intrinsic rewards by the names that the commands know them by."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium as gym
import torch

from ngu.novelty.base import IntrinsicReward
from ngu.novelty.disagreement import Disagreement, DisagreementConfig
from ngu.novelty.e3b import E3B, E3BConfig
from ngu.novelty.icm import ICM, ICMConfig
from ngu.novelty.ngu import NGU, NGUConfig
from ngu.novelty.noveld import NovelD, NovelDConfig
from ngu.novelty.re3 import RE3, RE3Config
from ngu.novelty.ride import RIDE, RIDEConfig
from ngu.novelty.rnd import RND, RNDConfig


class Bonus(NamedTuple):
    """An intrinsic reward and its settings."""

    kind: type[Any]
    """A class of `IntrinsicReward` whose arguments are those of `NGU`."""
    config: type[Any]
    """The dataclass of its settings."""


BONUSES = {
    "ngu": Bonus(NGU, NGUConfig),
    "rnd": Bonus(RND, RNDConfig),
    "icm": Bonus(ICM, ICMConfig),
    "re3": Bonus(RE3, RE3Config),
    "ride": Bonus(RIDE, RIDEConfig),
    "e3b": Bonus(E3B, E3BConfig),
    "noveld": Bonus(NovelD, NovelDConfig),
    "disagreement": Bonus(Disagreement, DisagreementConfig),
}


def make_bonus(
    name: str,
    observation_space: gym.Space[Any],
    action_space: gym.Space[Any],
    num_envs: int,
    *,
    config: Any,
    seed: int = 0,
    device: torch.device,
    precision: str,
) -> IntrinsicReward | None:
    """Make the intrinsic reward of a name; None for ``"none"``.

    Raises:
        TypeError, ValueError: A space or setting does not fit it; says which.
    """
    if name == "none":
        return None
    return BONUSES[name].kind(
        observation_space,
        action_space,
        num_envs,
        config=config,
        seed=seed,
        device=device,
        precision=precision,
    )
