import numpy as np
import pytest

from ngu_envs.maze_generation import MazePool, random_mazes


def reachable(walls):
    """Cells that a walk from the top left room reaches, by a plain search."""
    found = {(1, 1)}
    frontier = [(1, 1)]
    while frontier:
        row, column = frontier.pop()
        for cell in [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]:
            if cell not in found and not walls[cell]:
                found.add(cell)
                frontier.append(cell)
    return found


@pytest.mark.parametrize("size", [5, 7, 21])
def test_mazes_are_perfect(size):
    mazes = random_mazes(30, size, np.random.default_rng(0))
    rooms = ((size - 1) // 2) ** 2
    for walls in mazes:
        free = {(int(row), int(column)) for row, column in np.argwhere(walls == 0)}
        # Connected, with one passage fewer than rooms: a tree, so no loop either.
        assert reachable(walls) == free
        assert len(free) == 2 * rooms - 1
        assert walls[[0, -1]].all()
        assert walls[:, [0, -1]].all()
        assert not walls[1::2, 1::2].any()
        assert walls[::2, ::2].all()
    assert len(np.unique(mazes, axis=0)) > 1


def test_smallest_mazes_are_drawn_evenly():
    """Of four rooms in a ring one passage is closed, never one at the room where it starts."""
    mazes = random_mazes(4000, 5, np.random.default_rng(1))
    first_right = (mazes[:, 1, 2] == 0).mean()
    first_down = (mazes[:, 2, 1] == 0).mean()
    # The walk goes round from the first room: one of its two passages stays closed.
    assert first_right + first_down == 1
    assert abs(first_right - 0.5) < 0.03


def test_a_pool_gives_what_the_generator_draws():
    pool = MazePool(7, np.random.default_rng(5), batch=8)
    generator = np.random.default_rng(5)
    drawn = np.concatenate([random_mazes(8, 7, generator) for _ in range(3)])
    taken = np.concatenate([pool.take(count) for count in (3, 0, 5, 9, 1)])
    assert np.array_equal(taken, drawn[:18])


@pytest.mark.parametrize("taken", [0, 3, 8, 11])
def test_a_loaded_pool_goes_on(taken):
    pool = MazePool(7, np.random.default_rng(5), batch=8)
    pool.take(taken)
    state = pool.state_dict()
    expected = pool.take(20)
    loaded = MazePool(7, np.random.default_rng(6), batch=8)
    loaded.load_state_dict(state)
    assert np.array_equal(loaded.take(20), expected)
