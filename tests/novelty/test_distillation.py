import gymnasium as gym
import numpy as np
import pytest
import torch

from ngu import RandomNetworkDistillation
from ngu.moments import RunningMoments
from ngu.novelty.distillation import whiten

VECTORS = gym.spaces.Box(-1, 1, (6,), np.float32)


def make(space=VECTORS, **options):
    return RandomNetworkDistillation(space, generator=torch.Generator().manual_seed(0), **options)


def moments_of(values):
    moments = RunningMoments(tuple(values.shape[1:]))
    moments.update(values)
    return moments


def test_whitening_by_hand():
    mean = torch.tensor([10.0, 5.0, 7.0])
    std = torch.tensor([2.0, 0.5, 0.0])
    frames = torch.tensor([[12, 9, 7], [10, 0, 8]], dtype=torch.uint8)
    got = whiten(frames, mean, std, bound=5.0)
    assert got.dtype == torch.float32
    # The last element has never changed: 0 at its mean, the bound anywhere else.
    assert got.tolist() == [[1.0, 5.0, 0.0], [0.0, -5.0, 5.0]]


def test_error_is_the_squared_norm():
    network = make()
    observations = torch.rand((4, 6), generator=torch.Generator().manual_seed(1))
    moments = moments_of(observations)
    white = whiten(observations, moments.mean.float(), moments.std.float(), bound=5.0)
    expected = (network.predictor(white) - network.target(white)).norm(dim=-1) ** 2
    torch.testing.assert_close(network(observations, moments), expected)


def test_before_any_moments_observations_are_scaled():
    network = make(gym.spaces.Box(0, 255, (6,), np.uint8))
    observations = torch.arange(12, dtype=torch.uint8).reshape(2, 6) * 20
    x = observations.float() / 255
    expected = (network.predictor(x) - network.target(x)).square().sum(-1)
    torch.testing.assert_close(network(observations, RunningMoments((6,))), expected)


def test_only_the_predictor_learns_and_the_unseen_stays_new():
    generator = torch.Generator().manual_seed(1)
    network = make()
    target = [p.clone() for p in network.target.parameters()]
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    seen = torch.rand((64, 6), generator=generator)
    unseen = -torch.rand((64, 6), generator=generator)
    moments = moments_of(torch.cat([seen, unseen]))
    for _ in range(200):
        optimiser.zero_grad()
        network(seen, moments).mean().backward()
        optimiser.step()
    for old, new in zip(target, network.target.parameters(), strict=True):
        assert torch.equal(old, new)
    with torch.no_grad():
        assert network(unseen, moments).mean() > 5 * network(seen, moments).mean()


def test_target_and_predictor_differ():
    network = make()
    assert not torch.equal(network.target.last.weight, network.predictor.last.weight)


def test_discrete_observations():
    network = make(gym.spaces.Discrete(3, start=1))
    states = torch.tensor([1, 2, 3, 3])
    moments = moments_of(network.spec.numeric(states))
    errors = network(states, moments)
    assert errors.shape == (4,)
    assert errors[2] == errors[3]
    assert errors[0].item() != pytest.approx(errors[1].item())
