"""Where each agent is, across screens, by dead reckoning.

Who leaves a picture at its right edge comes in at the left edge of the next. So an agent that is
seen far from where it was just now has gone the other way, to another screen. Ecoffet et al. (arXiv
2004.12919) read the room, and the agent's place in it, from the console's memory ("domain
knowledge"); here both come from what its actions change.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from ngu_agents.archive.cells import Named
from ngu_agents.archive.trials import Controlled

# Rows and columns of a screen, in shares of the picture: lines of score and borders are the rest.
_SCREEN = np.array([0.6, 0.8], np.float32)
# So far may an agent seem to have come at once, and so much further in a step.
_AT_ONCE, _IN_A_STEP = 0.1, np.array([1 / 64, 1 / 40], np.float32)
# In a picture of which more than that has changed nobody has stayed.
_CHANGED = 1 / 8
# Where in one step more than that changes the screen may have been left.
CUT = 1 / 32
# Who was not seen for more steps may have left several.
_LONG = 16


class Bearings:
    """Positions of E agents since the beginning, in screens.

    Args:
        pictures: [E, H, W] to begin with.
        areas: rows and columns of areas of a screen; positions in the same one are the same cell.

    Attributes:
        positions: rows and columns [E, 2], the fractions of which are the place on the screen; the
            screen of the beginning has the whole parts 0 and 0.
        unseen: steps since each was there.
        cut: for whom the picture has changed since as it does where a screen is left.
        lost: whose positions are not known any more, until they are put to another one.
        pictures: [E, H, W] when they were there last.
    """

    def __init__(self, pictures: Shaped[np.ndarray, "E H W"], *, areas: int) -> None:
        num_envs = len(pictures)
        self.positions = np.full((num_envs, 2), 0.5, np.float32)
        self.unseen = np.zeros(num_envs, np.int64)
        self.cut = np.zeros(num_envs, dtype=bool)
        self.lost = np.zeros(num_envs, dtype=bool)
        self.pictures = pictures.copy()
        self._areas = areas

    def step(
        self,
        before: Shaped[np.ndarray, "E H W"],
        after: Shaped[np.ndarray, "E H W"],
        where: Bool[np.ndarray, " E"],
    ) -> None:
        """The agents in ``where`` take a step, from these pictures to those."""
        self.unseen += where
        self.cut |= where & ((before != after).mean((1, 2)) > CUT)

    def follow(
        self, controlled: Controlled, pictures: Shaped[np.ndarray, "E H W"]
    ) -> Bool[np.ndarray, " E"]:
        """Go on from the last positions to where the agents are seen now, in these pictures.

        They are seen by what a step leads to. Who leaves a screen with it has not been there yet.
        Lost is who may have stayed or left, where a step has changed the picture as leaving does,
        or can only have left, where none has.

        Returns:
            Whose positions are known, and on the same screen as before.
        """
        screens = np.floor(self.positions)
        jumps = controlled.places - (self.positions - screens)
        distances = abs(jumps)
        reach = _AT_ONCE + _IN_A_STEP * self.unseen[:, None]
        # Across the edge it is the rest of a screen.
        near, far = distances <= reach, distances >= _SCREEN - reach
        left = far & ~near
        leaves = left.any(1)
        changed = (pictures != self.pictures).mean((1, 2)) > _CHANGED
        # What can have come neither way was not the agent.
        seen = controlled.seen & (near | far).all(1) & (leaves | ~changed)
        unclear = np.where(self.cut, (near & far).any(1), leaves)
        self.lost |= seen & (unclear | (leaves & (self.unseen > _LONG)))
        known = seen & ~self.lost
        screens -= np.where(left, np.sign(jumps), 0)
        self._stand(known, (screens + controlled.places)[known], pictures)
        return known & ~leaves

    def put(
        self,
        where: Bool[np.ndarray, " E"],
        positions: Float32[np.ndarray, "K 2"],
        pictures: Shaped[np.ndarray, "E H W"],
    ) -> None:
        """The K agents in ``where`` stand at these positions now, in these pictures."""
        self._stand(where, positions, pictures)
        self.lost[where] = False

    def _stand(self, where: np.ndarray, positions: np.ndarray, pictures: np.ndarray) -> None:
        self.positions[where] = positions
        self.pictures[where] = pictures[where]
        self.unseen[where] = 0
        self.cut[where] = False

    def placed(self, named: Named) -> Named:
        """Cells of pictures, parted by where the agents are; embedded in their positions."""
        areas = np.floor(self.positions * self._areas).astype(np.int16)
        names = [name + area.tobytes() for name, area in zip(named.names, areas, strict=True)]
        return Named(names, self.positions.copy())

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that lasts, to be saved and written to."""
        return {
            "positions": self.positions,
            "unseen": self.unseen,
            "cut": self.cut,
            "lost": self.lost,
            "pictures": self.pictures,
        }
