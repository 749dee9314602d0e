"""Ways from lives that nothing on the known way looks like, as after an enemy that is gone too.

Who is lost to an enemy may take it along. Cells are of whole pictures, so that none of those
without it is known, though the way is easier there: what a trajectory does leads on as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from ngu_agents.archive.cells import Cells
from ngu_agents.archive.trials import Snapshots
from ngu_agents.archive.visits import Life
from ngu_agents.archive.ways import Beginning, Way

# Steps from a lost life on, after which the agent is back; what is done before has no effect.
_BACK = 24


class LostLives(NamedTuple):
    """Lives that an unknown way begins with."""

    beginnings: list[Beginning]
    """Of the lives from which it leads to its score."""
    way: Way | None
    """The one from the lowest score; None where there is no such life."""
    steps: int
    """Taken to find that out."""


def unknown_lives(
    envs: VectorEnv, cells: Cells, lives: Sequence[Life], way: Way, *, waiting: int
) -> LostLives:
    """Try what a way does from the lives that began with a lost one, and are in no cell of its.

    Args:
        envs: E environments that can go back, in which there is no chance.
        cells: of their states.
        lives: that a policy went through.
        way: of a trajectory.
        waiting: what is done until the agent is back.
    """
    lost = [
        Beginning(life.visits[0].snapshot, life.scores[0])
        for life in lives
        # Where an episode begins a policy has nothing in mind.
        if life.visits and life.visits[0].memory is not None and life.scores[0] < way.score
    ]
    actions = bytes([waiting] * _BACK) + way.actions
    known = set(way.names)
    found, steps = [], 0
    for first in range(0, len(lost), envs.num_envs):
        some = lost[first : first + envs.num_envs]
        ways, taken = followed(envs, cells, some, actions, way.score)
        steps += taken
        found += [
            (beginning, led)
            for beginning, led in zip(some, ways, strict=True)
            if led is not None and known.isdisjoint(led.names[_BACK : _BACK + 1])
        ]
    if not found:
        return LostLives([], None, steps)
    lowest = min((led for _, led in found), key=lambda led: led.scores[0])
    return LostLives([beginning for beginning, _ in found], lowest, steps)


def followed(
    envs: VectorEnv, cells: Cells, beginnings: Sequence[Beginning], actions: bytes, score: float
) -> tuple[list[Way | None], int]:
    """What the same actions lead through from several states.

    Args:
        envs: E environments that can go back, in which there is no chance.
        cells: of their states.
        beginnings: up to E of the states.
        actions: a byte each.
        score: to be reached without a lost life.

    Returns:
        The ways to the score, None where it is not reached; and the steps taken for it.
    """
    returning: Snapshots = envs  # pyright: ignore[reportAssignmentType]
    envs.reset()
    where = np.arange(envs.num_envs) < len(beginnings)
    observation, info = returning.restore(where, [one.snapshot for one in beginnings])
    lives = np.array(info["lives"]) if "lives" in info else None
    names: list[list[bytes]] = [[] for _ in beginnings]
    scores = [[one.score] for one in beginnings]
    going = dict.fromkeys(range(len(beginnings)))
    ways: list[Way | None] = [None] * len(beginnings)
    steps = 0
    for action in actions:
        if not going:
            break
        named = cells(observation, np.ones(len(observation), dtype=bool)).names
        observation, reward, terminated, truncated, info = envs.step(np.full(envs.num_envs, action))
        steps += len(going)
        over = terminated | truncated
        if lives is not None:
            over[: len(lives)] |= info["lives"][: len(lives)] < lives
        for env in list(going):
            names[env].append(named[env])
            scores[env].append(scores[env][-1] + float(reward[env]))
            *before, reached = scores[env]
            if reached >= score:
                ways[env] = Way(names[env], before, actions[: len(before)], reached)
            if reached >= score or over[env]:
                del going[env]
    return ways, steps
