import copy

import gymnasium
import numpy as np
import pytest

from ngu_agents.base import Agent, Step
from ngu_agents.random_agent import RandomAgent

DISCRETE = gymnasium.spaces.Discrete(3, start=1)
BOX = gymnasium.spaces.Box(-1, 1, (2,), np.float32)


def actions(agent: RandomAgent, count: int) -> np.ndarray:
    return np.stack([agent.act() for _ in range(count)])


def test_it_is_an_agent():
    assert isinstance(RandomAgent(DISCRETE, 2, seed=0), Agent)


def test_all_actions_are_drawn_alike():
    drawn = actions(RandomAgent(DISCRETE, 4, seed=0), 1500)
    assert drawn.shape == (1500, 4)
    counts = np.bincount(drawn.ravel(), minlength=4)
    assert counts[0] == 0
    # 6,000 draws: the standard deviation of each count is 37.
    np.testing.assert_allclose(counts[1:], 2000, atol=150)
    assert not (drawn[:, 0] == drawn[:, 1]).all()


@pytest.mark.parametrize("space", [DISCRETE, BOX, gymnasium.spaces.MultiDiscrete([2, 3])])
def test_actions_are_those_of_the_vector_environment(space):
    agent = RandomAgent(space, 3, seed=0)
    for row in actions(agent, 5):
        assert len(row) == 3
        assert all(space.contains(action) for action in row)


def test_the_seed_decides():
    rows = [actions(RandomAgent(DISCRETE, 2, seed=seed), 40) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert (rows[0] != rows[2]).any()


def test_a_loaded_agent_draws_on_where_the_saved_one_did(tmp_path):
    agent = RandomAgent(DISCRETE, 2, seed=0)
    actions(agent, 7)
    state = copy.deepcopy(agent.save(tmp_path))
    expected = actions(agent, 20)
    other = RandomAgent(DISCRETE, 2, seed=9)
    assert other.load(tmp_path, state)
    np.testing.assert_array_equal(actions(other, 20), expected)
    assert agent.files(state) == set()
    assert list(tmp_path.iterdir()) == []


def test_it_learns_nothing():
    agent = RandomAgent(DISCRETE, 2, seed=0)
    none = np.zeros(2, bool)
    agent.begin(np.zeros((2, 1)))
    assert agent.observe(Step(np.zeros((2, 1)), np.ones(2, np.float32), none, none)) == {}
    assert agent.learn() == agent.status() == {}
    agent.close()
