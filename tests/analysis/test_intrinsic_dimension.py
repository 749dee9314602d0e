import numpy as np
import pytest
import skdim

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.intrinsic_dimension import (
    intrinsic_dimension,
    levina_bickel_terms,
    two_nn_terms,
)
from ngu.analysis.neighbours import distinct, nearest, outside
from ngu.analysis.resampling import Groups, make_groups


def turned(states, dim, seed=0):
    """Into more dimensions, by a rotation."""
    generator = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(generator.normal(size=(dim, states.shape[1])))
    return (states @ axes.T + 3).astype(np.float32)


def sphere(rows, dim, seed=0):
    states = np.random.default_rng(seed).normal(size=(rows, dim + 1))
    return states / np.linalg.norm(states, axis=1, keepdims=True)


def roll(rows, seed=0):
    angle, height = np.random.default_rng(seed).uniform(size=(2, rows)) * np.array([[9], [20]]) + 4
    return np.stack([angle * np.cos(angle), height, angle * np.sin(angle)], axis=1)


@pytest.mark.parametrize(
    ("states", "dimension", "tolerance"),
    [
        (sphere(2_000, 1), 1, 0.06),
        (sphere(2_000, 2), 2, 0.1),
        (sphere(2_000, 5), 5, 0.4),
        (sphere(2_000, 10), 10, 1.2),
        (roll(2_000), 2, 0.15),
        (np.random.default_rng(0).normal(size=(2_000, 3)), 3, 0.25),
    ],
)
def test_known_manifolds_in_32_dimensions(states, dimension, tolerance):
    got = intrinsic_dimension(turned(states, 32))
    for estimate in (got.two_nn, got.levina_bickel):
        assert isinstance(estimate, Estimate)
        assert estimate.value == pytest.approx(dimension, abs=tolerance)
        assert estimate.low < estimate.value < estimate.high
    assert got.states == round(2_000 * (1 - got.repeated)) >= 1_980
    assert got.by_neighbours.shape == (49,)


def test_equals_scikit_dimension():
    states = np.random.default_rng(0).normal(size=(300, 4))
    distance = nearest(states, 20).distance
    want = skdim.id.TwoNN(method="mle", dist=True).fit(distance[:, :2]).dimension_
    assert 1 / two_nn_terms(distance[:, 0], distance[:, 1]).mean() == pytest.approx(want)
    want = skdim.id.MLE(unbiased=False).fit(states, n_neighbors=20, comb="mle").dimension_
    assert 1 / levina_bickel_terms(distance)[:, 18].mean() == pytest.approx(want)


def test_terms_by_hand():
    # log 2, of two ratios both are kept; 2 / 1 for the censored maximum likelihood.
    terms = two_nn_terms(np.array([1.0, 2.0, 1.0]), np.array([2.0, 4.0, 2.0]))
    assert terms.tolist() == pytest.approx([3 * np.log(2)] * 3)
    # k = 2: log 8 / 2; k = 3: (log 16 / 2 + log 16 / 8) / 2.
    terms = levina_bickel_terms(np.array([[2.0, 8.0, 16.0]]))
    assert terms.tolist() == [pytest.approx([np.log(4), (np.log(8) + np.log(2)) / 2])]


def test_scale_and_offset_change_nothing():
    states = turned(sphere(500, 3), 8)
    one, other = intrinsic_dimension(states), intrinsic_dimension(states * 512 + 0)
    assert one.two_nn == pytest.approx(other.two_nn)


def test_repeated_states_are_left_out():
    states = turned(sphere(600, 2), 4)
    again = np.concatenate([states, states[:400], states[:200] * np.float32(1 + 1e-7)])
    plain, got = intrinsic_dimension(states), intrinsic_dimension(again)
    assert got.states == 600
    assert got.repeated == pytest.approx(0.5)
    assert got.two_nn.value == pytest.approx(plain.two_nn.value, abs=0.15)


def test_neighbours_are_those_of_a_search_in_float64():
    states = np.random.default_rng(0).normal(size=(200, 5)) + 1_000
    distance, which = nearest(states, 7)
    slow = np.linalg.norm(states[:, None] - states[None], axis=-1)
    np.fill_diagonal(slow, np.inf)
    np.testing.assert_allclose(distance, np.sort(slow, axis=1)[:, :7])
    np.testing.assert_array_equal(which, np.argsort(slow, axis=1)[:, :7])
    groups = Groups(np.arange(200) % 3, 3, "")
    slow[groups.index[:, None] == groups.index] = np.inf
    distance, which = nearest(states, 7, groups)
    np.testing.assert_allclose(distance, np.sort(slow, axis=1)[:, :7])
    np.testing.assert_array_equal(which, np.argsort(slow, axis=1)[:, :7])
    assert outside(groups) == 133


def test_a_state_among_equals_has_neighbours_at_no_distance_other_than_itself():
    states = np.zeros((12, 2))
    distance, which = nearest(states, 5)
    assert not distance.any()
    assert not (which == np.arange(12)[:, None]).any()


def test_of_equal_states_the_first_is_kept():
    states = np.array([[0.0], [1.0], [-0.0], [1.0], [2.0], [1.0 + 1e-9]])
    rows, repeated = distinct(states, limit=10, seed=0)
    assert rows.tolist() == [0, 1, 4]
    assert repeated == pytest.approx(0.5)
    assert len(distinct(np.arange(9.0)[:, None], limit=2, seed=0).rows) == 2


def test_a_fine_path_is_seen_across_episodes():
    # 30 episodes walk through a plane in tiny steps: their own next steps would be a line.
    generator = np.random.default_rng(0)
    steps = generator.normal(size=(30, 60, 2)) * 0.02
    start = generator.uniform(size=(30, 1, 2))
    states = (start + np.cumsum(steps, axis=1)).reshape(-1, 2).astype(np.float32)
    groups = make_groups(np.repeat(np.arange(30), 60), 1_800)
    got = intrinsic_dimension(states, groups)
    assert got.two_nn.low < 2 < got.two_nn.high


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        (np.ones((1, 4), np.float32), "only 1 state differs, and 100 are needed"),
        (np.ones((500, 4), np.float32), "only 1 state differs, and 100 are needed"),
        (
            np.repeat(np.eye(9, dtype=np.float32), 50, axis=0),
            "only 9 states differ, and 100 are needed",
        ),
    ],
)
def test_nothing_is_invented(states, reason):
    got = intrinsic_dimension(states)
    assert got.two_nn == got.levina_bickel == NotMeasured(reason)
    assert len(got.by_neighbours) == 0


def test_one_episode_with_nearly_all_states():
    states = np.random.default_rng(0).normal(size=(1_000, 3)).astype(np.float32)
    groups = make_groups(np.maximum(np.arange(1_000) - 980, 0), 1_000)
    got = intrinsic_dimension(states, groups)
    assert got.two_nn == NotMeasured("all but 19 states that differ are of one episode")
