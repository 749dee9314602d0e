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
    name: bytes
    """Cell of the state."""
    score: float
    """Score there, since the episode began."""
    before: list[np.ndarray]
    """The newest frames of the observations before it, as many as a stack reaches back."""
    snapshot: bytes
    """Of the state."""
    memory: Memory
    """What the policy has in mind there."""


class Life(NamedTuple):
    """What a policy went through until it lost a life."""

    names: list[bytes]
    """Cells of its states."""
    scores: list[float]
    """Scores there."""
    visits: list[Visit]
    """Some of the states."""


def visited(envs: VectorEnv, cells: Cells, guide: Guide, *, steps: int) -> list[Life]:
    """The lives of a policy that plays for so many steps in each environment.

    Args:
        envs: E environments in next-step autoreset that can go back.
        cells: of their states.
        guide: the policy.
        steps: to play in each.
    """
    # Environments that can go back have these methods, which gymnasium's type does not tell.
    returning: Snapshots = envs  # pyright: ignore[reportAssignmentType]
    num_envs = envs.num_envs
    stack = envs.metadata.get("frame_stack", 1)
    observation, info = envs.reset()
    lives = np.array(info.get("lives", np.zeros(num_envs, np.int64)))
    over, score = np.zeros(num_envs, dtype=bool), np.zeros(num_envs)
    before = [deque[np.ndarray](maxlen=max(stack - 1, 1)) for _ in range(num_envs)]
    for env in range(num_envs):
        guide.recall(env, None)
    now = [Life([], [], []) for _ in range(num_envs)]
    played = list(now)
    for step in range(steps):
        names = cells(observation, ~over).names
        kept = iter(returning.snapshots(~over) if step % _EVERY == 0 else [])
        for env in np.flatnonzero(~over).tolist():
            life = now[env]
            snapshot = next(kept, None)
            if snapshot is not None:
                seen, memory = list(before[env]), guide.memory(env)
                here = len(life.names), names[env], float(score[env])
                life.visits.append(Visit(*here, seen, snapshot, memory))
            life.names.append(names[env])
            life.scores.append(float(score[env]))
            frame = observation[env, -1] if stack > 1 else observation[env]
            before[env].append(frame.copy())
        actions = guide.act(observation)
        observation, reward, terminated, truncated, info = envs.step(actions)
        guide.observe(actions, reward)
        left = np.array(info.get("lives", lives))
        for env in np.flatnonzero(over | (left < lives)).tolist():
            now[env] = Life([], [], [])
            played.append(now[env])
        for env in np.flatnonzero(over).tolist():  # a new episode began
            guide.recall(env, None)
            before[env].clear()
        score = np.where(over, 0, score + reward)
        over, lives = ~over & (terminated | truncated), left
    return played
