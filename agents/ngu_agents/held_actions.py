"""Random actions that are held for a while, to see more of an environment than uniform ones do."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np

from ngu.seeding import Seeds, generator_state, set_generator_state


class HeldActions:
    """Takes the last action once more, or draws another one from the space.

    Each number of a Box is zero, where the space has zero, with a chance of one half: a car that
    always steers, accelerates and brakes at once gets nowhere.

    Args:
        action_space: of a single environment.
        num_envs: environments E.
        repeat_probability: chance that an environment's last action is taken once more.
        seed: of the actions.
    """

    def __init__(
        self,
        action_space: gymnasium.Space[Any],
        num_envs: int,
        *,
        repeat_probability: float = 0.9,
        seed: int,
    ) -> None:
        seeds = Seeds(seed)
        self._generator = seeds.numpy("held actions")
        self._space = copy.deepcopy(action_space)
        self._space.seed(seeds.integer("held actions' space"))
        self._repeat_probability = repeat_probability
        self._actions = [self._draw() for _ in range(num_envs)]

    def __call__(self) -> np.ndarray:
        """Actions [E, ...]."""
        another = self._generator.random(len(self._actions)) >= self._repeat_probability
        for env in np.flatnonzero(another).tolist():
            self._actions[env] = self._draw()
        return np.stack(self._actions)

    def state_dict(self) -> dict[str, Any]:
        """The actions held, and the generators."""
        return {
            "actions": np.stack(self._actions),
            "generator": generator_state(self._generator),
            "space": generator_state(self._space.np_random),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._actions = list(state["actions"])
        set_generator_state(self._generator, state["generator"])
        set_generator_state(self._space.np_random, state["space"])

    def _draw(self) -> np.ndarray:
        action = np.asarray(self._space.sample())
        space = self._space
        if not isinstance(space, gymnasium.spaces.Box):
            return action
        rests = (self._generator.random(action.shape) < 0.5) & (space.low <= 0) & (space.high >= 0)
        return np.where(rests, 0, action).astype(action.dtype)
