"""What E environments did in the latest T steps: all that an on-policy agent learns from.

At index t stand the observation, the action taken on it, and what came of it; the observations have
one row more. Observations are stored as they come, so that after an episode's end row t + 1 is its
true final observation; the step from there only resets the environment and is marked invalid.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class Rollout:
    """Arrays of T steps of E environments, filled step by step.

    Args:
        length: steps T.
        num_envs: environments E.
        observation_shape: of a single environment.
        observation_dtype: of observations, a numpy one.
        action_size: numbers D of an action.
        action_dtype: of actions, a numpy one.
        recurrent_size: units H of the recurrent state.

    Attributes:
        size: steps that are filled.
        observation: [T + 1, E, ...].
        first: True [T, E] where an observation is the first of its episode.
        action: [T, E, D], as the agent keeps them.
        log_probability: with which the actions were drawn, [T, E].
        value: of the extrinsic and the intrinsic return, [T + 1, E, 2].
        reward_ext: [T, E].
        reward_int: [T, E], as the bonus pays it.
        terminated: True [T, E] where the step ended the episode for good.
        truncated: True [T, E] where a time limit cut the episode.
        valid: False [T, E] where the step only reset the environment.
        state: recurrent state before the first step, [2, E, H].
    """

    def __init__(
        self,
        length: int,
        num_envs: int,
        *,
        observation_shape: tuple[int, ...],
        observation_dtype: np.dtype[Any],
        action_size: int,
        action_dtype: np.dtype[Any],
        recurrent_size: int,
    ) -> None:
        self.length, self.size = length, 0
        self.observation = np.empty((length + 1, num_envs, *observation_shape), observation_dtype)
        self.first = np.zeros((length, num_envs), bool)
        self.action = np.zeros((length, num_envs, action_size), action_dtype)
        self.log_probability = np.zeros((length, num_envs), np.float32)
        self.value = np.zeros((length + 1, num_envs, 2), np.float32)
        self.reward_ext = np.zeros((length, num_envs), np.float32)
        self.reward_int = np.zeros((length, num_envs), np.float32)
        self.terminated = np.zeros((length, num_envs), bool)
        self.truncated = np.zeros((length, num_envs), bool)
        self.valid = np.zeros((length, num_envs), bool)
        self.state = np.zeros((2, num_envs, recurrent_size), np.float32)

    @property
    def full(self) -> bool:
        """Whether there is no room for another step."""
        return self.size == self.length

    def begin(self, observation: np.ndarray, state: np.ndarray) -> None:
        """Forget all steps and begin with these observations and this recurrent state."""
        self.size = 0
        self.observation[0] = observation
        self.state[:] = state

    def add(self, *, observation: np.ndarray, **columns: np.ndarray) -> None:
        """Take a step in.

        Args:
            observation: what the step led to, [E, ...].
            columns: the rows of all other attributes at the step.
        """
        for name, row in columns.items():
            getattr(self, name)[self.size] = row
        self.size += 1
        self.observation[self.size] = observation

    def state_dict(self) -> dict[str, Any]:
        """All that is filled; the arrays are not copied."""
        filled = {name: getattr(self, name)[: self.size] for name in _COLUMNS}
        observation = self.observation[: self.size + 1]
        return {"size": self.size, "state": self.state, "observation": observation, **filled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned.

        Raises:
            ValueError: it is of another length, number of environments or kind of spaces.
        """
        size = state["size"]
        for name in ("observation", "state", *_COLUMNS):
            mine, theirs = getattr(self, name), state[name]
            if mine.shape[1:] != theirs.shape[1:] or len(theirs) > len(mine):
                raise ValueError(
                    f"the rollout's {name} must be of at most {len(mine)} rows of shape "
                    f"{list(mine.shape[1:])}, got {len(theirs)} of {list(theirs.shape[1:])}"
                )
        for name in _COLUMNS:
            getattr(self, name)[:size] = state[name]
        self.observation[: size + 1] = state["observation"]
        self.state[:] = state["state"]
        self.size = size


_COLUMNS = (
    "first", "action", "log_probability", "value", "reward_ext", "reward_int", "terminated",
    "truncated", "valid",
)  # fmt: skip
