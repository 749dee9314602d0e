import math

import numpy as np
import pytest

from ngu.analysis.estimate import NotMeasured
from ngu.analysis.gaussian_information import (
    dual_total_correlation,
    gaussian_information,
    total_correlation,
)

RHO = 0.6


def test_two_dimensions_share_their_mutual_information():
    covariance = np.array([[4.0, 2 * RHO], [2 * RHO, 1.0]])
    bits = -math.log2(1 - RHO**2) / 2
    assert float(total_correlation(covariance)) == pytest.approx(bits)
    assert float(dual_total_correlation(covariance)) == pytest.approx(bits)


def test_three_dimensions_of_one_correlation_by_hand():
    # |R| = (1 - r)^2 (1 + 2 r); (R^-1)_ii = (1 - r^2) / |R|.
    covariance = np.full((3, 3), RHO) + (1 - RHO) * np.eye(3)
    determinant = (1 - RHO) ** 2 * (1 + 2 * RHO)
    total = -math.log2(determinant) / 2
    dual = (math.log2(determinant) + 3 * math.log2((1 - RHO**2) / determinant)) / 2
    assert float(total_correlation(covariance)) == pytest.approx(total)
    assert float(dual_total_correlation(covariance)) == pytest.approx(dual)
    assert total > dual  # one cause of all three: they repeat each other


def test_a_sum_is_told_together():
    # x, y and x + y with a little noise: any two are nearly independent of each other.
    mixing = np.array([[1, 0, 1], [0, 1, 1]], dtype=np.float64)
    covariance = mixing.T @ mixing + 0.1 * np.eye(3)
    assert total_correlation(covariance) < dual_total_correlation(covariance)


def test_a_batch_is_measured_one_by_one():
    generator = np.random.default_rng(0)
    states = generator.normal(size=(3, 20, 5))
    covariance = states.swapaxes(1, 2) @ states
    for measure in (total_correlation, dual_total_correlation):
        each = [float(measure(one)) for one in covariance]
        assert measure(covariance).tolist() == pytest.approx(each)


def test_known_covariance_is_recovered_from_states():
    generator = np.random.default_rng(1)
    mixing = generator.normal(size=(6, 6))
    states = (generator.normal(size=(50_000, 6)) @ mixing).astype(np.float32)
    covariance = mixing.T @ mixing
    got = gaussian_information(states, resolution=1e-3)
    for estimate, measure in (
        (got.total_correlation_bits, total_correlation),
        (got.dual_total_correlation_bits, dual_total_correlation),
    ):
        assert estimate.value == pytest.approx(float(measure(covariance)), rel=0.01)
        assert estimate.low < float(measure(covariance)) < estimate.high


def test_independent_dimensions_share_nothing():
    states = np.random.default_rng(0).normal(size=(2_000, 8)).astype(np.float32)
    got = gaussian_information(states)
    assert got.total_correlation_bits.low < 1e-3
    assert got.total_correlation_bits.value < 0.03


def test_a_duplicate_shares_what_the_resolution_leaves_of_it():
    states = np.random.default_rng(0).normal(size=(5_000, 4)).astype(np.float32)
    states[:, 3] = states[:, 0]
    step = 1 / 16
    noise = step**2 / 12
    bits = -math.log2(1 - 1 / (1 + noise) ** 2) / 2
    got = gaussian_information(states, resolution=step)
    assert got.total_correlation_bits.value == pytest.approx(bits, abs=0.05)
    assert float(total_correlation(np.ones((2, 2)))) == math.inf


@pytest.mark.parametrize("resolution", [0.0, -1.0, math.nan, math.inf])
def test_bits_need_a_resolution(resolution):
    with pytest.raises(ValueError, match="resolution must be above 0 and finite, got"):
        gaussian_information(np.eye(4, dtype=np.float32), resolution=resolution)


def test_a_dead_dimension_changes_nothing():
    states = np.random.default_rng(0).normal(size=(1_000, 3)).astype(np.float32)
    states[:, 1] += states[:, 0]
    dead = np.concatenate([states, np.full((1_000, 1), 7, np.float32)], axis=1)
    for resolution in (1e-3, 1e-5):
        with_it, without = (gaussian_information(x, resolution=resolution) for x in (dead, states))
        got, want = with_it.total_correlation_bits, without.total_correlation_bits
        assert got.value == pytest.approx(want.value, abs=1e-5)


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (np.ones((1, 1), np.float32), "one dimension shares nothing"),
        (np.ones((1, 4), np.float32), "there is only one state"),
        (np.eye(4, dtype=np.float32), "4 states are too few for 4 dimensions, 16 are needed"),
        (np.full((16, 4), 0.1, np.float32), "all states are the same"),
    ],
)
def test_nothing_is_invented(states, reason):
    got = gaussian_information(states)
    assert got.total_correlation_bits == got.o_information_bits == NotMeasured(reason)
