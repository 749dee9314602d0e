import gymnasium
import numpy as np
import pytest

from ngu_agents.held_actions import HeldActions

CAR = gymnasium.spaces.Box(np.array([-1, 0, 0.5], np.float32), np.ones(3, np.float32))


def rows_of(space, count=2000, **settings):
    actions = HeldActions(space, 3, seed=1, **settings)
    rows = np.stack([actions() for _ in range(count)])
    assert all(space.contains(action) for action in rows[::50].reshape(-1, *space.shape))
    return rows


@pytest.mark.parametrize("repeat_probability", [0.0, 0.9])
def test_actions_are_held(repeat_probability):
    rows = rows_of(gymnasium.spaces.Discrete(4, start=2), repeat_probability=repeat_probability)
    assert set(rows.ravel().tolist()) == {2, 3, 4, 5}
    same = (rows[1:] == rows[:-1]).mean()
    assert same == pytest.approx(repeat_probability + (1 - repeat_probability) / 4, abs=0.02)


def test_half_of_the_numbers_rest_where_they_can():
    rows = rows_of(CAR, repeat_probability=0.0)
    np.testing.assert_allclose((rows == 0).mean((0, 1)), [0.5, 0.5, 0], atol=0.03)
    assert rows[..., 2].min() >= 0.5
    np.testing.assert_allclose(rows[..., 1][rows[..., 1] > 0].mean(), 0.5, atol=0.03)


def test_the_same_seed_draws_the_same():
    np.testing.assert_array_equal(rows_of(CAR, 50), rows_of(CAR, 50))
    several = gymnasium.spaces.MultiDiscrete([3, 2])
    assert rows_of(several, 50).shape == (50, 3, 2)
