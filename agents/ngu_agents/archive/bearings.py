"""On which screen each agent is, by dead reckoning.

Who leaves a picture at its right edge comes in at the left edge of the next. So a place on the
other side of the picture, soon after the last one, is one on the next screen: places are unwrapped
as a phase is. Ecoffet et al. (arXiv 2004.12919) read the room and the agent's place in it from the
console's memory ("domain knowledge"); here both come from what the agent's actions change.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int64

from ngu_agents.archive.cells import Named
from ngu_agents.archive.trials import Controlled


class Bearings:
    """Positions of E agents since the beginning, in screens.

    Args:
        num_envs: E.
        areas: rows and columns of areas of a screen; positions in the same one are the same cell.

    Attributes:
        positions: rows and columns [E, 2]; the whole parts are those of the screen, whose
            beginning has 0 and 0, the fractions are the place on it.
    """

    def __init__(self, num_envs: int, *, areas: int) -> None:
        self.positions = np.full((num_envs, 2), 0.5, np.float32)
        self._areas = areas

    def follow(self, controlled: Controlled) -> None:
        """Go on from the last positions to where the agents are seen now."""
        places, seen = controlled
        screens = np.round(self.positions - places)
        self.positions = np.where(seen[:, None], places + screens, self.positions)

    def go_back(self, where: Bool[np.ndarray, " E"], positions: Float32[np.ndarray, "K 2"]) -> None:
        """The K agents in ``where`` have been put to these positions."""
        self.positions[where] = positions

    def placed(self, named: Named) -> Named:
        """Cells of pictures, parted by where the agents are; positions end their embeddings."""
        areas = np.floor(self.positions * self._areas).astype(np.int16)
        names = [name + area.tobytes() for name, area in zip(named.names, areas, strict=True)]
        return Named(names, np.concatenate((named.embeddings, self.positions), axis=1))


def on_screens(
    positions: Float32[np.ndarray, "N 2"],
) -> tuple[Float32[np.ndarray, "N 2"], Int64[np.ndarray, " N"]]:
    """Places on the screen in shares of it, and a number of the screen."""
    screens = np.floor(positions)
    return positions - screens, screens.astype(np.int64) @ np.array([1 << 32, 1])
