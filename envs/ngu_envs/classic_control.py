"""Gymnasium's classic control with a few actions: its states are numbers that can be saved."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from ngu_envs.vectorized import VectorizedEnv

_MODULE = "gymnasium.envs.classic_control"
_LARGEST_SEED = 2**31


def is_classic_control(spec: EnvSpec) -> bool:
    """Whether a registered kind is classic control with Discrete actions."""
    if not (isinstance(spec.entry_point, str) and spec.entry_point.startswith(_MODULE)):
        return False
    env = gymnasium.make(spec)
    env.close()
    return isinstance(env.action_space, gymnasium.spaces.Discrete)


class ClassicControl(VectorizedEnv):
    """CartPole, MountainCar or Acrobot, one after the other.

    Chance decides only how an episode begins.

    Args:
        num_envs: Number of environments.
        seed: See `RestorableVectorEnv`.
        spec: Which kind.
        options: Arguments of the environment itself, and its `max_episode_steps`.
    """

    def __init__(self, num_envs: int, seed: int, spec: EnvSpec, **options: Any):
        max_steps = options.pop("max_episode_steps", spec.max_episode_steps)

        def made() -> Any:
            env = gymnasium.make(spec, max_episode_steps=-1, disable_env_checker=True, **options)
            return env.unwrapped

        first = made()
        super().__init__(
            num_envs, seed, first.observation_space, first.action_space, None, max_steps
        )
        self._envs = [first, *(made() for _ in range(self.num_envs - 1))]
        self._observations = np.stack([self._reset(env, 0) for env in self._envs])
        self._states = np.stack([np.asarray(env.state, np.float64) for env in self._envs])

    @property
    def repeatable(self) -> bool:
        """Whether the same actions lead from a snapshot to the same states every time."""
        return True

    def _arrays(self) -> dict[str, np.ndarray]:
        return {**super()._arrays(), "state": self._states, "observation": self._observations}

    def _begin(self, where: np.ndarray) -> None:
        for i in np.flatnonzero(where):
            seed = int(self._generator.integers(_LARGEST_SEED))
            self._observations[i] = self._reset(self._envs[i], seed)
            self._states[i] = self._envs[i].state

    def _advance(self, actions: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rewards = np.zeros(self.num_envs, np.float32)
        terminated = np.zeros(self.num_envs, bool)
        for i in np.flatnonzero(where):
            env = self._envs[i]
            env.state = self._states[i].copy()
            self._observations[i], rewards[i], terminated[i], _, _ = env.step(int(actions[i]))
            self._states[i] = env.state
            if terminated[i]:  # it warns of steps after its end, where this may be taken back
                self._reset(env, 0)
        return rewards, terminated

    def _observe(self) -> np.ndarray:
        return self._observations.copy()

    @staticmethod
    def _reset(env: Any, seed: int) -> np.ndarray:
        return env.reset(seed=seed)[0]
