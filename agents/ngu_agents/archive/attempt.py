"""An attempt at the next level: what it does where ways are known, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ngu_agents.archive.ways import KnownWays

# Chance of random actions in place of known ones, for up to so many steps; of going over to another
# way that is known from here.
_RANDOM, _RANDOM_STEPS, _CHANGE = 0.03, 5, 0.3


@dataclass
class Piece:
    """n steps on the way, and the newest frame of each of the n + 1 observations."""

    frames: list[np.ndarray]
    """Both ends included."""
    names: list[bytes] = field(default_factory=list)
    """Cells of the n states that actions were taken in."""
    scores: list[float] = field(default_factory=list)
    """Scores there."""
    actions: bytearray = field(default_factory=bytearray)
    """The n actions, a byte each."""


class Attempt:
    """An environment's attempt at the next level.

    Args:
        origin: number of the state that it sets out from.
        score: there.
        frame: the newest one there.
        guided: whether a policy acts in its place.
        way: what it does as long as nothing is known of its cells; None acts at random.
        waiting: an action, and how many steps it takes this at first.
    """

    def __init__(
        self,
        origin: int,
        score: float,
        frame: np.ndarray,
        *,
        guided: bool,
        way: bytes | None,
        waiting: tuple[int, int],
    ) -> None:
        self.origin = origin
        self.guided = guided
        self.score = score
        self.piece = Piece([frame.copy()])
        self._way = None if way is None else (way, 0)
        self._held = waiting

    def act(
        self, name: bytes, known: KnownWays, actions: range, generator: np.random.Generator
    ) -> int:
        """The next one of the actions, in a cell of this name."""
        action, left = self._held
        if left:
            self._held = action, left - 1
            return action
        if self._way is not None and self._way[1] >= len(self._way[0]):
            self._way = None
        if self._way is None or generator.random() < _CHANGE:
            self._way = known.draw(name, self.score, generator) or self._way
        if self._way is None or generator.random() < _RANDOM:
            action = int(generator.integers(actions.start, actions.stop))
            self._held = action, int(generator.integers(_RANDOM_STEPS))
            return action
        way, place = self._way
        self._way = way, place + 1
        return way[place]

    def add(self, name: bytes, action: int, reward: float, frame: np.ndarray) -> None:
        """Take note of a step."""
        self.piece.names.append(name)
        self.piece.scores.append(self.score)
        self.piece.actions.append(action)
        self.piece.frames.append(frame.copy())
        self.score += reward
