"""What a rollout teaches: advantages and targets of the values, in the form that PPO trains on.

Source: Burda et al. (arXiv 1810.12894), sections 2.3 and 2.4: two returns with discounts of their
own, of which the intrinsic one goes on over the ends of episodes; their advantages are weighed and
added. The paper leaves open whether the sum is normalised; here it is, over the rollout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ngu.moments import RunningMoments
from ngu_agents.base import Figures
from ngu_agents.losses import discounted_sums, generalised_advantages
from ngu_agents.ppo_config import PPOConfig
from ngu_agents.rollout import Rollout

RETURNS = ("extrinsic", "intrinsic")
"""The returns whose values the network tells, in its order."""


class Samples(NamedTuple):
    """A rollout as one row for each step of each environment, N in all; row t E + e is (t, e)."""

    observation: Tensor
    """[N + E, ...]: what row i led to is row i + E."""
    first: Tensor
    """True [N] where an observation is the first of its episode."""
    action: Tensor
    """[N, D]"""
    log_probability: Tensor
    """With which the actions were drawn, [N]."""
    advantage: Tensor
    """Of both returns together, normalised, [N]; meaningless where not valid."""
    value_target: Tensor
    """[N, 2]"""
    valid: Tensor
    """False [N] where the step only reset the environment."""
    state: Tensor
    """Recurrent state before the first step, [2, E, H]."""


class ReturnScale:
    """Divides intrinsic rewards by the running standard deviation of their discounted returns.

    Args:
        num_envs: environments E, each with a return of its own along time.
        discount: of these returns, which go on over the ends of episodes.
    """

    def __init__(self, num_envs: int, discount: float) -> None:
        self._discount = discount
        self._sums = torch.zeros(num_envs, dtype=torch.float64)
        self._moments = RunningMoments()

    @property
    def deviation(self) -> float:
        """The standard deviation so far; 0 before the first rollout."""
        return float(self._moments.std)

    def __call__(self, reward: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Take a rollout's rewards [T, E] in; returns them scaled."""
        stepped = torch.from_numpy(valid)
        sums = discounted_sums(
            torch.from_numpy(reward).double(), stepped, self._sums, self._discount
        )
        self._sums = sums[-1].clone()
        self._moments.update(sums[stepped])
        return reward / np.float32(self.deviation) if self.deviation > 0 else reward

    def state_dict(self) -> dict[str, Any]:
        """The returns and their moments."""
        return {"sums": self._sums, "moments": self._moments.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._sums = state["sums"]
        self._moments.load_state_dict(state["moments"])


def make_samples(
    rollout: Rollout, reward_int: np.ndarray | None, config: PPOConfig
) -> tuple[Samples, Figures]:
    """Advantages and targets of a full rollout, and how much of them the values explained.

    Args:
        rollout: the steps, with the values of the observations after the last.
        reward_int: intrinsic rewards [T, E] to learn from; None leaves the intrinsic return out.
        config: the agent's settings.
    """
    value, valid = torch.from_numpy(rollout.value), torch.from_numpy(rollout.valid)
    reward_ext = torch.from_numpy(rollout.reward_ext)
    if config.reward_bound is not None:
        reward_ext = reward_ext.clamp(-config.reward_bound, config.reward_bound)
    ends = torch.from_numpy(rollout.terminated), torch.from_numpy(rollout.truncated)
    returns = [(reward_ext, *ends, config.gamma_ext, config.extrinsic_weight)]
    if reward_int is not None:
        never = torch.zeros_like(valid)
        reward = torch.from_numpy(reward_int)
        returns.append((reward, never, never, config.gamma_int, config.intrinsic_weight))
    advantage = torch.zeros_like(reward_ext)
    value_target = value[:-1].clone()
    figures: Figures = {}
    for i, (reward, terminated, truncated, discount, weight) in enumerate(returns):
        part = generalised_advantages(
            reward_tp1=reward,
            value_t=value[..., i],
            terminated_tp1=terminated,
            truncated_tp1=truncated,
            valid_t=valid,
            discount=discount,
            trace_decay=config.trace_decay,
        )
        advantage += weight * part
        value_target[..., i] += part
        figures[f"explained_variance_{RETURNS[i]}"] = explained_variance(
            value_target[..., i][valid], part[valid]
        )
    seen = advantage[valid]
    advantage = (advantage - seen.mean()) / (seen.std(correction=0) + 1e-8)
    samples = Samples(
        observation=torch.from_numpy(rollout.observation).flatten(0, 1),
        first=torch.from_numpy(rollout.first).flatten(),
        action=torch.from_numpy(rollout.action).flatten(0, 1),
        log_probability=torch.from_numpy(rollout.log_probability).flatten(),
        advantage=advantage.flatten(),
        value_target=value_target.flatten(0, 1),
        valid=valid.flatten(),
        state=torch.from_numpy(rollout.state),
    )
    return samples, figures


def explained_variance(target: Tensor, error: Tensor) -> float:
    """1 - Var(error) / Var(target): 1 for perfect values; 0 where the targets are all the same."""
    variance = target.var(correction=0)
    return float(1 - error.var(correction=0) / variance) if variance > 0 else 0.0
