import numpy as np
import pytest

from ngu_envs import AchievementCounter, crafter_score


def test_score_by_hand():
    # ln 1, ln 2, ln 4 are 0, 1, 2 times ln 2: their mean is ln 2.
    assert crafter_score(np.array([0.0, 1.0, 3.0])) == pytest.approx(1.0)
    assert crafter_score(np.full(22, 100.0)) == pytest.approx(100.0)
    assert crafter_score(np.zeros(22)) == 0.0
    # One of 22 always unlocked: the 22nd root of 101, less 1.
    assert crafter_score(100.0 * np.eye(22)[0]) == pytest.approx(101 ** (1 / 22) - 1)


def test_a_counter_goes_on_where_it_was():
    counter = AchievementCounter(3)
    assert counter.score() is None
    counter.update(np.array([[True, False, False], [True, True, False]]))
    state = counter.state_dict()
    counter.update(np.zeros((0, 3), bool))
    assert counter.score() == pytest.approx((101 * 51) ** (1 / 3) - 1)
    counter.update(np.array([[False, False, False]]))
    loaded = AchievementCounter(3)
    loaded.load_state_dict(state)
    assert loaded.score() == pytest.approx((101 * 51) ** (1 / 3) - 1)
    assert counter.episodes == 3
    assert loaded.episodes == 2
