"""The training loop: a generator that steps agent and environments and tells what happened.

It knows no logger, no checkpoint and no display; whoever consumes it does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from ngu.stopwatch import Stopwatch
from ngu_agents.base import Agent, Figures, Step


class Progress(NamedTuple):
    """What one step of all E environments brought."""

    steps: int
    """Environment steps so far, those included that info says were "tried"; no resets."""
    action: np.ndarray
    """Actions [E, ...] that were taken; the agent's, unless info says which were "taken"."""
    step: Step
    """What the environments answered."""
    stepped: np.ndarray
    """True [E] where the environment stepped; False where it only began a new episode."""
    info: dict[str, Any]
    """The environments' own information."""
    reward_int: np.ndarray
    """Intrinsic rewards [E] float32 of the states reached."""
    figures: Figures
    """Means over the environments of what the agent saw in this step."""
    learned: Figures
    """Metrics of an update that has finished, empty if none has."""


class Loop:
    """Steps the environments with the agent's actions for as long as it is iterated.

    Args:
        agent: acts, observes and learns.
        envs: E environments in next-step autoreset.

    Raises:
        ValueError: the environments reset themselves in another mode.
    """

    def __init__(self, agent: Agent, envs: VectorEnv) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode != AutoresetMode.NEXT_STEP:
            raise ValueError(f"envs must reset themselves in AutoresetMode.NEXT_STEP, got {mode}")
        self.agent, self.envs = agent, envs
        self.steps = 0
        self.stopwatch = Stopwatch()
        self._done = np.zeros(envs.num_envs, dtype=bool)

    def begin(self) -> dict[str, Any]:
        """Reset all environments: a new episode begins in each; returns their information."""
        observation, info = self.envs.reset()
        self._done = np.zeros(self.envs.num_envs, dtype=bool)
        self.agent.begin(observation)
        return info

    def __iter__(self) -> Iterator[Progress]:
        """Step for ever; one item a step of all environments."""
        while True:
            action = self.agent.act()
            with self.stopwatch("environment"):
                observation, reward, terminated, truncated, info = self.envs.step(action)
            step = Step(observation, np.asarray(reward, np.float32), terminated, truncated)
            stepped, self._done = ~self._done, step.done
            figures = self.agent.observe(step)
            learned = self.agent.learn()
            self.steps += int(stepped.sum() + np.sum(info.get("tried", 0)))
            paid = self.agent.reward_int
            action = info.get("taken", action)
            yield Progress(self.steps, action, step, stepped, info, paid, figures, learned)

    def state_dict(self) -> dict[str, Any]:
        """The count of steps, and where the next step only resets."""
        return {"steps": self.steps, "done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.steps, self._done = state["steps"], state["done"]
