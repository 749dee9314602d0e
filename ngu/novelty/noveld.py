"""NovelD: how much newer the state reached is than the one left, at an episode's first visit.

Source: Zhang et al., "NovelD: A Simple yet Effective Exploration Criterion" (NeurIPS 2021),
equation 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from ngu.novelty.counts import EpisodicCounts
from ngu.novelty.rnd import RND, RNDConfig
from ngu.precision import Precision


@dataclass(frozen=True)
class NovelDConfig(RNDConfig):
    """Settings of NovelD."""

    alpha: float = 0.5
    """Weight of the novelty of the state that was left."""
    memory_capacity: int = 30_000
    """Observations whose visits are counted in one episode; the one known longest makes way."""


class NovelD(RND):
    """r = max(N(x_t) - alpha N(x_t-1), 0) if x_t is new in its episode, else 0.

    N is the norm of the error of random network distillation. The arguments are those of `RND`.
    """

    lifelong_of = "transition"
    config: NovelDConfig

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_envs: int,
        *,
        config: NovelDConfig | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = "auto",
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            num_envs,
            config=NovelDConfig() if config is None else config,
            seed=seed,
            device=device,
            precision=precision,
        )
        self.counts = EpisodicCounts(num_envs, self.config.memory_capacity)
        self._memories["counts"] = self.counts

    def _begin(self, obs: Tensor, where: np.ndarray) -> None:
        self.counts.clear(where)
        self.counts.add(obs, where)

    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        reached = self._of(where, self._error, obs_t).sqrt()
        left = self._of(where, self.distiller.error, obs_tm1).sqrt()
        gain = self._gain(left, reached)
        first = (self.counts.add(obs_t, where) == 1).float()
        return gain * first, {"lifelong_novelty": reached, "first_visit": first}

    def _lifelong(self, obs_t: Tensor, *left: Tensor) -> Tensor:
        return self._gain(*(self.distiller.error(obs).sqrt() for obs in (left[0], obs_t)))

    def _gain(self, left: Tensor, reached: Tensor) -> Tensor:
        return (reached - self.config.alpha * left).clamp_min(0)
