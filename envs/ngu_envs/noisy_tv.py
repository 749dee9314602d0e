"""Noisy TV: four rooms, and in the last one a picture that nobody can predict.

An agent that is paid for prediction error stays in front of the noise; an agent that is paid for
what it controls goes on. Source of the idea: Burda et al., Large-Scale Study of Curiosity-Driven
Learning (arXiv 1808.04355), section 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ngu_envs.checks import require_integer
from ngu_envs.walking import FREE_COLOUR, WalkingEnv

SIZE = 11
WALL_COLOUR = 128
SCREEN_COLOUR = 40


def four_rooms() -> np.ndarray:
    """Walls of the four rooms, uint8 [11, 11]: 1 for a wall, 0 for each of the 68 free cells."""
    walls = np.ones((SIZE, SIZE), np.uint8)
    walls[1:-1, 1:-1] = 0
    walls[5, :] = 1
    walls[:, 5] = 1
    for doorway in [(5, 2), (5, 8), (2, 5), (8, 5)]:
        walls[doorway] = 0
    return walls


@dataclass(frozen=True)
class NoisyTVConfig:
    """How long an episode lasts."""

    max_steps: int = 200
    """Steps after which an episode is truncated."""

    def __post_init__(self):
        require_integer("max_steps", self.max_steps, minimum=1)


class NoisyTV(WalkingEnv):
    """An 11 x 11 grid of four rooms; the outer wall of the bottom right room is a screen.

    The agent starts in the top left corner. While it stands in the opposite corner (row 9, column
    9), where a step down or right runs into the wall and so keeps it there, each pixel of the
    screen takes a random value at each step; otherwise the screen is dark. No reward, no terminal
    state, episodes are truncated at `max_steps`.

    Observation: uint8 [3, 11, 11], free cells black, walls grey, the agent white. Actions and
    `info["coverage"]` as in `WalkingEnv`.

    Args:
        num_envs: Number of environments.
        seed: Decides the noise.
        config: How long an episode lasts.
    """

    def __init__(self, num_envs: int, seed: int, config: NoisyTVConfig | None = None):
        self.config = config or NoisyTVConfig()
        layout = four_rooms()
        super().__init__(
            num_envs,
            seed,
            size=SIZE,
            free_cells=int((layout == 0).sum()),
            max_steps=self.config.max_steps,
            ends_at_wall=False,
        )
        self._layout = layout.ravel()
        screen = np.zeros((SIZE, SIZE), bool)
        screen[-1, 6:] = True
        screen[6:, -1] = True
        self.screen = screen
        self._screen_cells = np.flatnonzero(screen)
        picture = np.where(layout == 1, WALL_COLOUR, FREE_COLOUR)
        self._picture = np.where(screen, SCREEN_COLOUR, picture).astype(np.uint8).ravel()
        self.watching_cell = 9 * SIZE + 9

    def _new_walls(self, count: int) -> np.ndarray:
        return np.broadcast_to(self._layout, (count, SIZE * SIZE))

    def _paint(self) -> np.ndarray:
        pictures = np.empty((self.num_envs, 3, SIZE * SIZE), np.uint8)
        pictures[...] = self._picture
        watching = np.flatnonzero(self._position == self.watching_cell)
        if len(watching):
            shape = (len(watching), 3, len(self._screen_cells))
            noise = self._generator.integers(0, 256, size=shape, dtype=np.uint8)
            pictures[watching[:, None, None], np.arange(3)[:, None], self._screen_cells] = noise
        return pictures
