"""Ways put together: on from a cell as another way, known already, went on from there.

Once a cell is reached sooner, what lies behind it can be reached sooner too: the steps that led on
from there are taken again. And who carries something new to a place may go on as others did that
came by without it. Random actions would have to find all of this anew.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from ngu.seeding import Seeds, generator_state, set_generator_state
from ngu_agents.archive.archive import Archive
from ngu_agents.archive.trajectories import Way

# Of the ways on from a cell one in two is its own, begun sooner, where there is one that saves so
# many steps; a beginning is as good as another one that saves a quarter more.
_OWN, _SAVED, _AS_GOOD = 0.5, 16, 0.75
# Others are looked for so often. They come by no farther off than this, in screens, and go on for
# so many steps.
_LOOKS, _BY, _ONWARDS = 64, 1 / 32, 32
# Who is farther than this, in screens, from where the way led has strayed from it.
_STRAYED = 1 / 4


class _Found(NamedTuple):
    """A way, and where to begin on it."""

    first: int
    """The cell to go back to."""
    way: Way
    """Of which some is followed."""
    passed: int
    """Which of its nodes that begins at."""


class Stitching:
    """Leads E agents along known ways, until these end or the agents stray from them.

    Args:
        archive: with cells that are embedded in their positions.
        num_envs: E.
        probability: that an exploration begins with a known way, where there is one.
        seed: of the ways' draw.
    """

    def __init__(self, archive: Archive, num_envs: int, *, probability: float, seed: int) -> None:
        self._archive = archive
        self._probability = probability
        self._generator = Seeds(seed).numpy("archive stitching")
        # The way of each agent: all actions, or none where it follows none; how many are taken; and
        # after how many which cells are passed.
        self._actions = [b""] * num_envs
        self._taken = np.zeros(num_envs, np.int64)
        self._looks = [np.zeros((2, 0), np.int64)] * num_envs

    def begin(self, env: int, cell: int) -> int:
        """Choose a way for an agent that is to go back to a cell; the cell where it begins."""
        if self._generator.random() >= self._probability:
            return cell
        own = self._archive.timed and self._generator.random() < _OWN
        found = (self._sooner(cell) if own else None) or self._onwards(cell)
        if found is None:
            return cell
        first, way, passed = found
        start = way.lengths[passed]
        looks = np.stack((way.lengths[passed:] - start, way.cells[passed:]))
        actions = self._archive.trajectories.actions_to(int(way.nodes[-1]))
        self._actions[env], self._taken[env] = actions[start:], 0
        self._looks[env] = looks[:, looks[1] >= 0]
        return first

    def drop(self, where: Bool[np.ndarray, " E"]) -> None:
        """Let the agents in ``where`` follow no way any more."""
        for env in np.flatnonzero(where).tolist():
            self._actions[env] = b""

    def _sooner(self, cell: int) -> _Found | None:
        """The way to a cell, from one on it that has been reached sooner since."""
        way = self._archive.way_to(cell)
        saved = way.lengths - self._archive.length[way.cells]
        saved[(way.cells < 0) | (self._archive.visits[way.cells] == 0)] = 0
        if saved.max() < _SAVED:
            return None
        passed = int(np.flatnonzero(saved >= _AS_GOOD * saved.max())[-1])
        return _Found(int(way.cells[passed]), way, passed)

    def _onwards(self, cell: int) -> _Found | None:
        """From here on, as a way to another cell went on that came by here.

        Of some the one that leads to the newest place for who has this cell's score and time.
        """
        archive, reached = self._archive, self._archive[cell]
        by = archive.near(cell, _BY)
        ends, found = [], []
        for other in self._generator.integers(len(archive), size=_LOOKS).tolist():
            way = archive.way_to(other)
            onwards = (way.cells >= 0) & by[way.cells] & (way.nodes != reached.node)
            places = np.flatnonzero(onwards & (way.lengths <= way.lengths[-1] - _ONWARDS))
            if places.size:
                ends.append(other)
                found.append(_Found(cell, way, int(self._generator.choice(places))))
        if not found:
            return None
        steps = [int(way.lengths[-1] - way.lengths[passed]) for _, way, passed in found]
        return found[int(archive.novelty_for(np.array(ends), reached, np.array(steps)).argmax())]

    def act(
        self, actions: np.ndarray, where: Bool[np.ndarray, " E"]
    ) -> tuple[np.ndarray, Bool[np.ndarray, " E"]]:
        """What the agents in ``where`` do next: actions [E], and who follows a way with them.

        Args:
            actions: of those who follow none [E].
            where: who takes a step.
        """
        actions = actions.copy()
        following = where & np.array([bool(way) for way in self._actions])
        for env in np.flatnonzero(following).tolist():
            way, taken = self._actions[env], int(self._taken[env])
            actions[env] = way[taken]
            if taken + 1 == len(way):
                self._actions[env] = b""
        self._taken += following
        return actions, following

    def look(self, positions: Float32[np.ndarray, "E 3"], where: Bool[np.ndarray, " E"]) -> None:
        """Where the agents in ``where`` were before their last action.

        Who has strayed from its way follows it no more.
        """
        for env in np.flatnonzero(where).tolist():
            ends, cells = self._looks[env]
            passed = int(np.searchsorted(ends, self._taken[env] - 1, side="right"))
            if not self._actions[env] or not passed:
                continue
            expected = self._archive.embeddings(cells[passed - 1 : passed])[0]
            if abs(positions[env] - expected)[:2].max() > _STRAYED:
                self._actions[env] = b""
            self._looks[env] = self._looks[env][:, passed:]

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        return {
            "generator": generator_state(self._generator),
            "actions": [np.frombuffer(way, np.uint8) for way in self._actions],
            "taken": self._taken.copy(),
            "looks": [looks.copy() for looks in self._looks],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        set_generator_state(self._generator, state["generator"])
        self._actions = [way.tobytes() for way in state["actions"]]
        self._taken[:] = state["taken"]
        self._looks = [looks.copy() for looks in state["looks"]]
