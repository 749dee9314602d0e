"""Where each agent is, across screens, by dead reckoning.

Who leaves a picture at its right edge comes in at the left edge of the next. So an agent that is
seen far from where it was just now has gone the other way, to another screen. Ecoffet et al. (arXiv
2004.12919) read the room, and the agent's place in it, from the console's memory ("domain
knowledge"); here both come from what its actions change.

Behind a door, or a way round, another screen may lie at the same place. Of each screen it is known
in which pictures it was seen; one unlike all of these is another one (Hartigan, "Clustering
Algorithms", 1975, section 3.2, the leader algorithm). Pictures that an agent sees one after the
other and stays, as where floors come and go, are of the same scene; others of different scenes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Shaped

from ngu_agents.archive.cells import Named
from ngu_agents.archive.trials import Controlled

# Rows and columns of a screen, in shares of the picture: lines of score and borders are the rest.
_SCREEN = np.array([0.6, 0.8], np.float32)
# So far may an agent seem to have come at once, and so much further in a step.
_AT_ONCE, _IN_A_STEP = 0.1, np.array([1 / 64, 1 / 40], np.float32)
# Who was seen again may have stayed on its screen, or left it across its rows or its columns.
_LEAVES = np.array([[False, False], [True, False], [False, True]])
# Alike are pictures that differ in no more than that. A screen has so many others at most.
_ALIKE, _MOST_PICTURES = 1 / 8, 16
# A screen looks as much like a picture as another one does if it differs in no more than so many
# times as many pixels.
_AS_ALIKE = 2
# Where in one step more than that changes of what stood still the screen may have been left.
# As good as all crossings change more than the lower share, and hardly another step the higher one.
CUT, _NO_CUT = 1 / 80, 1 / 96
# Where that happens more than once in so many steps while the agent stays it tells nothing.
_RESTLESS = 200
# Who is seen nearer than this to where it was has not moved.
_MOVED = 1 / 8
# Who was not seen for more steps may have left several.
_LONG = 16

_Screen = tuple[int, int]


def sudden(
    changed: Bool[np.ndarray, "E H W"], *before: Bool[np.ndarray, "E #H #W"]
) -> Float64[np.ndarray, " E"]:
    """The share of E pictures that has changed in a step, and in none of the steps before.

    What moves changes so at its edges alone, what flickers hardly; another screen everywhere.
    """
    for moved in before:
        changed = changed & ~moved
    return changed.mean((1, 2))


class _Seen(NamedTuple):
    """A picture that a screen was seen in, and the first one of its scene, by its number."""

    picture: np.ndarray
    scene: int


class Bearings:
    """Positions of E agents since the beginning, in screens.

    Args:
        num_envs: E.
        areas: rows and columns of areas of a screen; positions in the same one are the same cell.

    Attributes:
        positions: rows, columns and scenes [E, 3]. The fractions of the first two are the place on
            the screen, their whole parts 0 and 0 on the screen of the beginning; the third is the
            number of the scene on its screen.
    """

    def __init__(self, num_envs: int, *, areas: int) -> None:
        self.positions = np.zeros((num_envs, 3), np.float32)
        # Steps since each was seen there, how often its picture has changed since as it does where
        # a screen is left, whether it did in the last step, and whether it may have.
        self._unseen = np.zeros(num_envs, np.int64)
        self._cuts = np.zeros(num_envs, np.int64)
        self._cutting = np.zeros(num_envs, dtype=bool)
        self._unclear = np.zeros(num_envs, dtype=bool)
        # What changed in each of the last two steps; all, where nothing is known of them.
        self._changed = [np.ones((num_envs, 1, 1), dtype=bool)] * 2
        # Whose positions are not known any more, until they are put to another one.
        self._lost = np.zeros(num_envs, dtype=bool)
        self._pictures: dict[_Screen, list[_Seen]] = {}
        # For how many steps agents have stayed for sure on each screen, and how often the picture
        # has changed in these as if they had left.
        self._stays: defaultdict[_Screen, list[int]] = defaultdict(lambda: [0, 0])
        self._areas = areas

    def step(
        self,
        before: Shaped[np.ndarray, "E H W"],
        after: Shaped[np.ndarray, "E H W"],
        where: Bool[np.ndarray, " E"],
    ) -> None:
        """The agents in ``where`` take a step, from these pictures to those."""
        self._unseen += where
        changed = before != after
        share = sudden(changed, *self._changed)
        cut = where & (share > CUT)
        self._unclear |= where & (share > _NO_CUT)
        self._changed = [changed, self._changed[0]]
        self._cuts += cut & ~self._cutting
        self._cutting = cut

    def follow(
        self, controlled: Controlled, pictures: Shaped[np.ndarray, "E H W"]
    ) -> Bool[np.ndarray, " E"]:
        """Go on from the last positions to where the agents are seen now, in these pictures.

        They are seen by what a step leads to. Who leaves a screen with it has not been there yet.

        Returns:
            Whose positions are known, and in the same scene as before.
        """
        before = self.positions.copy()
        screens = np.floor(before[:, :2])
        jumps = controlled.places - (before[:, :2] - screens)
        distances = abs(jumps)
        reach = _AT_ONCE + _IN_A_STEP * self._unseen[:, None]
        # Across the edge it is the rest of a screen.
        near, far = distances <= reach, (distances >= _SCREEN - reach) & (jumps != 0)
        ways = np.all(np.where(_LEAVES[:, None], far, near), axis=2)
        # What can have come no way was not the agent.
        seen = controlled.seen & ways.any(0) & ~self._lost
        for env in np.flatnonzero(seen).tolist():
            leaves = _LEAVES[ways[:, env]]
            reached = (screens[env] - leaves * np.sign(jumps[env])).astype(int)
            came_to = [(row, column) for row, column in reached.tolist()]
            moved = bool(distances[env].max() >= _MOVED)
            screen = self._reached(env, came_to, pictures[env], moved=moved)
            if screen is None:
                self._lost[env] = True
                continue
            stayed = screen == self._screen(env) and bool(self._unseen[env] <= _LONG)
            if stayed and len(came_to) == 1:
                self._stays[screen][0] += int(self._unseen[env])
                self._stays[screen][1] += int(self._cuts[env])
            self.positions[env, :2] = np.array(screen) + controlled.places[env]
            self._stand(env, pictures[env], stayed=stayed)
        left = np.floor(self.positions) != np.floor(before)
        return seen & ~self._lost & ~left.any(1)

    def _reached(
        self, env: int, screens: list[_Screen], picture: np.ndarray, *, moved: bool
    ) -> _Screen | None:
        """On which screen an agent is, of those that it can have come to; None if unknown.

        Where the picture is known there it is rather than where others are; of a screen that nobody
        has seen there is no telling. Of two that look much the same a single change of the picture,
        or none, tells whether it has left, unless the picture changes so all the time, or it has
        not moved and may have come back. A picture that is unknown everywhere is believed in only
        if there is no choice, soon after the agent was seen, and if it can have stayed, or the
        picture has changed as if it had left.
        """
        own, cuts = self._screen(env), int(self._cuts[env])
        nearest = {screen: self._known(screen, picture) for screen in screens}
        known = {screen: found[1] for screen, found in nearest.items() if found}
        limit = _AS_ALIKE * known.get(own, 0.0)
        as_alike = [at for at in known if own in known and at != own and known[at] <= limit]
        steps, changes = self._stays[own]
        tells = cuts == 1 and moved and steps > _RESTLESS * changes
        if own in known and not cuts:
            return None if as_alike and self._unclear[env] else own
        fitting = screens
        if tells and as_alike:
            fitting = as_alike
        elif known:
            fitting = [at for at in screens if at in known or at not in self._pictures]
        if len(fitting) > 1:
            return None
        believed = self._unseen[env] <= _LONG and (cuts > 0 or own in screens)
        return fitting[0] if fitting[0] in known or believed else None

    def _screen(self, env: int) -> _Screen:
        row, column = np.floor(self.positions[env, :2]).astype(int).tolist()
        return row, column

    def _known(self, screen: _Screen, picture: np.ndarray) -> tuple[_Seen, float] | None:
        """The most similar picture that a screen was seen in, and in what share it differs.

        None if there is none alike.
        """
        pictures = self._pictures.get(screen)
        if not pictures:
            return None
        differences = [(seen.picture != picture).mean() for seen in pictures]
        nearest = int(np.argmin(differences))
        if differences[nearest] > _ALIKE and len(pictures) < _MOST_PICTURES:
            return None
        return pictures[nearest], float(differences[nearest])

    def begin(
        self,
        where: Bool[np.ndarray, " E"],
        places: Float32[np.ndarray, "K 2"],
        pictures: Shaped[np.ndarray, "E H W"],
    ) -> None:
        """The K agents in ``where`` stand at these places where an episode begins."""
        self.positions[where, :2] = places
        for env in np.flatnonzero(where).tolist():
            self._stand(env, pictures[env], stayed=False)

    def put(self, where: Bool[np.ndarray, " E"], positions: Float32[np.ndarray, "K 3"]) -> None:
        """The K agents in ``where`` stand at these positions now."""
        self.positions[where] = positions
        self._changed = [changed | where[:, None, None] for changed in self._changed]
        self._unseen[where] = 0
        self._cuts[where] = 0
        self._cutting[where] = self._lost[where] = self._unclear[where] = False

    def _stand(self, env: int, picture: np.ndarray, *, stayed: bool) -> None:
        """An agent is seen in this picture on its screen; in the same scene if it has stayed."""
        screen = self._screen(env)
        pictures = self._pictures.setdefault(screen, [])
        known = self._known(screen, picture)
        scene = known[0].scene if known else len(pictures)
        if stayed:
            same = {scene, pictures[int(self.positions[env, 2])].scene}
            scene = min(same)
            pictures[:] = [
                seen._replace(scene=scene) if seen.scene in same else seen for seen in pictures
            ]
        if known is None:
            pictures.append(_Seen(picture.copy(), scene))
        self.positions[env, 2] = scene
        self._unseen[env] = 0
        self._cuts[env] = 0
        self._cutting[env] = self._lost[env] = self._unclear[env] = False

    def placed(self, named: Named) -> Named:
        """Cells of pictures, parted by where the agents are; embedded in their positions."""
        areas = np.floor(self.positions * self._areas).astype(np.int16)
        names = [name + area.tobytes() for name, area in zip(named.names, areas, strict=True)]
        return Named(names, self.positions.copy())

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        every = [(screen, seen) for screen, known in self._pictures.items() for seen in known]
        return {
            "positions": self.positions.copy(),
            "unseen": self._unseen.copy(),
            "cuts": self._cuts.copy(),
            "cutting": self._cutting.copy(),
            "unclear": self._unclear.copy(),
            "lost": self._lost.copy(),
            "changed": list(self._changed),
            "screens": np.array([screen for screen, _ in every], np.int64).reshape(-1, 2),
            "scenes": np.array([seen.scene for _, seen in every], np.int64),
            "pictures": np.array([seen.picture for _, seen in every]),
            "stays": np.array([(*at, *n) for at, n in self._stays.items()], np.int64).reshape(
                -1, 4
            ),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.positions[:], self._unseen[:] = state["positions"], state["unseen"]
        self._cuts[:], self._cutting[:] = state["cuts"], state["cutting"]
        self._unclear[:], self._lost[:] = state["unclear"], state["lost"]
        self._changed = list(state["changed"])
        self._pictures = {}
        for (row, column), scene, picture in zip(
            state["screens"].tolist(), state["scenes"].tolist(), state["pictures"], strict=True
        ):
            self._pictures.setdefault((row, column), []).append(_Seen(picture.copy(), scene))
        self._stays.clear()
        for row, column, *stayed in state["stays"].tolist():
            self._stays[row, column] = stayed
