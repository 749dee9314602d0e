"""Random perfect mazes, many at a time: a depth-first backtracker over arrays of mazes.

A maze of odd size S has rooms at the cells of odd row and odd column, walls on its border, and
between neighbouring rooms a cell that is open or wall. The backtracker starts in the top left room,
goes on to a random unvisited neighbour, opens the wall on the way, and goes back along its path
where there is none: the open cells form a tree, so one path joins any two of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8

# The least common multiple of 1, 2, 3, 4: draws below it choose evenly among that many neighbours.
_DRAWS = 12


def _choices(steps: np.ndarray) -> np.ndarray:
    """Table [16 * 12]: the step to take for a set of visited neighbours and a draw, 0 for none."""
    table = np.zeros((16, _DRAWS), np.int64)
    for visited in range(16):
        unvisited = [direction for direction in range(4) if not visited >> direction & 1]
        for draw in range(_DRAWS):
            if unvisited:
                table[visited, draw] = steps[unvisited[draw % len(unvisited)]]
    return table.ravel()


def random_mazes(
    count: int, size: int, generator: np.random.Generator
) -> UInt8[np.ndarray, "{count} {size} {size}"]:
    """Draws perfect mazes.

    Args:
        count: How many.
        size: Rows and columns, odd and at least 5.
        generator: Where the draws come from.

    Returns:
        1 for a wall, 0 for a free cell; ((size - 1) / 2)^2 * 2 - 1 cells of each maze are free.
    """
    rooms = (size - 1) // 2
    width = rooms + 2  # a border of rooms that count as visited
    steps = np.array([-1, 1, -width, width])
    choices = _choices(steps)

    visited = np.ones((count, width, width), np.uint8)
    visited[:, 1:-1, 1:-1] = 0
    visited = visited.ravel()
    first = np.arange(count) * width * width  # a border room of each maze, used as a dustbin
    room = first + width + 1
    visited[room] = 1
    parent = np.zeros(count * width * width, np.int64)
    parent[room] = room
    neighbours = np.empty((count, 4), np.int64)
    bits = np.empty((count, 4), np.uint8)
    for _ in range(2 * (rooms * rooms - 1)):
        np.add(room[:, None], steps, out=neighbours)
        visited.take(neighbours, out=bits, mode="clip")
        # Four bytes of 0 or 1, read as one number, become its upper four bits.
        visited_set = (bits.view("<u4").ravel() * np.uint32(0x10204080)) >> np.uint32(28)
        draws = generator.integers(0, _DRAWS, size=count, dtype=np.uint8)
        step = choices.take(visited_set * np.uint32(_DRAWS) + draws)
        onward = step != 0
        next_room = np.where(onward, room + step, parent.take(room))
        parent[np.where(onward, next_room, first)] = room
        visited[next_room] = 1
        room = next_room

    walls = np.ones((count, size, size), np.uint8)
    walls[:, 1::2, 1::2] = 0
    cells = np.arange(count * width * width)
    to_parent = (parent - cells).reshape(count, width, width)[:, 1:-1, 1:-1]
    opened = walls[:, 1:-1, 1:-1]
    # The wall right of a room is open if either of the two rooms is the other one's parent.
    opened[:, ::2, 1::2] = ~((to_parent[:, :, :-1] == 1) | (to_parent[:, :, 1:] == -1))
    opened[:, 1::2, ::2] = ~((to_parent[:, :-1] == width) | (to_parent[:, 1:] == -width))
    return walls


class MazePool:
    """A store of mazes that are drawn in large batches, which is many times faster than one by one.

    Args:
        size: Rows and columns of a maze, odd and at least 5.
        generator: Where the draws come from; nothing else may draw from it.
        batch: How many mazes are drawn at a time.
    """

    def __init__(self, size: int, generator: np.random.Generator, batch: int = 4096):
        self.size = size
        self.batch = batch
        self._generator = generator
        self._empty()

    def _empty(self) -> None:
        self._state_before = self._generator.bit_generator.state
        self._mazes = np.empty((0, self.size, self.size), np.uint8)
        self._used = 0

    def _fill(self) -> None:
        self._state_before = self._generator.bit_generator.state
        self._mazes = random_mazes(self.batch, self.size, self._generator)
        self._used = 0

    def take(self, count: int) -> UInt8[np.ndarray, "{count} {self.size} {self.size}"]:
        """The next `count` mazes, 1 for a wall, 0 for a free cell."""
        parts = []
        missing = count
        while missing > len(self._mazes) - self._used:
            parts.append(self._mazes[self._used :])
            missing -= len(parts[-1])
            self._fill()
        parts.append(self._mazes[self._used : self._used + missing])
        self._used += missing
        return np.concatenate(parts)

    def state_dict(self) -> dict[str, Any]:
        """The generator before the present batch, which gives that batch again, and the place."""
        return {"generator": self._state_before, "used": self._used}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""
        self._generator.bit_generator.state = state["generator"]
        self._empty()
        if state["used"]:
            self._fill()
            self._used = state["used"]
