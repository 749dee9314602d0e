"""A place to walk along, for tests of agents."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Corridor(gymnasium.Env):
    """Walk right from 0: the last cell terminates with reward 1; the limit of steps truncates."""

    def __init__(
        self, action_space: gymnasium.Space[Any] | None = None, *, last: int = 5, limit: int = 7
    ) -> None:
        self.observation_space = Box(0, last, (1,), np.float32)
        self.action_space = action_space or Discrete(2, start=1)
        self.last, self.limit = last, limit

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell = self.steps = 0
        return self._observation(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        right = action == 2 if isinstance(self.action_space, Discrete) else action[0] > 0
        self.cell = max(0, self.cell + (1 if right else -1))
        self.steps += 1
        terminated = self.cell == self.last
        return self._observation(), float(terminated), terminated, self.steps == self.limit, {}

    def _observation(self):
        return np.array([self.cell], np.float32)
