import math

import numpy as np
import pytest

from ngu.analysis.coding import redundancy
from ngu.analysis.coding.learning import LearningConfig
from ngu.analysis.estimate import NotMeasured

EPISODES = np.repeat(np.arange(60), 200)
SHORT = LearningConfig(context=30, transform=10, adapted=10)


def normal(rows, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def test_independent_dimensions_are_not_redundant():
    got = redundancy(normal(12_000, 6), EPISODES, learning_config=SHORT)
    assert got.redundancy.low <= 0 <= got.redundancy.high
    assert abs(got.redundancy.value) < 0.005
    # 1/2 log2(2 pi e) + 4 bits a dimension at a step of 1/16.
    assert got.bits_per_state.value == pytest.approx(6 * 6.047, rel=0.02)
    assert len(got.bits_per_dimension) == 6
    assert "episodes" in got.intervals


def test_duplicated_dimensions_are_found():
    states = normal(12_000, 4)
    got = redundancy(np.concatenate([states, states], axis=1), EPISODES, learning_config=SHORT)
    assert got.redundancy.value == pytest.approx(0.5, abs=0.01)
    assert got.redundancy.low < 0.5 < got.redundancy.high


def test_correlated_gaussians_save_their_total_correlation():
    correlation = 0.9 * np.ones((4, 4)) + 0.1 * np.eye(4)
    states = normal(12_000, 4) @ np.linalg.cholesky(correlation).T.astype(np.float32)
    got = redundancy(states, EPISODES, learning_config=SHORT)
    total_correlation = -0.5 * math.log2(np.linalg.det(correlation))
    independent = sum(estimate.value for estimate in got.bits_per_dimension)
    assert independent - got.bits_per_state.value == pytest.approx(total_correlation, rel=0.03)


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (np.zeros((0, 3), np.float32), "0 states of 3 dimensions are too few"),
        (np.zeros((1, 3), np.float32), "1 state of 3 dimensions are too few"),
        (normal(300, 200), "300 states of 200 dimensions are too few"),
        (np.ones((500, 3), np.float32), "all states are the same"),
    ],
)
def test_nothing_is_invented(states, reason):
    got = redundancy(states)
    assert isinstance(got.redundancy, NotMeasured)
    assert reason in got.redundancy.reason
    assert got.redundancy == got.bits_per_state == got.bits_per_dimension


def test_constant_dimensions_cost_nothing():
    states = normal(2_000, 4)
    states[:, 1] = 0.1
    got = redundancy(states, learning_config=SHORT)
    assert got.bits_per_dimension[1].value < 0.05
    assert got.redundancy.value == pytest.approx(0, abs=0.02)


def test_progress_is_told_from_nothing_to_all():
    told = []
    redundancy(normal(400, 2), learning_config=LearningConfig(3, 2, 2), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
