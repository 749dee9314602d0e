"""Where each agent is, across screens, by dead reckoning.

Who leaves a picture at its right edge comes in at the left edge of the next. So an agent that is
seen far from where it was just now has gone the other way, to another screen. Ecoffet et al. (arXiv
2004.12919) read the room, and the agent's place in it, from the console's memory ("domain
knowledge"); here both come from what its actions change.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32

from ngu_agents.archive.cells import Named
from ngu_agents.archive.trials import Controlled

# Rows and columns of a screen, in shares of the picture: lines of score and borders are the rest.
_SCREEN = np.array([0.6, 0.8], np.float32)
# So far may an agent seem to have come at once, and so much further in a step.
_AT_ONCE, _IN_A_STEP = 0.1, np.array([1 / 80, 1 / 40], np.float32)


class Bearings:
    """Positions of E agents since the beginning, in screens.

    Args:
        num_envs: E.
        areas: rows and columns of areas of a screen; positions in the same one are the same cell.

    Attributes:
        positions: rows and columns [E, 2], the fractions of which are the place on the screen; the
            screen of the beginning has the whole parts 0 and 0.
        unseen: steps since each was there.
        lost: whose positions are not known any more, until they are put to another one.
    """

    def __init__(self, num_envs: int, *, areas: int) -> None:
        self.positions = np.full((num_envs, 2), 0.5, np.float32)
        self.unseen = np.zeros(num_envs, np.int64)
        self.lost = np.zeros(num_envs, dtype=bool)
        self._areas = areas

    def follow(self, controlled: Controlled) -> Bool[np.ndarray, " E"]:
        """Go on from the last positions to where the agents are seen now.

        Returns:
            Whose positions are known.
        """
        screens = np.floor(self.positions)
        jumps = controlled.places - (self.positions - screens)
        distances = abs(jumps)
        reach = _AT_ONCE + _IN_A_STEP * self.unseen[:, None]
        # Across the edge it is the rest of a screen.
        here, left = distances <= reach, distances >= np.maximum(_SCREEN - reach, _SCREEN / 2)
        # What can have come neither way was not the agent.
        seen = controlled.seen & (here | left).all(1)
        self.lost |= seen & (here & left).any(1)
        known = seen & ~self.lost
        screens -= np.where(left, np.sign(jumps), 0)
        self.positions[known] = (screens + controlled.places)[known]
        self.unseen[known] = 0
        return known

    def put(self, where: Bool[np.ndarray, " E"], positions: Float32[np.ndarray, "K 2"]) -> None:
        """The K agents in ``where`` stand at these positions."""
        self.positions[where] = positions
        self.unseen[where] = 0
        self.lost[where] = False

    def placed(self, named: Named) -> Named:
        """Cells of pictures, parted by where the agents are; embedded in their positions."""
        areas = np.floor(self.positions * self._areas).astype(np.int16)
        names = [name + area.tobytes() for name, area in zip(named.names, areas, strict=True)]
        return Named(names, self.positions.copy())
