import numpy as np
import pytest

from ngu_envs import make


def dive(envs, actions):
    """Return and observations of one episode of environment 0."""
    observation, _ = envs.reset()
    observations, total, ends = [observation[0, 0]], 0.0, []
    for action in actions:
        observation, reward, terminated, truncated, _ = envs.step(np.full(envs.num_envs, action))
        observations.append(observation[0, 0])
        total += float(reward[0])
        ends.append(bool(terminated[0]))
        assert not truncated.any()
    assert ends == [False] * (len(actions) - 1) + [True]
    return total, observations


@pytest.mark.parametrize("size", [2, 10, 50])
def test_always_right_finds_the_treasure(size):
    envs = make("deep-sea", 2, 0, size=size)
    right = envs.unwrapped.right_action
    total, observations = dive(envs, [right[i, i] for i in range(size)])
    assert total == pytest.approx(0.99)
    for i, observation in enumerate(observations[:-1]):
        assert observation[i, i] == 1
        assert observation.sum() == 1
    assert observations[-1].sum() == 0


def test_always_left_gets_nothing():
    envs = make("deep-sea", 1, 0)
    right = envs.unwrapped.right_action
    total, observations = dive(envs, [1 - right[i, 0] for i in range(10)])
    assert total == 0.0
    assert all(observation[i, 0] == 1 for i, observation in enumerate(observations[:-1]))


def test_one_wrong_move_misses_the_treasure():
    envs = make("deep-sea", 1, 0, size=4)
    right = envs.unwrapped.right_action
    # Left from column 0 stays there: three rights then reach column 3 below the last row.
    actions = [1 - right[0, 0], right[1, 0], right[2, 1], right[3, 2]]
    total, _ = dive(envs, actions)
    assert total == pytest.approx(-3 * 0.01 / 4)


def test_the_sea_does_not_depend_on_the_runs_seed():
    a, b, c = (make("deep-sea", 1, seed, mapping_seed=m) for seed, m in [(0, 1), (9, 1), (0, 2)])
    assert np.array_equal(a.unwrapped.right_action, b.unwrapped.right_action)
    assert not np.array_equal(a.unwrapped.right_action, c.unwrapped.right_action)
    assert set(a.unwrapped.right_action.ravel().tolist()) == {0, 1}
