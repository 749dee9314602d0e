"""`explain` against `score`, against loops in float64, and by hand."""

import copy
import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from ngu import NGU, EpisodicMemory, NGUConfig
from ngu.novelty.testing import flat

E = 3
SPACE = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
ACTIONS = gym.spaces.Discrete(2)
NONE = np.zeros(E, np.int64)


def points(steps, seed=0):
    """States [T, E, 4] of random walks on a lattice, so that exact repeats are frequent."""
    moves = np.random.default_rng(seed).integers(-1, 2, (steps, E, 4))
    return np.cumsum(moves, axis=0).astype(np.float32)


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_neighbours_equal_brute_force(backend):
    # Rings that are full and overwritten, short, emptied, and never filled.
    rng = np.random.default_rng(0)
    memory = EpisodicMemory(4, 3, 20, 5, backend=backend)
    histories = [[] for _ in range(4)]
    for step in range(90):
        queries = rng.standard_normal((4, 3), dtype=np.float32)
        searched = rng.random(4) < 0.8
        distances, steps = memory.neighbours(queries, searched)
        np.testing.assert_array_equal(distances, memory.nearest(queries, searched))
        for env, history in enumerate(histories):
            known = {i: x for i, x in enumerate(history) if i >= len(history) - 20}
            squares = {i: ((np.float64(x) - queries[env]) ** 2).sum() for i, x in known.items()}
            expected = sorted(squares, key=squares.__getitem__)[:5] if searched[env] else []
            assert steps[env].tolist() == expected + [-1] * (5 - len(expected)), (step, env)
        where = rng.random(4) < [1.0, 0.9, 0.5, 0.0]
        memory.add(queries, where)
        cleared = rng.random(4) < [0.0, 0.03, 0.1, 0.0]
        memory.clear(cleared)
        for env, history in enumerate(histories):
            if where[env]:
                history.append(queries[env])
            if cleared[env]:
                history.clear()
        assert memory.added.tolist() == [len(history) for history in histories]
    tensors = memory.neighbours(torch.from_numpy(queries))
    assert [t.dtype for t in tensors] == [torch.float32, torch.int64]
    other = EpisodicMemory(4, 3, 20, 5, backend=backend)
    other.load_state_dict(memory.state_dict())
    for got, expected in zip(other.neighbours(queries), tensors, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_state_that_counts_around_the_ring_is_loaded():
    memory = EpisodicMemory(2, 1, capacity=3, k=3)
    for value in (1.0, 2.0, 3.0, 4.0):
        memory.add(np.float32([[value], [value]]), np.array([True, value < 3]))
    state = memory.state_dict()
    memory.load_state_dict({**state, "cursors": torch.tensor([1, 2])})
    assert memory.sizes.tolist() == [3, 2]
    distances, steps = memory.neighbours(np.float32([[4], [2]]))
    assert distances.tolist() == [[0, 1, 4], [0, 1, np.inf]]
    assert steps.tolist() == [[3, 2, 1], [1, 0, -1]]


@pytest.mark.parametrize(
    "config",
    [
        NGUConfig(),
        NGUConfig(memory_capacity=12, neighbours=4),
        NGUConfig(episodes_per_memory=2, cluster_distance=0.3, max_similarity=2.0),
        NGUConfig(whiten=True, embedding_size=3),
    ],
    ids=["paper", "ring", "episodes", "whitened"],
)
def test_the_numbers_are_those_that_score_pays_by(config):
    bonus = NGU(SPACE, ACTIONS, E, config=config, seed=3, precision="float32")
    states = points(81)
    stepped = [t % np.array([7, 31, 1000]) != 0 for t in range(1, 81)]
    lives = [[state] for state in states[0]]
    bonus.begin(states[0])
    for t, where in enumerate(stepped, start=1):
        if t == 40:
            bonus.eval()
        why = bonus.explain(states[t], where)
        for env, life in enumerate(lives):
            if where[env]:
                assert why.step[env] == len(life)
                agrees(bonus, why, env, states[t, env], life)
        reward = bonus.score(states[t - 1], NONE, states[t], where)
        if t >= 40:
            np.testing.assert_array_equal(why.reward, reward)
            for name, part in bonus.parts.items():
                np.testing.assert_array_equal(getattr(why, name), part)
        assert (why.reward[~where] == 0).all()
        assert (why.neighbours[~where] == -1).all()
        bonus.begin(states[t], where=~where)
        for env, life in enumerate(lives):
            if not where[env] and (bonus.episodes[env] - 1) % config.episodes_per_memory == 0:
                life.clear()
            life.append(states[t, env])


def agrees(bonus, why, env, state, life):
    """Whether the steps lead to the states whose distances are told, and these to the novelty."""
    config, present = bonus.config, why.neighbours[env] >= 0
    assert present.sum() == min(config.neighbours, len(life), config.memory_capacity)
    embedded = embed(bonus, np.stack([state, *(life[i] for i in why.neighbours[env][present])]))
    squares = ((embedded[1:] - embedded[0]) ** 2).sum(-1)
    np.testing.assert_allclose(why.squared_distances[env][present], squares, rtol=1e-3, atol=1e-9)
    assert np.isinf(why.squared_distances[env][~present]).all()
    mean = float(bonus._distances.mean)
    if mean > 0:  # before the first score it is not known
        normalised = why.normalised_distances[env][present]
        np.testing.assert_allclose(normalised, squares / mean, rtol=1e-3, atol=1e-6)
    excess = np.maximum(np.float64(why.normalised_distances[env]) - config.cluster_distance, 0)
    kernel = config.epsilon / (excess + config.epsilon)
    np.testing.assert_allclose(why.kernel[env], kernel, rtol=1e-4)
    similarity = math.sqrt(kernel.sum()) + config.pseudo_count
    assert why.similarity[env] == pytest.approx(similarity, rel=1e-4)
    novelty = 0.0 if similarity > config.max_similarity else 1 / similarity
    assert why.episodic_novelty[env] == pytest.approx(novelty, rel=1e-4)


@torch.no_grad()
def embed(bonus, states):
    embedded = bonus.encoder.newest(torch.from_numpy(states))
    return (embedded if bonus.whitening is None else bonus.whitening(embedded)).double().numpy()


def test_by_hand():
    config = NGUConfig(
        neighbours=2, epsilon=0.5, cluster_distance=0.25, pseudo_count=0.25, memory_capacity=2
    )
    bonus = NGU(SPACE, ACTIONS, 1, config=config, encoder=nn.Identity())
    zero = np.zeros((1, 4), np.float32)
    bonus.begin(zero)
    bonus.score(zero, NONE[:1], np.float32([[2, 0, 0, 0]]))
    # Seen: one squared distance of 4.
    why = bonus.explain(np.float32([[1, 0, 0, 1]]))
    assert why.step.tolist() == [2]
    assert sorted(why.neighbours[0]) == [0, 1]
    assert why.squared_distances.tolist() == [[2, 2]]
    assert why.normalised_distances.tolist() == [[0.5, 0.5]]
    np.testing.assert_allclose(why.kernel, [[0.5 / 0.75] * 2])
    np.testing.assert_allclose(why.similarity, [math.sqrt(4 / 3) + 0.25])
    np.testing.assert_allclose(why.episodic_novelty, 1 / why.similarity)
    np.testing.assert_allclose(why.reward, why.episodic_novelty * why.lifelong_modulator)
    # The next one takes the place of the first: steps 1 and 2 remain.
    bonus.score(zero, NONE[:1], np.float32([[5, 0, 0, 0]]))
    why = bonus.explain(np.float32([[4, 0, 0, 0]]))
    assert why.neighbours.tolist() == [[2, 1]]
    assert why.squared_distances.tolist() == [[1, 4]]
    error = bonus.distiller.error(torch.tensor([[4.0, 0, 0, 0]]))
    assert why.lifelong_error.tolist() == error.tolist()


@pytest.mark.parametrize("whiten", [False, True])
def test_nothing_changes(whiten):
    config = NGUConfig(whiten=whiten, embedding_size=2)
    bonus, states = NGU(SPACE, ACTIONS, E, config=config), points(12)
    bonus.begin(states[0])
    for before, after in itertools.pairwise(states[:-1]):
        bonus.score(before, NONE, after)
    parts, state = copy.deepcopy(bonus.parts), flat(copy.deepcopy(bonus.state_dict()))
    arrays = bonus.explain(states[-1])
    tensors = bonus.explain(torch.from_numpy(states[-1]))
    for array, tensor in zip(arrays, tensors, strict=True):
        assert isinstance(array, np.ndarray)
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(tensor, array)
    nowhere = bonus.explain(states[-1], np.zeros(E, bool))
    assert not nowhere.reward.any()
    for name, value in flat(bonus.state_dict()).items():
        same = torch.equal(value, state[name]) if torch.is_tensor(value) else value == state[name]
        assert same, name
    for name, part in bonus.parts.items():
        np.testing.assert_array_equal(part, parts[name])


def test_wrong_arguments_are_refused():
    bonus, obs = NGU(SPACE, ACTIONS, E), points(1)[0]
    bonus.begin(obs, where=np.array([True, False, True]))
    with pytest.raises(RuntimeError, match=r"no episode has begun in environments \[1\]"):
        bonus.explain(obs)
    assert bonus.explain(obs, np.array([True, False, True])).step.tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="obs_t must"):
        bonus.explain(obs[:2])
    with pytest.raises(ValueError, match=r"where must have shape \[3\]"):
        bonus.explain(obs, np.ones(2, bool))


def test_the_last_score_is_explained_as_it_was_paid():
    bonus = NGU(SPACE, ACTIONS, E, config=NGUConfig(neighbours=4), seed=0)
    with pytest.raises(RuntimeError, match="no state has been scored yet"):
        bonus.explanation()
    states = points(60)
    bonus.begin(states[0])
    for step, (before, after) in enumerate(itertools.pairwise(states)):
        where = np.array([True, step % 2 == 0, step % 3 > 0])
        if step == 40:
            bonus.eval()
        expected = bonus.explain(after, where)
        reward = bonus.score(before, NONE, after, where)
        explained = bonus.explanation()
        np.testing.assert_array_equal(explained.reward, reward)
        for name, values in bonus.parts.items():
            np.testing.assert_array_equal(getattr(explained, name), values)
        np.testing.assert_array_equal(explained.step, expected.step)
        np.testing.assert_array_equal(explained.neighbours, expected.neighbours)
        if step >= 40:
            for mine, theirs in zip(explained, expected, strict=True):
                np.testing.assert_array_equal(mine, theirs)
