"""How an agent in next-step autoreset uses an intrinsic reward: what it scores, begins and logs."""

from __future__ import annotations

import numpy as np

from ngu.novelty.base import IntrinsicReward
from ngu.spaces import Array
from ngu_agents.base import Figures


def score_step(
    bonus: IntrinsicReward,
    obs_tm1: np.ndarray,
    action_tm1: np.ndarray,
    obs_t: np.ndarray,
    stepped: np.ndarray,
) -> tuple[np.ndarray, Figures]:
    """Score the states reached, and begin episodes where the environments only reset.

    Args:
        bonus: Scores.
        obs_tm1: Observations before the step [E, ...].
        action_tm1: Actions [E, ...], inside the action space.
        obs_t: Observations after it.
        stepped: False [E] where the environment only began a new episode.

    Returns:
        Intrinsic rewards [E] float32, 0 where no step was taken, and the means over the others of
        them and their parts, for logging.
    """
    if stepped.all():
        reward = bonus.score(obs_tm1, action_tm1, obs_t)
    else:
        reward = bonus.score(obs_tm1, action_tm1, obs_t, where=stepped)
        bonus.begin(obs_t, where=~stepped)
    if not stepped.any():
        return reward, {}
    scored = {"intrinsic_reward": reward, **bonus.parts}
    return reward, {name: float(values[stepped].mean()) for name, values in scored.items()}


def train_bonus(bonus: IntrinsicReward, obs_tm1: Array, action_tm1: Array, obs_t: Array) -> Figures:
    """Train on transitions without publishing; returns metrics, the losses as ``loss/NAME``."""
    figures = bonus.update(obs_tm1, action_tm1, obs_t, publish=False)
    return {
        f"loss/{name.removesuffix('_loss')}" if name.endswith("_loss") else name: value
        for name, value in figures.items()
    }
