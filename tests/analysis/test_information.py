import math

import numpy as np
import pytest

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.information import entropy_bits, information
from ngu.analysis.neighbour_information import normal_scores, pair_terms
from ngu.analysis.resampling import make_groups
from ngu.analysis.resolution import dithered, spread


def correlated(rows, covariance, seed=0):
    normal = np.random.default_rng(seed).normal(size=(rows, len(covariance)))
    return (normal @ np.linalg.cholesky(covariance).T).astype(np.float32)


def crossed(rows, seed=0):
    """Two numbers without correlation that share 0.957 bits: y is x or -x, and noise."""
    generator = np.random.default_rng(seed)
    x, noise = generator.normal(size=(2, rows))
    y = 0.95 * generator.choice([-1, 1], size=rows) * x + math.sqrt(1 - 0.95**2) * noise
    return x, y


def test_entropy_of_equal_shares_is_the_number_of_bits():
    # Each step is many quantiser steps: 8, 2 and 1 values.
    states = np.stack([np.arange(4_096) % n for n in (8, 2, 1)], axis=1).astype(np.float32)
    got = entropy_bits(states)
    bias = np.array([7, 1, 0]) / (2 * 4_096 * math.log(2))
    assert got.bits.tolist() == pytest.approx((np.array([3, 1, 0]) + bias).tolist())
    assert got.total_bits.value == pytest.approx(4, abs=2e-3)


@pytest.mark.parametrize("rows", [2_000, 50_000])
@pytest.mark.parametrize("resolution", [1 / 4, 1 / 16])
def test_entropy_of_a_gaussian(rows, resolution):
    states = np.random.default_rng(0).normal(size=(rows, 2)).astype(np.float32)
    got = entropy_bits(states, resolution=resolution)
    bits = math.log2(math.sqrt(2 * math.pi * math.e) / resolution)
    assert got.bits.tolist() == pytest.approx([bits, bits], abs=0.03)
    assert (got.interval.low < got.bits).all()
    assert (got.interval.high > got.bits).all()


def test_entropy_of_what_cannot_be_told():
    assert entropy_bits(np.ones((1, 3), np.float32)) == NotMeasured("there is only one state")
    same = entropy_bits(np.full((90, 3), 0.1, np.float32))
    assert same.bits.tolist() == [0, 0, 0]


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9, 0.99])
def test_mutual_information_of_gaussian_pairs(rho):
    states = correlated(2_000, np.array([[1, rho], [rho, 1]])).astype(np.float64)
    bits = -math.log2(1 - rho**2) / 2
    assert pair_terms(states[:, 0], states[:, 1]).mean() == pytest.approx(bits, abs=0.06)


def test_mutual_information_without_correlation():
    assert pair_terms(*crossed(2_000)).mean() == pytest.approx(0.957, abs=0.06)


def test_mutual_information_equals_counting():
    x, y = np.random.default_rng(0).normal(size=(2, 60))
    y += x
    from scipy.special import digamma

    want = []
    for i in range(60):
        dx, dy = np.delete(np.abs(x - x[i]), i), np.delete(np.abs(y - y[i]), i)
        radius = np.sort(np.maximum(dx, dy))[3]
        want.append(
            digamma(4) + digamma(60) - sum(digamma((d < radius).sum() + 1) for d in (dx, dy))
        )
    np.testing.assert_allclose(pair_terms(x, y), np.array(want) / math.log(2))


def test_scores_are_normal_and_keep_the_order():
    values = np.random.default_rng(0).exponential(size=(101, 2))
    scores = normal_scores(values)
    assert (np.argsort(scores, axis=0) == np.argsort(values, axis=0)).all()
    assert scores.std(0).tolist() == pytest.approx([1, 1])
    assert scores[np.argsort(values[:, 0])[50], 0] == pytest.approx(0, abs=1e-12)


def test_dither_is_of_one_step():
    states = np.random.default_rng(0).normal(size=(5_000, 2)).astype(np.float32)
    noise = dithered(states, 0.5, seed=0) - (states - states.mean(0, dtype=np.float64)) / 0.5
    assert np.abs(noise).max() <= 0.5
    assert noise.var() == pytest.approx(1 / 12, rel=0.02)
    assert spread(np.full((9, 2), 0.1, np.float32)) == 0


@pytest.mark.parametrize("dim", [8, 16])
def test_gaussian_dimensions_share_what_their_covariance_says(dim):
    generator = np.random.default_rng(dim)
    mixing = generator.normal(size=(dim, dim))
    covariance = mixing.T @ mixing + 0.3 * np.eye(dim)
    scale = np.sqrt(np.diag(covariance))
    total = -np.linalg.slogdet(covariance / scale / scale[:, None])[1] / 2 / math.log(2)
    got = information(correlated(2_000, covariance))
    for shared in (got.gaussian, got.copula, got.neighbours):
        assert shared.total_correlation_bits.value == pytest.approx(total, abs=0.3)
    dual = got.gaussian.dual_total_correlation_bits.value
    if dim == 8:
        assert got.neighbours.dual_total_correlation_bits.value == pytest.approx(dual, abs=0.45)
    else:
        reason = NotMeasured("neighbours tell it in at most 8 dimensions, and there are 16")
        assert got.neighbours.dual_total_correlation_bits == reason
        assert got.neighbours.o_information_bits == reason


def test_bending_each_dimension_changes_the_gaussian_alone():
    states = correlated(3_000, np.array([[1, 0.9], [0.9, 1]]))
    bent = np.stack([np.exp(2 * states[:, 0]), states[:, 1] ** 3], axis=1)
    # The finer the steps, the less the bends weigh.
    straight, got = (information(x, resolution=1e-4) for x in (states, bent))
    want = straight.copula.total_correlation_bits.value
    assert got.copula.total_correlation_bits.value == pytest.approx(want, abs=0.01)
    assert got.mutual.bits[0, 1] == pytest.approx(straight.mutual.bits[0, 1], abs=0.05)
    assert got.gaussian.total_correlation_bits.value < want - 0.3


def test_neighbours_find_what_is_no_correlation():
    pairs = [crossed(2_000, seed) for seed in (0, 1)]
    states = np.stack([number for pair in pairs for number in pair], axis=1).astype(np.float32)
    got = information(states, resolution=0.01)
    assert got.copula.total_correlation_bits.value < 0.02
    assert got.neighbours.total_correlation_bits.value == pytest.approx(2 * 0.957, abs=0.25)
    # A difference of entropies in three and four dimensions: what is found of it is too little.
    assert 1.2 < got.neighbours.dual_total_correlation_bits.value < 2 * 0.957
    want = np.zeros((4, 4))
    want[[0, 1, 2, 3], [1, 0, 3, 2]] = 0.957
    np.fill_diagonal(want, np.nan)
    np.testing.assert_allclose(got.mutual.bits, want, atol=0.08)


def test_duplicated_and_dead_dimensions_are_finite():
    states = correlated(2_000, np.eye(5))
    states[:, 1] = states[:, 0]
    states[:, 2] = 7
    got = information(states)
    # A quantiser of 1/16 of the spread leaves 5 to 6 bits of a dimension.
    for shared in (got.gaussian, got.copula, got.neighbours):
        assert 4.5 < shared.total_correlation_bits.value < 6.2
    assert 4.5 < got.mutual.bits[0, 1] < 6.2
    assert got.entropy.bits[2] == 0
    assert np.nanmax(np.abs(got.mutual.bits[2])) < 0.1


def test_of_many_dimensions_those_that_move_most_are_paired():
    states = correlated(200, np.eye(40)) * np.r_[np.full(4, 0.1), np.ones(36)].astype(np.float32)
    got = information(states).mutual
    assert got.bits.shape == (32, 32)
    assert got.dimensions.min() >= 4


def test_the_same_seed_gives_the_same():
    states = correlated(400, np.eye(3))
    groups = make_groups(np.repeat(np.arange(10), 40), 400)
    one, again = (information(states, groups) for _ in range(2))
    assert one.neighbours == again.neighbours
    np.testing.assert_array_equal(one.mutual.bits, again.mutual.bits)


def test_nothing_is_invented():
    few = information(correlated(20, np.eye(4)))
    reason = NotMeasured("20 states are too few, 100 are needed")
    assert few.mutual == few.neighbours.total_correlation_bits == reason
    assert isinstance(few.gaussian.total_correlation_bits, Estimate)
    fewer = information(correlated(10, np.eye(4)))
    reason = NotMeasured("10 states are too few for 4 dimensions, 16 are needed")
    assert fewer.mutual == fewer.copula.total_correlation_bits == reason
    same = information(np.full((500, 4), 0.1, np.float32))
    assert same.neighbours.total_correlation_bits == NotMeasured("all states are the same")
    groups = make_groups(np.maximum(np.arange(500) - 490, 0), 500)
    lone = information(correlated(500, np.eye(4)), groups)
    reason = NotMeasured("all but 9 states are of one episode")
    assert lone.neighbours.total_correlation_bits == reason
