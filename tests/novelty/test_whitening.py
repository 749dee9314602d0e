"""Whitened distances against numpy's in float64, and what they must not depend on."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from ngu import NGU, RE3, EpisodicMemory, NGUConfig, RE3Config
from ngu.novelty.whitening import LEAST_SHARE, RunningCovariance, Whitening, whitening_matrix

ACTIONS = gym.spaces.Discrete(2)
MIXED = np.random.default_rng(7).standard_normal((4, 4))


def samples(count, seed=0):
    """Correlated embeddings in different units, far from the origin, float32 [count, 4]."""
    x = np.random.default_rng(seed).standard_normal((count, 4)) @ MIXED + [5, 0, -100, 0]
    return (x * [1, 20, 1, 0.01]).astype(np.float32)


def redundant(x):
    """The same with copies, a rescaled copy, a dead dimension and a sum."""
    cat = torch.cat if isinstance(x, torch.Tensor) else np.concatenate
    return cat([x, x, 7 * x[:, :1], 0 * x[:, :1] + 3, x[:, 1:2] + x[:, 2:3]], -1)


def mahalanobis(seen, a, b):
    """Squared distances [len(a), len(b)] in float64."""
    inverse = np.linalg.inv(np.cov(np.float64(seen).T, bias=True))
    differences = np.float64(a)[:, None] - np.float64(b)
    return np.einsum("abi,ij,abj->ab", differences, inverse, differences)


def searched(seen, entries, queries):
    """Squared distances [queries, entries], ascending, by a memory that is whitened by ``seen``."""
    dim = seen.shape[1]
    memory, whitening = EpisodicMemory(1, dim, k=len(entries)), Whitening(dim)
    whitening.observe(torch.from_numpy(seen), memory)
    for entry in entries:
        memory.add(whitening(torch.from_numpy(entry[None])))
    return np.stack([memory.nearest(whitening(torch.from_numpy(q[None])))[0] for q in queries])


def test_distances_are_mahalanobis_distances():
    seen, entries, queries = samples(500), samples(20, 1), samples(9, 2)
    expected = np.sort(mahalanobis(seen, queries, entries))
    np.testing.assert_allclose(searched(seen, entries, queries), expected, rtol=1e-3)


def test_redundant_rescaled_and_dead_dimensions_do_not_matter():
    seen, entries, queries = samples(500), samples(20, 1), samples(9, 2)
    expected = searched(seen, entries, queries)
    got = searched(*map(redundant, (seen, entries, queries)))
    np.testing.assert_allclose(got, expected, rtol=1e-3)
    plain = ((entries - queries[:, None]) ** 2).sum(-1)
    copied = ((redundant(entries) - redundant(queries)[:, None]) ** 2).sum(-1)
    assert np.ptp(copied / plain) > 1  # without whitening they do


def test_a_share_is_never_divided_by_less_than_the_bound():
    # The second dimension is the first but for a variance of .0001: a share of .0001 / 1.0001.
    covariance = torch.tensor([[1.0, 1.0], [1.0, 1.0001]], dtype=torch.float64)
    matrix = whitening_matrix(covariance, torch.zeros(2).double()).numpy()
    moved, together = matrix @ [0, 1], matrix @ [1, 1]
    assert moved @ moved == pytest.approx(1 / 1.0001 / LEAST_SHARE)
    assert together @ together == pytest.approx(1)


def test_a_dead_dimension_counts_in_the_widest_unit_once_it_moves():
    covariance = torch.tensor([[4.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    matrix = whitening_matrix(covariance, torch.tensor([0.0, 8.0]).double())
    np.testing.assert_allclose(matrix, [[1 / 2, 0], [0, 1 / 2 / np.sqrt(LEAST_SHARE)]])


def test_what_moves_by_rounding_alone_is_dead():
    covariance = torch.tensor([[4.0, 0.0], [0.0, 1e-8]], dtype=torch.float64)
    alive, dead = (
        whitening_matrix(covariance, torch.tensor([0.0, mean]).double())[1, 1]
        for mean in (1.0, 1000.0)
    )
    assert float(alive) == pytest.approx(1e4)
    assert float(dead) == pytest.approx(1 / 2 / np.sqrt(LEAST_SHARE))


def test_nothing_has_moved():
    matrix = whitening_matrix(torch.zeros(3, 3).double(), torch.ones(3).double())
    np.testing.assert_allclose(matrix, np.eye(3) / np.sqrt(LEAST_SHARE))


def test_running_covariance_equals_that_of_everything():
    x = samples(300)
    covariance = RunningCovariance(4)
    for part in np.split(x, [1, 2, 10, 200]):
        covariance.update(torch.from_numpy(part))
    np.testing.assert_allclose(covariance.mean, np.float64(x).mean(0), rtol=1e-12)
    expected = np.cov(np.float64(x).T, bias=True)
    np.testing.assert_allclose(covariance.covariance, expected, rtol=1e-9, atol=1e-9)
    assert covariance.total == 300


def test_old_embeddings_fade():
    # Beyond the window what came before counts as 2: weights 2 / 3 and 1 / 3, then again.
    covariance = RunningCovariance(1, window=2)
    for value in (0.0, 0.0, 0.0, 3.0):
        covariance.update(torch.tensor([[value]]))
    assert covariance.mean.item() == pytest.approx(1.0)
    assert covariance.covariance.item() == pytest.approx(2.0)
    assert covariance.total == 4


def test_the_map_is_measured_at_doublings_then_once_a_window():
    whitening, memory, measured = Whitening(2, window=100), EpisodicMemory(1, 2), []
    generator = torch.Generator().manual_seed(0)
    for count in range(1, 401):
        before = whitening.state_dict()["measured_at"]
        first = whitening.observe(torch.randn(1, 2, generator=generator), memory)
        if whitening.state_dict()["measured_at"] != before:
            measured.append(count)
        assert first == (count == 20)
    assert measured == [20, 40, 80, 160, 260, 360]


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_entries_are_converted_with_the_map(backend):
    x = samples(300)
    whitening, memory = Whitening(4), EpisodicMemory(2, 4, 50, k=50, backend=backend)
    for t in range(0, 300, 2):
        pair = torch.from_numpy(x[t : t + 2])
        whitening.observe(pair, memory)
        memory.add(whitening(pair), np.array([True, t < 20]))
    query = torch.from_numpy(samples(2, 5))
    got = memory.nearest(whitening(query)).numpy()
    measured_at = whitening.state_dict()["measured_at"]
    assert measured_at == 160
    rings = x[200::2], x[1:20:2]  # the last fifty entries of a full ring, and a short one
    for env, ring in enumerate(rings):
        expected = np.sort(mahalanobis(x[:measured_at], query[env : env + 1], ring)[0])
        np.testing.assert_allclose(got[env, : len(ring)], expected, rtol=1e-3)
    assert np.isinf(got[1, 10:]).all()


def test_state_continues():
    x = torch.from_numpy(samples(200))
    memories = [EpisodicMemory(1, 4) for _ in range(2)]
    whitening, other = Whitening(4), Whitening(4)
    for row in x[:70]:
        whitening.observe(row[None], memories[0])
    other.load_state_dict(whitening.state_dict())
    other.covariance.load_state_dict(whitening.covariance.state_dict())
    for row in x[70:]:
        for each, memory in zip((whitening, other), memories, strict=True):
            each.observe(row[None], memory)
        assert torch.equal(whitening(x), other(x))
    with pytest.raises(ValueError, match="map of 5 dimensions, got that of 4"):
        Whitening(5).load_state_dict(whitening.state_dict())
    with pytest.raises(ValueError, match="covariance of 5 dimensions, got that of 4"):
        RunningCovariance(5).load_state_dict(whitening.covariance.state_dict())
    with pytest.raises(ValueError, match="dim and window must be at least 1, got 4 and 0"):
        Whitening(4, window=0)


class Redundant(nn.Module):
    """`redundant` as an encoder."""

    def forward(self, obs):
        """Embeds."""
        return redundant(obs)


class Scaled(nn.Module):
    """An encoder in another unit."""

    def forward(self, obs):
        """Embeds."""
        return 1000 * obs


def played(kind, config, encoder, steps, num_envs=3):
    """A bonus after a run with episodes of different lengths, and its rewards."""
    space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    bonus = kind(space, ACTIONS, num_envs, config=config, encoder=encoder)
    points = samples(num_envs * (steps + 1)).reshape(steps + 1, num_envs, 4)
    actions, rewards = np.zeros(num_envs, np.int64), []
    bonus.begin(points[0])
    for t, obs in enumerate(points[1:]):
        stepped = (t + 1) % np.array([23, 31, 1000]) != 0
        rewards.append(bonus.score(points[t], actions, obs, where=stepped))
        bonus.begin(obs, where=~stepped)
    return bonus, np.stack(rewards)


@pytest.mark.parametrize(
    ("kind", "config"),
    [(NGU, NGUConfig(whiten=True)), (RE3, RE3Config(whiten=True, memory_capacity=40))],
)
def test_a_bonus_does_not_see_redundancy(kind, config):
    bonuses = [played(kind, config, encoder, 90)[0] for encoder in (nn.Identity(), Redundant())]
    obs = samples(3, 9)
    found = []
    for bonus in bonuses:
        # Wider embeddings are whitened a little later; from here on both know the same.
        bonus.whitening.measure(bonus.memory)
        bonus.eval()
        embedded = bonus._embed(torch.from_numpy(obs), np.ones(3, bool))
        found.append(bonus.memory.nearest(embedded).numpy())
    np.testing.assert_allclose(found[1], found[0], rtol=1e-3)
    if kind is RE3:
        rewards = [bonus.score(obs, np.zeros(3, np.int64), obs) for bonus in bonuses]
        np.testing.assert_allclose(rewards[1], rewards[0], rtol=1e-3)


def test_the_unit_of_the_embedding_does_not_matter_from_the_first_step_on():
    # Also where whitening begins: distances in another unit must not stay in the running mean.
    config = NGUConfig(whiten=True)
    _, plain = played(NGU, config, nn.Identity(), 60)
    bonus, scaled = played(NGU, config, Scaled(), 60)
    np.testing.assert_allclose(scaled, plain, rtol=1e-3)
    _, unwhitened = played(NGU, NGUConfig(), nn.Identity(), 60)
    np.testing.assert_array_equal(unwhitened[:12], plain[:12])
    assert not np.allclose(unwhitened[20:], plain[20:], rtol=0.05)
    assert bonus.whitening.known


def test_what_was_learned_converts_memories():
    config = NGUConfig(whiten=True)
    trained, _ = played(NGU, config, nn.Identity(), 60)
    fresh, _ = played(NGU, config, nn.Identity(), 5)
    assert not fresh.whitening.known
    fresh.load_learned(trained.state_dict())
    obs = samples(3, 9)
    points = samples(3 * 6).reshape(6, 3, 4)
    got = fresh.eval().explain(obs).squared_distances[:, :6]
    seen = samples(3 * 61).reshape(61, 3, 4)[1:]
    stepped = np.stack([(t + 1) % np.array([23, 31, 1000]) != 0 for t in range(60)])
    for env in range(3):
        expected = np.sort(mahalanobis(seen[stepped], obs[env : env + 1], points[:, env])[0])
        np.testing.assert_allclose(got[env], expected, rtol=1e-3)


def test_states_of_whitened_and_plain_memories_are_told_apart():
    space = gym.spaces.Box(-1, 1, (4,), np.float32)
    plain = NGU(space, ACTIONS, 2)
    whitened = NGU(space, ACTIONS, 2, config=NGUConfig(whiten=True))
    for one, other in ((plain, whitened), (whitened, plain)):
        with pytest.raises(ValueError, match=r"state must hold the memories .*'whitening'"):
            one.load_state_dict(other.state_dict())
