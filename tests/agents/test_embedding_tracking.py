"""Effective rank and redundancy while training: known answers, and a collapse that is seen."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from ngu import ICM, NGU, RND
from ngu_agents.base import Step
from ngu_agents.embedding_tracking import EVERY, STATES, EmbeddingTracker, rank_and_redundancy
from ngu_agents.latent_memory import AsGiven, LatentFollower
from ngu_agents.loop import Progress

SPACE = gym.spaces.Box(-10, 10, (6,), np.float32)
ACTIONS = gym.spaces.Discrete(2)
E = 8
GAUSSIAN = np.random.default_rng(0).normal(size=(4_000, 4)).astype(np.float32)


def test_independent_dimensions_repeat_nothing():
    rank, redundancy = rank_and_redundancy(GAUSSIAN)
    assert rank == pytest.approx(4, abs=0.01)
    assert 0 <= redundancy < 0.001


def test_repeated_dimensions_are_seen():
    rank, redundancy = rank_and_redundancy(np.repeat(GAUSSIAN[:, :2], 2, axis=1))
    assert rank == pytest.approx(2, abs=0.01)
    # Half of the bits, but for what the resolution adds to each dimension on its own.
    assert redundancy == pytest.approx(0.5, abs=0.1)


def test_a_collapsed_embedding_has_nothing_left():
    assert rank_and_redundancy(np.ones((50, 4), np.float32)) == (0.0, 0.0)


def _progress(observation):
    nothing = np.zeros(E, np.float32)
    step = Step(observation, nothing, nothing > 0, nothing > 0)
    return Progress(0, nothing, step, nothing == 0, {}, nothing, {}, {})


def _fed(tracker, looks, seed=0):
    generator = np.random.default_rng(seed)
    for _ in range(looks * EVERY):
        tracker.update(_progress(generator.normal(size=(E, 6)).astype(np.float32)))


@pytest.mark.parametrize("kind", [NGU, ICM])
def test_a_collapse_is_seen_while_it_happens(kind):
    bonus = kind(SPACE, ACTIONS, E, seed=0)
    bonus.begin(np.zeros((E, 6), np.float32))
    tracker = EmbeddingTracker(bonus)
    assert tracker.collect() == {}
    _fed(tracker, STATES // E + 3)
    healthy = tracker.collect()["embedding/effective_rank"]
    assert healthy > 3
    last = bonus.encoder.trained.last
    with torch.no_grad():
        last.weight[1:] = last.weight[:1]
    bonus.publish()
    bonus.begin(np.zeros((E, 6), np.float32))  # environments take the new network over
    _fed(tracker, STATES // E)
    figures = tracker.collect()
    assert figures["embedding/effective_rank"] == pytest.approx(1, abs=0.01)
    assert figures["embedding/redundancy"] > 0.5


def test_it_goes_on_with_the_same_figures():
    def tracker():
        return EmbeddingTracker(NGU(SPACE, ACTIONS, E, seed=0))

    whole, half, rest = tracker(), tracker(), tracker()
    _fed(whole, 12)
    _fed(whole, 12, seed=1)
    _fed(half, 12)
    rest.load_state_dict(half.state_dict())
    _fed(rest, 12, seed=1)
    assert rest.collect() == whole.collect() != {}


class Given(LatentFollower):
    """Of which the latents are set."""

    latents = None

    def __init__(self):
        pass


def test_latents_are_taken_in_place_of_observations():
    size = 300
    space = gym.spaces.Box(-10, 10, (size,), np.float32)
    bonus = NGU(space, ACTIONS, E, seed=0, encoder=AsGiven())
    bonus.begin(np.zeros((E, size), np.float32))
    latents = Given()
    tracker = EmbeddingTracker(bonus, latents)
    generator = np.random.default_rng(0)
    for _ in range(2 * size // E):
        assert tracker.collect() == {}  # of fewer than 600 states
        latents.latents = np.zeros((E, size), np.float32)
        latents.latents[:, :7] = generator.normal(size=(E, 7))
        _fed(tracker, 1)
    assert tracker.collect()["embedding/effective_rank"] == pytest.approx(7, abs=0.1)


def test_what_has_no_embedding_is_passed_over():
    for bonus in (None, RND(SPACE, ACTIONS, E, seed=0)):
        tracker = EmbeddingTracker(bonus)
        _fed(tracker, 2)
        assert tracker.collect() == {}
