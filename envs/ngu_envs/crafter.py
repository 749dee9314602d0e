"""Crafter: a world to survive in, with 22 achievements that build on one another.

Source: Hafner, Benchmarking the Spectrum of Agent Capabilities (arXiv 2109.06780), and its package
crafter 1.8.3.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from ngu_envs.checks import require_bool, require_integer
from ngu_envs.vectorized import OwnVectorEnv, checked_actions, generators_of

_LARGEST_SEED = 2**31


@dataclass(frozen=True)
class CrafterConfig:
    """Which world, and what is paid in it."""

    reward: bool = True
    """Whether a newly unlocked achievement pays 1 and each point of health 0.1; without it nothing
    is ever paid."""
    size: int = 64
    """Rows and columns of the picture, in pixels."""
    area: int = 64
    """Rows and columns of the world, in cells."""
    length: int = 10_000
    """Steps after which an episode is truncated."""

    def __post_init__(self):
        require_bool("reward", self.reward)
        require_integer("size", self.size, minimum=18)  # two pixels for each of nine cells
        require_integer("area", self.area, minimum=9)  # as many cells as a picture shows
        require_integer("length", self.length, minimum=1)


class Crafter(OwnVectorEnv):
    """Crafter, one game after the other; death terminates an episode.

    Observation: uint8 [size, size, 3], the nine by seven cells around the player and what it
    carries. Actions: 17. `info["achievements"]`, bool [E, 22]: which achievements the episode has
    unlocked so far; `metadata["achievements"]` holds their names. `info["row"]` and
    `info["column"]`, int [E]: the player's cell in the world, from the top and from the left.

    Args:
        num_envs: Number of environments.
        seed: Decides the worlds and what happens in them.
        config: Which world.

    Raises:
        ImportError: The package crafter is not installed.
    """

    def __init__(self, num_envs: int, seed: int, config: CrafterConfig | None = None):
        if importlib.util.find_spec("crafter") is None:
            raise ImportError('crafter needs its package: pip install "never-give-up[envs]"')
        from ngu_envs.crafter_game import ACHIEVEMENTS, ACTIONS, CrafterGame

        self.config = config or CrafterConfig()
        shape = (self.config.size, self.config.size, 3)
        space = Box(0, 255, shape, np.uint8)
        super().__init__(num_envs, seed, space, Discrete(len(ACTIONS)), "achievements")
        self.metadata["achievements"] = ACHIEVEMENTS
        self._games = [
            CrafterGame(
                area=self.config.area,
                size=self.config.size,
                reward=self.config.reward,
                length=self.config.length,
                seed=0,
            )
            for _ in range(self.num_envs)
        ]
        self._ended = np.zeros(self.num_envs, bool)

    def _info(self) -> dict[str, Any]:
        row, column = np.array([game.cell for game in self._games]).T
        unlocked = np.array([game.unlocked() for game in self._games])
        return {"achievements": unlocked, "row": row, "column": column}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode in all environments; observations [E, ...] and info."""
        reset_seed = self._seed_for_reset(seed, options)
        if reset_seed is not None:
            generators = generators_of(reset_seed, self.num_envs)
            for game, generator in zip(self._games, generators, strict=True):
                game.reseed(int(generator.integers(_LARGEST_SEED)))
        self._was_reset = True
        self._ended[:] = False
        return np.stack([game.reset() for game in self._games]), self._info()

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step everywhere, a reset step where an episode ended at the step before.

        Args:
            actions: Integers [E].

        Returns:
            Observations [E, ...], rewards float32 [E], terminated and truncated bool [E], info.

        Raises:
            ResetNeeded: Before the first reset.
            TypeError: Actions that are no integers.
            ValueError: Actions of another shape or outside the space.
        """
        self._require_reset()
        assert isinstance(self.single_action_space, Discrete)
        actions = checked_actions(actions, self.single_action_space, self.num_envs)
        observations = np.empty(self.observation_space.shape or (), np.uint8)
        rewards = np.zeros(self.num_envs, np.float32)
        terminated = np.zeros(self.num_envs, bool)
        truncated = np.zeros(self.num_envs, bool)
        for i, game in enumerate(self._games):
            if self._ended[i]:
                observations[i] = game.reset()
                continue
            observations[i], rewards[i], over, told = game.step(int(actions[i]))
            terminated[i] = told["discount"] == 0
            truncated[i] = over and not terminated[i]
        self._ended = terminated | truncated
        return observations, rewards, terminated, truncated, self._info()
