"""Distances in embeddings of which it is known how they follow a walk through the plane."""

import numpy as np
import pytest
import torch

from ngu.analysis import distances
from ngu.analysis.data import EmbeddingData
from ngu.analysis.distances import distance_measures, episode_bonus, hubness, skewness
from ngu.analysis.episode_sums import rank_correlation, ranks
from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.resampling import make_groups
from ngu.novelty.kernel import episodic_novelty

EPISODES, LENGTH = 20, 150
EPISODE = np.repeat(np.arange(EPISODES), LENGTH)
STEP = np.tile(np.arange(LENGTH), EPISODES)
N = len(EPISODE)


@pytest.fixture(scope="module")
def places():
    """Random walks on a grid, int64 [N, 2]."""
    moves = np.random.default_rng(0).integers(-2, 3, size=(EPISODES, LENGTH, 2))
    return np.cumsum(moves, 1).reshape(N, 2)


def data(embeddings, places):
    labels = {"x": places[:, 0], "y": places[:, 1], "room": EPISODE % 3}
    return EmbeddingData(np.float32(embeddings), EPISODE, STEP, labels)


def noise(dim, seed=1):
    return np.random.default_rng(seed).standard_normal((N, dim))


def test_an_embedding_of_the_place_follows_it(places):
    measures = distance_measures(data(places, places))
    assert list(measures) == ["embedding", "whitened"]
    plain = measures["embedding"]
    assert plain.position.value == pytest.approx(1)
    assert 0.5 < plain.steps.low < plain.steps.value < plain.steps.high < 1
    assert measures["whitened"].position.value == pytest.approx(1, abs=0.02)


def test_noise_follows_nothing(places):
    plain = distance_measures(data(noise(4), places))["embedding"]
    for measured in (plain.steps, plain.position):
        assert measured.value == pytest.approx(0, abs=0.03)
        assert measured.low < 0.01
        assert measured.high > -0.01


def test_whitening_brings_out_a_place_that_is_drowned_by_copies_of_noise(places):
    loud = np.repeat(noise(1), 30, axis=1) * 30
    measures = distance_measures(data(np.concatenate([places, loud], 1), places))
    assert measures["embedding"].position.value < 0.2
    assert measures["whitened"].position.value > 0.6


def test_the_transformed_space_is_measured_as_if_it_were_the_embedding(places):
    other = distance_measures(data(noise(4), places), np.float32(places))["transformed"]
    alone = distance_measures(data(places, places))["embedding"]
    assert other.steps.value == pytest.approx(alone.steps.value)
    assert other.near_duplicates.value == alone.near_duplicates.value


def test_a_rotation_pays_the_same_and_noise_does_not(places):
    values = places + 0.1 * noise(2)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    turned = distance_measures(data(values, places), np.float32(values @ turn))["transformed"]
    assert turned.bonus_rank.value == pytest.approx(1, abs=1e-3)
    assert turned.bonus_top.value > 0.99
    other = distance_measures(data(values, places), np.float32(noise(2)))["transformed"]
    # Late states are near something in both, so that the ranks have something in common.
    assert other.bonus_rank.value < 0.5
    assert other.bonus_top.value < 0.5


def test_the_bonus_is_that_of_a_slow_loop():
    generator = np.random.default_rng(0)
    episodes = np.array([5] * 14 + [2] * 9 + [5] * 3)
    embeddings = generator.integers(4, size=(len(episodes), 2)).astype(np.float32)
    squared = np.full((len(episodes), 10), np.inf)
    for row, (values, episode) in enumerate(zip(embeddings, episodes, strict=True)):
        earlier = embeddings[:row][episodes[:row] == episode]
        nearest = np.sort(((earlier - values) ** 2).sum(-1))[:10]
        squared[row, : len(nearest)] = nearest
    mean = squared[np.isfinite(squared)].mean()
    settings = {"epsilon": 1e-4, "cluster_distance": 0.008, "pseudo_count": 0.001}
    expected = episodic_novelty(torch.from_numpy(squared), mean, max_similarity=8.0, **settings)
    got = episode_bonus(embeddings, episodes)
    first = np.array([0, 14])
    assert np.isnan(got.novelty[first]).all()
    others = np.delete(np.arange(len(episodes)), first)
    np.testing.assert_allclose(got.novelty[others], expected.numpy()[others], rtol=1e-5)
    np.testing.assert_allclose(got.nearest[others], squared[others, 0] / mean, rtol=1e-5)


def test_near_duplicates_are_counted(places):
    values = noise(12)
    values[STEP == 7] = values[STEP == 3]  # one repeat in each episode
    found = distance_measures(data(values, places))["embedding"].near_duplicates
    assert found.value == pytest.approx(1 / (LENGTH - 1))


def test_hubs_appear_with_dimension():
    groups = make_groups(EPISODE, N)
    flat, high = (
        hubness(np.float32(noise(dim)), groups, np.random.default_rng(0)) for dim in (2, 60)
    )
    assert abs(flat.value) < 0.5
    assert high.value > 2
    assert high.low < high.value < high.high


def test_repeats_are_no_hubs():
    values = np.float32(noise(2))
    values[: N // 2] = values[0]
    found = hubness(values, make_groups(EPISODE, N), np.random.default_rng(0))
    assert abs(found.value) < 0.5


def test_skewness_and_ranks_by_hand():
    x = np.array([1.0, 2.0, 2.0, 7.0])
    sums = np.array([[4, x.sum(), (x**2).sum(), (x**3).sum()]])
    deviations = x - 3
    expected = (deviations**3).mean() / (deviations**2).mean() ** 1.5
    np.testing.assert_allclose(skewness(sums), [expected])
    np.testing.assert_array_equal(ranks(x), [1, 2.5, 2.5, 4])


def test_the_interval_of_a_rank_correlation_holds_the_truth():
    # Within episodes all states are alike: as many independent values as episodes.
    held = 0
    for seed in range(40):
        generator = np.random.default_rng(seed)
        a, b = generator.standard_normal((2, EPISODES))[:, EPISODE]
        found = rank_correlation(a, b, make_groups(EPISODE, N), generator)
        held += found.low <= 0 <= found.high
    assert 33 <= held <= 40


def test_what_cannot_be_measured_says_why(places):
    bare = distance_measures(EmbeddingData(np.float32(noise(2))))["whitened"]
    assert bare.steps == NotMeasured("the episodes are not known")
    assert bare.position == NotMeasured(
        "no label is called x or player_x or column or y or player_y or row"
    )
    assert bare.near_duplicates == bare.bonus_rank == NotMeasured("the episodes are not known")
    assert isinstance(bare.hubness, Estimate)
    dead = distance_measures(data(noise(2) * 0, places))["embedding"]
    assert dead.steps == NotMeasured("all states are equally far apart in the embedding")
    assert dead.near_duplicates.value == 1
    assert dead.hubness == NotMeasured("there are 1 distinct states, fewer than 100")


def test_more_states_than_are_used_are_whole_episodes(monkeypatch):
    monkeypatch.setattr(distances, "MAX_STATES", 7 * LENGTH + 3)
    rows = distances.sampled_rows(EPISODE, N, np.random.default_rng(0))
    assert len(rows) == 7 * LENGTH
    assert len(np.unique(EPISODE[rows])) == 7
    assert (
        len(distances.sampled_rows(np.zeros(N, dtype=np.int64), N, np.random.default_rng(0)))
        == 1053
    )


def test_a_transformed_space_of_other_states_is_an_error(places):
    with pytest.raises(ValueError, match="transformed must have the data's 3000 rows, got 5"):
        distance_measures(data(noise(2), places), np.zeros((5, 2), dtype=np.float32))
