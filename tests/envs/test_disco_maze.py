import numpy as np
import pytest

from ngu_envs import make
from ngu_envs.disco_maze import COLOURS

UP, DOWN, LEFT, RIGHT = range(4)
MOVES = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}
WHITE = np.array([255, 255, 255])


def read(picture):
    """Walls and the agent's cell, from a picture [3, S, S] alone."""
    agent = np.argwhere((picture == 255).all(0))
    assert len(agent) == 1
    walls = picture.any(0)
    walls[tuple(agent[0])] = False
    return walls, tuple(int(i) for i in agent[0])


def depth_first_walk(walls, cell):
    """Actions that visit every free cell and come back."""
    actions, seen = [], {cell}

    def visit(row, column):
        for action, (down, right) in MOVES.items():
            target = (row + down, column + right)
            if walls[target] or target in seen:
                continue
            seen.add(target)
            actions.append(action)
            visit(*target)
            actions.append(action ^ 1)

    visit(*cell)
    return actions, seen


def test_a_walk_over_the_whole_maze_covers_it():
    envs = make("disco-maze", 3, 0)
    observation, info = envs.reset()
    walls, start = read(observation[0])
    assert start == (1, 1)
    assert (~walls).sum() == 199
    assert info["coverage"] == pytest.approx(1 / 199)
    actions, seen = depth_first_walk(walls, start)
    assert len(actions) == 2 * 198
    visited = {start}
    for action in actions:
        observation, reward, terminated, truncated, info = envs.step(np.full(3, action))
        assert reward[0] == 0
        assert not terminated[0]
        assert not truncated[0]
        walls_now, cell = read(observation[0])
        assert np.array_equal(walls_now, walls)
        visited.add(cell)
        assert info["coverage"][0] == pytest.approx(len(visited) / 199)
    assert visited == seen
    assert info["coverage"][0] == 1.0
    assert info["coverage"].dtype == np.float32


def test_touching_a_wall_ends_the_episode_and_the_next_maze_is_new():
    envs = make("disco-maze", 2, 0)
    first, _ = envs.reset()
    observation, reward, terminated, truncated, info = envs.step(np.array([UP, UP]))
    assert terminated.all()
    assert not truncated.any()
    assert (reward == 0).all()
    # The agent stands on the wall it touched, which does not count as visited.
    walls, cell = read(observation[0])
    assert cell == (0, 1)
    walls[cell] = True
    assert np.array_equal(walls, read(first[0])[0])
    assert info["coverage"] == pytest.approx(1 / 199)
    observation, _, terminated, _, info = envs.step(np.array([UP, UP]))
    assert not terminated.any()
    walls, cell = read(observation[0])
    assert cell == (1, 1)
    assert not np.array_equal(walls, read(first[0])[0])
    assert info["coverage"] == pytest.approx(1 / 199)


def test_what_is_asked_for_at_a_reset_step_is_ignored():
    """On each side of the maze, where a further step would lead out of it."""
    envs = make("disco-maze", 4, 0)
    envs.reset()
    walls = np.array([(0, 1), (20, 19), (1, 0), (19, 20)])
    inside = walls + np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])
    envs._position[:] = inside[:, 0] * 21 + inside[:, 1]
    outwards = np.array([UP, DOWN, LEFT, RIGHT])
    observation, _, terminated, _, _ = envs.step(outwards)
    assert terminated.all()
    assert [read(picture)[1] for picture in observation] == [tuple(wall) for wall in walls.tolist()]
    observation, _, terminated, _, info = envs.step(outwards)
    assert not terminated.any()
    assert [read(picture)[1] for picture in observation] == [(1, 1)] * 4
    assert info["coverage"] == pytest.approx(1 / 199)


def test_only_walls_change_colour():
    envs = make("disco-maze", 16, 0)
    observations = [envs.reset()[0]]
    # Down or right, whichever is free in each maze, then back and forth: nobody dies.
    free_down = np.array([not read(picture)[0][2, 1] for picture in observations[0]])
    onward = np.where(free_down, DOWN, RIGHT)
    for step in range(40):
        observation, _, terminated, _, _ = envs.step(onward if step % 2 == 0 else onward ^ 1)
        assert not terminated.any()
        observations.append(observation)
    run = np.stack(observations)  # [T, E, 3, S, S]
    walls = np.stack([read(picture)[0] for picture in observations[0]])
    pixels = run.transpose(0, 1, 3, 4, 2)
    wall_pixels = pixels[:, walls]
    known = {tuple(colour) for colour in COLOURS.tolist()}
    assert {tuple(colour) for colour in np.unique(wall_pixels.reshape(-1, 3), axis=0)} == known
    shares = [(wall_pixels == colour).all(-1).mean() for colour in COLOURS]
    assert np.allclose(shares, 0.2, atol=0.01)
    # A wall keeps its colour by chance only: one time in five.
    kept = (wall_pixels[1:] == wall_pixels[:-1]).all(-1).mean()
    assert abs(kept - 0.2) < 0.01
    free_pixels = pixels[:, ~walls]
    assert {tuple(c) for c in np.unique(free_pixels.reshape(-1, 3), axis=0)} == {
        (0, 0, 0),
        (255, 255, 255),
    }


def test_colours_stay_for_the_episode_without_noise():
    envs = make("disco-maze", 4, 0, colour_noise=False)
    first, _ = envs.reset()
    ended, _, terminated, _, _ = envs.step(np.full(4, UP))
    assert terminated.all()
    changed = (ended != first).any(1)
    assert np.argwhere(changed[0]).tolist() == [[0, 1], [1, 1]]
    assert (changed == changed[0]).all()
    second, _, _, _, _ = envs.step(np.full(4, UP))
    assert not np.array_equal(second, first)


def test_time_limit():
    envs = make("disco-maze", 1, 0, max_steps=4)
    walls, _ = read(envs.reset()[0][0])
    onward = DOWN if not walls[2, 1] else RIGHT
    ends = []
    for step in range(10):
        action = onward if step % 2 == 0 else onward ^ 1
        _, _, terminated, truncated, _ = envs.step(np.array([action]))
        ends.append((bool(terminated[0]), bool(truncated[0])))
        if truncated[0]:
            break
    assert ends == [(False, False)] * 3 + [(False, True)]


def test_random_actions_cover_what_was_measured_before():
    envs = make("disco-maze", 64, 0)
    envs.reset()
    generator = np.random.default_rng(0)
    coverage = []
    for _ in range(200):
        _, _, terminated, truncated, info = envs.step(generator.integers(0, 4, size=64))
        coverage.extend(info["coverage"][terminated | truncated])
    assert len(coverage) > 4000
    assert abs(np.mean(coverage) - 0.0067) < 0.0003
