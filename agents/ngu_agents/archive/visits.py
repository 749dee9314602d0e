"""States that a policy comes to by itself, from which it can be shown how to go on.

Source: Ross, Gordon and Bagnell, "A reduction of imitation learning and structured prediction to
no-regret online learning" (arXiv 1011.0686): what a policy does wrong it does in states that are
never met on the demonstrated ways, so demonstrations begin there as well.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from ngu_agents.archive.cells import Cells
from ngu_agents.archive.guide import Guide, Memory
from ngu_agents.archive.trials import Snapshots

# Steps from one state that is kept to the next.
_EVERY = 4


class Visit(NamedTuple):
    """A state that can be gone back to."""

    place: int
    """Steps since the life began."""
    before: list[np.ndarray]
    """The newest frames of the observations before it, as many as a stack reaches back."""
    snapshot: bytes
    """Of the state."""
    memory: Memory | None
    """What the policy has in mind there; None where an episode begins."""


class Life(NamedTuple):
    """What a policy went through until it lost a life."""

    names: list[bytes]
    """Cells of its states."""
    scores: list[float]
    """Scores there, since the episode began."""
    visits: list[Visit]
    """Some of the states."""


class Visits:
    """Plays a policy, and keeps states of it on the way.

    Args:
        envs: E environments in next-step autoreset that can go back; they begin new episodes.
        cells: of their states.
        guide: the policy.

    Attributes:
        lives: that were played so far.
    """

    def __init__(self, envs: VectorEnv, cells: Cells, guide: Guide) -> None:
        # Environments that can go back have these methods, which gymnasium's type does not tell.
        self._returning: Snapshots = envs  # pyright: ignore[reportAttributeAccessIssue]
        self._envs, self._cells, self._guide = envs, cells, guide
        num_envs = envs.num_envs
        stack = envs.metadata.get("frame_stack", 1)
        self._stacked = stack > 1
        self._observation, info = envs.reset()
        self._left = np.array(info.get("lives", np.zeros(num_envs, np.int64)))
        self._over = np.zeros(num_envs, dtype=bool)
        self._score = np.zeros(num_envs)
        self._before = [deque[np.ndarray](maxlen=max(stack - 1, 1)) for _ in range(num_envs)]
        for env in range(num_envs):
            guide.recall(env, None)
        self._now = [Life([], [], []) for _ in range(num_envs)]
        self.lives = list(self._now)
        self._steps = 0

    def step(self) -> int:
        """One step of all environments; returns the steps that were taken."""
        envs, guide, over = self._envs, self._guide, self._over
        self._note()
        actions = guide.act(self._observation)
        self._observation, reward, terminated, truncated, info = envs.step(actions)
        guide.observe(actions, reward)
        left = np.array(info.get("lives", self._left))
        for env in np.flatnonzero(over | (left < self._left)).tolist():
            self._now[env] = Life([], [], [])
            self.lives.append(self._now[env])
        for env in np.flatnonzero(over).tolist():  # a new episode began
            guide.recall(env, None)
            self._before[env].clear()
        self._score = np.where(over, 0, self._score + reward)
        self._over, self._left = ~over & (terminated | truncated), left
        self._steps += 1
        return envs.num_envs

    def _note(self) -> None:
        """Take note of the states that are no episode's end; keep some of them."""
        where = ~self._over
        names = self._cells(self._observation, where).names
        kept = iter(self._returning.snapshots(where) if self._steps % _EVERY == 0 else [])
        for env in np.flatnonzero(where).tolist():
            life, before = self._now[env], self._before[env]
            snapshot = next(kept, None)
            if snapshot is not None:
                memory = self._guide.memory(env) if before else None
                life.visits.append(Visit(len(life.names), list(before), snapshot, memory))
            life.names.append(names[env])
            life.scores.append(float(self._score[env]))
            frame = self._observation[env, -1] if self._stacked else self._observation[env]
            before.append(frame.copy())
