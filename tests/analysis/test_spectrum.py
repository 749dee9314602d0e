import math

import numpy as np
import pytest

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.resampling import make_groups
from ngu.analysis.spectrum import (
    alpha_req,
    effective_rank,
    participation_ratio,
    rank_me,
    spectrum,
)


def normal(rows, dim, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def test_ranks_by_hand():
    # Singular values 3 and 1: shares 3/4 and 1/4; eigenvalues 9 and 1.
    values = np.array([9.0, 1.0, 0.0])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(effective_rank(values)) == pytest.approx(math.exp(entropy))
    assert float(participation_ratio(values)) == pytest.approx(100 / 82)
    assert float(rank_me(values)) == pytest.approx(math.exp(entropy), abs=1e-5)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.5])
def test_exponent_of_a_power_law_is_found(exponent):
    values = 7 * np.arange(1.0, 33.0) ** -exponent
    assert float(alpha_req(values, 32)) == pytest.approx(exponent)


def test_isotropic_embeddings_use_all_dimensions():
    got = spectrum(normal(20_000, 8))
    for measure in (got.effective_rank, got.participation_ratio, got.rank_me):
        assert isinstance(measure, Estimate)
        assert measure.value == pytest.approx(8, abs=0.02)
        assert measure.low <= measure.value <= measure.high <= 8
    assert (got.dead, got.duplicated, got.pairs) == ((), (), ())


def test_a_mean_far_from_zero_lowers_rankme_alone():
    states = normal(2_000, 8)
    near, far = spectrum(states), spectrum(states + 50)
    assert far.effective_rank.value == pytest.approx(near.effective_rank.value, rel=1e-3)
    assert far.rank_me.value < 2 < 7 < near.rank_me.value


def test_equals_the_singular_values_of_the_data():
    states = normal(50, 6) * np.array([5, 3, 2, 1, 0.5, 0.1], dtype=np.float32) + 1
    centred = states.astype(np.float64) - states.astype(np.float64).mean(0)
    share = np.linalg.svd(centred, compute_uv=False)
    share /= share.sum()
    got = spectrum(states)
    assert got.effective_rank.value == pytest.approx(np.exp(-(share * np.log(share)).sum()))
    singular = np.linalg.svd(states.astype(np.float64), compute_uv=False)
    share = singular / singular.sum() + 1e-7
    assert got.rank_me.value == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-9)


def test_dead_and_duplicated_dimensions_are_named():
    states = normal(1_000, 8)
    states[:, 2] = 4
    states[:, 3] *= 1e-4
    states[:, 5] = states[:, 1]
    states[:, 7] = 3 - 2 * states[:, 1]
    got = spectrum(states)
    assert got.dead == (2, 3)
    assert got.duplicated == ((1, 5, 7),)
    assert {pair[:2]: round(pair.correlation, 6) for pair in got.pairs} == {
        (1, 5): 1.0,
        (1, 7): -1.0,
        (5, 7): -1.0,
    }
    assert got.fitted == 5
    assert got.eigenvalues[5:].tolist() == [0, 0, 0]


def test_fewer_states_than_dimensions():
    got = spectrum(normal(10, 32))
    assert got.effective_rank == (pytest.approx(got.effective_rank.value), None, None)
    assert 1 < got.effective_rank.value < 9
    assert got.fitted == 9


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (np.ones((1, 4), np.float32), "there is only one state"),
        (np.full((100, 4), 0.1, np.float32), "all states are the same"),
    ],
)
def test_nothing_is_invented(states, reason):
    got = spectrum(states)
    assert got.effective_rank == got.alpha_req == got.rank_me == NotMeasured(reason)
    assert got.eigenvalues.tolist() == [0] * 4


def test_a_power_law_needs_three_eigenvalues():
    got = spectrum(normal(100, 2))
    assert isinstance(got.alpha_req, NotMeasured)
    assert isinstance(got.effective_rank, Estimate)


def test_intervals_are_the_same_for_the_same_seed():
    states, groups = normal(500, 4), make_groups(np.repeat(np.arange(10), 50), 500)
    assert spectrum(states, groups).effective_rank == spectrum(states, groups).effective_rank
    assert (
        spectrum(states, groups).effective_rank != spectrum(states, groups, seed=1).effective_rank
    )
