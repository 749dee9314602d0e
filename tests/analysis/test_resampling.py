import math

import numpy as np
import pytest

from ngu.analysis.estimate import Estimate
from ngu.analysis.resampling import (
    Groups,
    bootstrap,
    group_sums,
    jackknife,
    make_groups,
    mean_estimate,
    mean_interval,
    moments,
    student_t,
)


def episodes_of(generator, count, length, memory):
    """Processes that start anew in each episode: x_t = a x_t-1 + sqrt(1 - a^2) noise."""
    noise = generator.normal(size=(count, length, 2))
    states = noise.copy()
    for t in range(1, length):
        states[:, t] = memory * states[:, t - 1] + math.sqrt(1 - memory**2) * noise[:, t]
    return states.reshape(-1, 2), np.repeat(np.arange(count), length)


def variance(drawn):
    return drawn.covariance[:, 0, :1]


def test_episodes_are_groups():
    groups = make_groups(np.repeat(np.array([7, 3, 5, 4, 1, 2, 0, 9, 8]), 2), 18)
    assert groups.count == 9
    assert groups.index[:4].tolist() == [6, 6, 3, 3]
    assert groups.enough
    assert groups.description == "over 9 episodes"


def test_many_episodes_are_put_together():
    groups = make_groups(np.arange(1_234), 1_234)
    assert groups.count == 500
    assert np.bincount(groups.index).tolist().count(0) == 0
    assert (np.diff(groups.index) >= 0).all()


@pytest.mark.parametrize(
    ("episodes", "why"),
    [
        (None, "the episodes are not known"),
        (np.zeros(1_000, np.int64), "there is only 1 episode"),
        (np.arange(1_000) // 200, "there are only 5 episodes"),
    ],
)
def test_without_enough_episodes_blocks_are_groups(episodes, why):
    groups = make_groups(episodes, 1_000)
    assert groups.index.tolist() == (np.arange(1_000) // 20).tolist()
    assert groups.description == f"over 50 blocks of consecutive states, as {why}"


def test_few_states_have_no_interval():
    groups = make_groups(None, 100)
    assert not groups.enough
    states = np.random.default_rng(0).normal(size=(100, 2))
    assert bootstrap(variance, states, groups, bounds=[(0.0, 9.0)])[0].low is None
    assert mean_estimate(states[:, 0], groups) == (pytest.approx(states[:, 0].mean()), None, None)
    assert np.isnan(mean_interval(states, groups).low).all()


def test_groups_of_some_rows_are_numbered_anew():
    groups = Groups(np.array([0, 0, 1, 2, 2, 3]), 4, "so").of(np.array([0, 3, 4, 5]))
    assert (groups.index.tolist(), groups.count, groups.description) == ([0, 1, 1, 2], 3, "so")


def test_weighted_sums_are_the_moments_of_the_states_drawn():
    generator = np.random.default_rng(0)
    states = generator.normal(size=(60, 3)) + 100
    groups = Groups(generator.integers(5, size=60), 5, "")
    drawn = np.concatenate([states[groups.index == group] for group in (0, 0, 3)])
    got = moments(group_sums(states, groups), np.array([[2.0, 0, 0, 1, 0]]))
    np.testing.assert_allclose(got.mean[0], drawn.mean(0))
    np.testing.assert_allclose(got.covariance[0], np.cov(drawn.T, bias=True), atol=1e-12)


def test_the_interval_of_a_mean_by_hand():
    # Group sums of deviations: -4, 4, and 0 six times; 8 / 7 * 32 / 16^2.
    terms = np.zeros(16)
    terms[:2], terms[2:4] = -2, 2
    groups = Groups(np.repeat(np.arange(8), 2), 8, "")
    half = student_t(7) * math.sqrt(8 / 7 * 32 / 256)
    assert mean_interval(terms, groups).high == pytest.approx(half)
    assert mean_estimate(terms, groups, least=0.0) == Estimate(0, 0, pytest.approx(half))
    twice = mean_interval(np.stack([terms, 3 * terms], axis=1), groups)
    assert twice.low.tolist() == pytest.approx([-half, -3 * half])


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=10)
    without = np.array([[np.delete(values, i).mean()] for i in range(10)])
    got = jackknife(values.mean(keepdims=True), without)[0]
    half = student_t(9) * values.std(ddof=1) / math.sqrt(10)
    assert got == pytest.approx((values.mean(), values.mean() - half, values.mean() + half))


@pytest.mark.parametrize(("freedom", "quantile"), [(7, 2.3646), (20, 2.0860), (1_000, 1.9623)])
def test_student_t(freedom, quantile):
    assert student_t(freedom) == pytest.approx(quantile, abs=1e-3)


def test_bounds_are_kept():
    states = np.random.default_rng(0).normal(size=(1_000, 2)) * 1e-3
    got = bootstrap(variance, states, make_groups(None, 1_000), bounds=[(0.5, 1.0)])[0]
    assert got.value < 0.5
    assert (got.low, got.high) == (got.value, 0.5)


def test_over_episodes_the_truth_is_covered_and_over_steps_it_is_not():
    covered = {"episodes": [], "steps": [], "mean of episodes": [], "mean of steps": []}
    for seed in range(80):
        states, episodes = episodes_of(np.random.default_rng(seed), 40, 25, 0.9)
        for kind, index in (("episodes", episodes), ("steps", np.arange(len(states)))):
            groups = make_groups(index, len(states))
            got = bootstrap(variance, states, groups, bounds=[(0.0, math.inf)])[0]
            covered[kind].append(got.low < 1 < got.high)
            got = mean_estimate(states[:, 0], groups)
            covered[f"mean of {kind}"].append(got.low < 0 < got.high)
    share = {kind: np.mean(hits) for kind, hits in covered.items()}
    assert 0.85 < share["episodes"] <= 0.99
    assert 0.9 < share["mean of episodes"] <= 0.99
    assert share["steps"] < 0.75
    assert share["mean of steps"] < 0.65
