"""Random Disco Maze: a new maze each episode, its walls blinking in colours that mean nothing.

Source: Never Give Up (arXiv 2002.06038), section 4.1. What the paper leaves open is decided here,
see `DiscoMaze`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ngu_envs.checks import require_bool, require_integer
from ngu_envs.maze_generation import MazePool
from ngu_envs.vectorized import State, generators_of
from ngu_envs.walking import WalkingEnv

COLOURS = np.array(
    [[230, 40, 40], [40, 200, 40], [50, 80, 230], [230, 200, 30], [200, 50, 210]], np.uint8
)
# Four cells are coloured by one draw: a row of this table holds the digits of its number in base 5.
_CELLS_PER_DRAW = 4
_DRAWS = len(COLOURS) ** _CELLS_PER_DRAW


def _colour_tables() -> np.ndarray:
    """For each channel and draw, the bytes of four cells read as one number; uint32 [3, 625]."""
    powers = len(COLOURS) ** np.arange(_CELLS_PER_DRAW)
    digits = np.arange(_DRAWS)[:, None] // powers % len(COLOURS)
    return np.ascontiguousarray(COLOURS[digits].transpose(2, 0, 1)).view(np.uint32)[:, :, 0]


@dataclass(frozen=True)
class DiscoMazeConfig:
    """Which maze."""

    size: int = 21
    """Rows and columns, border included; odd."""
    max_steps: int | None = None
    """Steps after which an episode is truncated; None is five times the free cells (995 at size
    21), where a depth-first walk over the whole maze takes less than two times."""
    colour_noise: bool = True
    """Whether each wall takes a new colour at each step (the paper) or keeps that of the episode's
    beginning."""

    def __post_init__(self):
        if require_integer("size", self.size, minimum=5) % 2 == 0:
            raise ValueError(f"size must be odd, got {self.size}")
        if self.max_steps is not None:
            require_integer("max_steps", self.max_steps, minimum=1)
        require_bool("colour_noise", self.colour_noise)


class DiscoMaze(WalkingEnv):
    """The paper's maze: 4 actions, touching a wall terminates the episode, no reward at all.

    Observation: uint8 [3, size, size], free cells black, the agent white, each wall in one of five
    colours drawn anew at each step. `info["coverage"]` is the paper's metric.

    Decided here: mazes come from a depth-first backtracker (`maze_generation`); the agent starts in
    the top left room (row 1, column 1), where the backtracker started too; an agent that touches a
    wall is shown on it, or the last step would tell inverse dynamics nothing of the action but
    which walls stand around, and the embedding could not ignore them; `DiscoMazeConfig.max_steps`
    truncates.

    Args:
        num_envs: Number of environments.
        seed: Decides the mazes and the colours.
        config: Which maze.
    """

    def __init__(self, num_envs: int, seed: int, config: DiscoMazeConfig | None = None):
        self.config = config or DiscoMazeConfig()
        rooms = ((self.config.size - 1) // 2) ** 2
        free_cells = 2 * rooms - 1
        super().__init__(
            num_envs,
            seed,
            size=self.config.size,
            free_cells=free_cells,
            max_steps=self.config.max_steps or 5 * free_cells,
            ends_at_wall=True,
        )
        cells = self.config.size**2
        draws = -(-cells // _CELLS_PER_DRAW)
        self._tables = _colour_tables()
        self._colours = np.zeros((3, self.num_envs, draws), np.uint32)
        self._mazes = MazePool(self.config.size, generators_of(self.initial_seed, 2)[1])

    def _reseed(self, seed: int) -> None:
        self._generator, maze_generator = generators_of(seed, 2)
        self._mazes = MazePool(self.config.size, maze_generator)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {**super()._arrays(), "colours": self._colours.swapaxes(0, 1)}

    def _new_walls(self, count: int) -> np.ndarray:
        return self._mazes.take(count).reshape(count, -1)

    def _begin(self, where: np.ndarray) -> None:
        super()._begin(where)
        if not self.config.colour_noise:
            chosen = np.flatnonzero(where)
            self._colours[:, chosen] = self._draw_colours(len(chosen))

    def _draw_colours(self, count: int) -> np.ndarray:
        """Colours of all cells of `count` mazes, four to a number, uint32 [3, count, draws]."""
        shape = (count, self._colours.shape[2])
        draws = self._generator.integers(0, _DRAWS, size=shape, dtype=np.uint16)
        return np.stack([table.take(draws) for table in self._tables])

    def _paint(self) -> np.ndarray:
        if self.config.colour_noise:
            self._colours[...] = self._draw_colours(self.num_envs)
        colours = self._colours.view(np.uint8)[:, :, : self._walls.shape[1]]
        pictures = np.empty((self.num_envs, 3, self._walls.shape[1]), np.uint8)
        for channel in range(3):
            # Walls are 1 and free cells 0, so this leaves free cells black.
            np.multiply(colours[channel], self._walls, out=pictures[:, channel])
        return pictures

    def state_dict(self) -> State:
        """Everything that the next steps depend on; the store of mazes as what draws it again."""
        return {**super().state_dict(), "mazes": self._mazes.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Goes on where `state_dict` was taken; errors as in `VectorizedEnv`."""
        super().load_state_dict(state)
        self._mazes.load_state_dict(state["mazes"])
