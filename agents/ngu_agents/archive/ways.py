"""Ways to a score, as cells and actions, and what is known of how to go on from a cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv

from ngu_agents.archive.cells import Cells
from ngu_agents.archive.demonstrated import Demonstrated
from ngu_agents.archive.returning import Trajectory
from ngu_agents.archive.trials import Snapshots

# Ways that are remembered from one cell with one score.
_WAYS_FROM = 40


class Beginning(NamedTuple):
    """A state that a way begins in."""

    snapshot: bytes
    """Of the state."""
    score: float
    """Score there."""


class Way(NamedTuple):
    """A way of n steps."""

    names: list[bytes]
    """Cells of the n states that its actions are taken in."""
    scores: list[float]
    """Scores there."""
    actions: bytes
    """A byte each."""
    score: float
    """Score at its end."""


def played(envs: VectorEnv, cells: Cells, trajectory: Trajectory) -> Way:
    """What a trajectory leads through, played once more in one environment.

    Raises:
        ValueError: it does not bring its score once more.
    """
    returning: Snapshots = envs  # pyright: ignore[reportAssignmentType]
    everywhere = np.ones(1, dtype=bool)
    envs.reset()
    observation, _ = returning.restore(everywhere, [trajectory.root])
    names: list[bytes] = []
    scores = [0.0]
    for action in trajectory.actions:
        names += cells(observation, everywhere).names
        observation, reward, _, _, _ = envs.step(np.array([action]))
        scores.append(scores[-1] + float(reward[0]))
    if not np.isclose(scores[-1], trajectory.score):
        raise ValueError(
            f"its score was {trajectory.score:g}, played once more it is {scores[-1]:g}"
        )
    return Way(names, scores[:-1], trajectory.actions, scores[-1])


def shortest(
    demonstrated: Demonstrated,
    cells: Cells,
    score: float,
    *,
    first_action: int = 0,
    stacked: bool = False,
) -> Way | None:
    """The way with the fewest steps to a score, of all that are demonstrated; None without one.

    It begins where an episode does, or with a life.

    Args:
        demonstrated: the steps.
        cells: of their observations.
        score: to be reached.
        first_action: of the environments.
        stacked: whether an observation is a stack of frames; the newest one tells the cell.
    """
    previous = demonstrated.previous.tolist()
    scores, lengths = np.zeros(len(previous)), np.zeros(len(previous), np.int64)
    for step, before in enumerate(previous):  # each comes after the one before it
        if before >= 0:
            scores[step] = scores[before] + demonstrated.reward[before]
            lengths[step] = lengths[before] + 1
        elif demonstrated.action[step] < 0:  # the way begins elsewhere
            scores[step] = -np.inf
    there = np.flatnonzero(scores >= score)
    if not len(there):
        return None
    end = int(there[lengths[there].argmin()])
    steps = [previous[end]]
    while previous[steps[-1]] >= 0:
        steps.append(previous[steps[-1]])
    steps.reverse()
    frames = demonstrated.frames[steps]
    observations = frames[:, None] if stacked else frames
    names = cells(observations, np.ones(len(steps), dtype=bool)).names
    actions = bytes((demonstrated.action[steps] + first_action).tolist())
    return Way(names, scores[steps].tolist(), actions, float(scores[end]))


class KnownWays:
    """Which actions lead on from a cell, and how many steps are left from there."""

    def __init__(self) -> None:
        self._left: dict[bytes, dict[float, tuple[int, int]]] = {}
        self._ways: dict[tuple[bytes, float], list[tuple[bytes, int]]] = {}

    def add(
        self,
        names: list[bytes],
        scores: list[float],
        actions: bytes,
        left: int,
        generator: np.random.Generator,
    ) -> None:
        """Learn a piece of a way, after which ``left`` steps are left."""
        for place, (name, score) in enumerate(zip(names, scores, strict=True)):
            steps, here = self._left.setdefault(name, {}), left + len(names) - place
            fewest, most = steps.get(score, (here, here))
            steps[score] = min(fewest, here), max(most, here)
            ways = self._ways.setdefault((name, score), [])
            if len(ways) == _WAYS_FROM:
                del ways[int(generator.integers(_WAYS_FROM))]
            ways.append((actions, place))

    def left(self, name: bytes, score: float, *, most: bool = False) -> float:
        """The fewest steps left from a cell, of what is known with this score or less of it.

        Or the most of them, for a cell that different states have in common.
        """
        known = self._left.get(name, {})
        found = [float(steps[most]) for at, steps in known.items() if at <= score]
        return (max if most else min)(found, default=np.inf)

    def draw(
        self, name: bytes, score: float, generator: np.random.Generator
    ) -> tuple[bytes, int] | None:
        """A way that leads on from a cell: its actions, and the place of the next one."""
        known = [at for at in self._left.get(name, {}) if at <= score]
        if not known:
            return None
        ways = self._ways[name, max(known)]
        return ways[int(generator.integers(len(ways)))]
