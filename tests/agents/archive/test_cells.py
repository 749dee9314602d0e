import gymnasium as gym
import numpy as np
import pytest

from ngu_agents.archive.cells import DownscaledCells, area_averages

EVERYWHERE = np.ones(1, dtype=bool)


def pictures(*shape):
    return gym.spaces.Box(0, 255, shape, np.uint8)


def test_parts_that_cut_through_pixels():
    expected = [[2 / 3, 1 / 3, 0.0], [0.0, 1 / 3, 2 / 3]]
    np.testing.assert_allclose(area_averages(3, 2), expected, rtol=1e-6)


def test_a_cell_is_its_averages_rounded_down():
    cells = DownscaledCells(pictures(1, 40, 40), width=2, height=1, levels=8)
    picture = np.zeros((1, 1, 40, 40), np.uint8)
    picture[..., :20] = 128  # half of the bound: shade 4 of 8
    picture[..., 20:] = 127
    names, embeddings = cells(picture, EVERYWHERE)
    assert names == [bytes([4, 3])]
    np.testing.assert_allclose(embeddings, [[128 / 255, 127 / 255]], rtol=1e-5)


@pytest.mark.parametrize("shade", range(0, 256, 5))
def test_equal_shades_are_not_torn_by_rounding(shade):
    cells = DownscaledCells(pictures(1, 84, 84), width=11, height=8, levels=8)
    ((name,), _) = cells(np.full((1, 1, 84, 84), shade, np.uint8), EVERYWHERE)
    assert set(name) == {min(7, int(shade / 255 * 8 + 1e-3))}


def test_the_last_channel_is_read():
    generator = np.random.default_rng(0)
    stack = generator.integers(256, size=(3, 4, 84, 84), dtype=np.uint8)
    everywhere = np.ones(3, bool)
    settings = {"width": 11, "height": 8, "levels": 8}
    single = DownscaledCells(pictures(1, 84, 84), **settings)(stack[:, -1:], everywhere).names
    stacked = DownscaledCells(pictures(4, 84, 84), **settings)
    assert stacked(stack, everywhere).names == single
    last = DownscaledCells(pictures(84, 84, 4), **settings)
    assert last(np.moveaxis(stack, 1, -1), everywhere).names == single
    flat = DownscaledCells(pictures(84, 84), **settings)
    assert flat(stack[:, -1], everywhere).names == single


def test_small_grids_keep_every_place():
    cells = DownscaledCells(gym.spaces.Box(0, 1, (1, 5, 5), np.uint8), width=11, height=8, levels=8)
    places = np.eye(25, dtype=np.uint8).reshape(25, 1, 5, 5)
    assert len(set(cells(places, np.ones(25, bool)).names)) == 25


def test_numbers_lie_between_their_bounds():
    low, high = np.array([0, -np.inf, -3e38], np.float32), np.array([8, np.inf, 3e38], np.float32)
    space = gym.spaces.Box(low, high, dtype=np.float32)
    cells = DownscaledCells(space, width=2, height=2, levels=4)
    vectors = np.array([[0, -9, 0], [3.9, -0.5, 1], [8, 1.1, 9]], np.float32)
    names, embeddings = cells(vectors, np.ones(3, bool))
    assert names == [bytes([0, 0, 2]), bytes([1, 1, 3]), bytes([3, 3, 3])]
    np.testing.assert_allclose(embeddings[0], [0.0, 0.05, 0.5], atol=1e-6)


def test_discrete_observations_are_refused():
    with pytest.raises(TypeError, match="must be images, grids or vectors, got Discrete"):
        DownscaledCells(gym.spaces.Discrete(4), width=2, height=2, levels=2)
