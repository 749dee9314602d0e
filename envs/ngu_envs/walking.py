"""What the mazes share: an agent that walks up, down, left, right, and the cells it has visited."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ngu_envs.vectorized import VectorizedEnv

FREE_COLOUR = 0
AGENT_COLOUR = 255


class WalkingEnv(VectorizedEnv):
    """An agent on a grid of walls and free cells; info["coverage"] is what it has visited.

    Actions: 0 up, 1 down, 2 left, 3 right. A step into a wall leaves the agent where it is, or ends
    the episode with the agent on the wall, so that what it did can be seen.
    `info["coverage"]`, float32 [E]: distinct free cells visited in this episode, the first one
    included, over all free cells. `info["row"]` and `info["column"]`, int64 [E]: where the agent
    stands. A subclass gives `_new_walls` and `_paint`.

    Args:
        num_envs: Number of environments.
        seed: See `RestorableVectorEnv`.
        size: Rows and columns, border included.
        free_cells: How many cells of each grid are free.
        max_steps: Longest episode, in steps.
        ends_at_wall: Whether touching a wall terminates the episode.
    """

    def __init__(
        self,
        num_envs: int,
        seed: int,
        *,
        size: int,
        free_cells: int,
        max_steps: int,
        ends_at_wall: bool,
    ):
        space = gymnasium.spaces.Box(0, 255, (3, size, size), np.uint8)
        actions = gymnasium.spaces.Discrete(4)
        super().__init__(num_envs, seed, space, actions, "coverage", max_steps)
        self.size = size
        self.free_cells = free_cells
        self.ends_at_wall = ends_at_wall
        self._walls = np.ones((self.num_envs, size * size), np.uint8)
        self._visited = np.zeros((self.num_envs, size * size), bool)
        self._visited_count = np.zeros(self.num_envs, np.int64)
        self._position = np.full(self.num_envs, size + 1)
        self._moves = np.array([-size, size, -1, 1])
        self._everyone = np.arange(self.num_envs)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            **super()._arrays(),
            "walls": self._walls,
            "visited": self._visited,
            "visited_count": self._visited_count,
            "position": self._position,
        }

    def _new_walls(self, count: int) -> np.ndarray:
        """Walls of the grids of `count` new episodes, uint8 [count, size * size], 1 for a wall."""
        raise NotImplementedError

    def _paint(self) -> np.ndarray:
        """New pictures without the agent, uint8 [E, 3, size * size]."""
        raise NotImplementedError

    def _begin(self, where: np.ndarray) -> None:
        chosen = np.flatnonzero(where)
        self._walls[chosen] = self._new_walls(len(chosen))
        self._position[chosen] = self.size + 1  # the top left room: row 1, column 1
        self._visited[chosen] = False
        self._visited[chosen, self.size + 1] = True
        self._visited_count[chosen] = 1

    def _advance(self, actions: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        target = self._position + where * self._moves[actions]
        hits = where & (self._walls[self._everyone, target] == 1)
        moves = where if self.ends_at_wall else where & ~hits
        self._position[...] = np.where(moves, target, self._position)
        # A wall is no cell that counts, be it touched now or shown until the next episode begins.
        here = self._everyone, self._position
        fresh = ~(self._visited[here] | (self._walls[here] == 1))
        self._visited_count += fresh
        self._visited[here] |= fresh
        terminated = hits if self.ends_at_wall else np.zeros(self.num_envs, bool)
        return np.zeros(self.num_envs, np.float32), terminated

    def _observe(self) -> np.ndarray:
        pictures = self._paint()
        pictures[self._everyone, :, self._position] = AGENT_COLOUR
        return pictures.reshape(self.num_envs, 3, self.size, self.size)

    def _info(self) -> dict[str, Any]:
        row, column = np.divmod(self._position, self.size)
        return {
            "coverage": (self._visited_count / self.free_cells).astype(np.float32),
            "row": row,
            "column": column,
        }
