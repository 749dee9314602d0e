import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from ngu import InverseDynamics

VECTORS = gym.spaces.Box(-1, 1, (6,), np.float32)


def make(action_space, observation_space=VECTORS, **options):
    generator = torch.Generator().manual_seed(0)
    return InverseDynamics(observation_space, action_space, generator=generator, **options)


def batch(size=5):
    generator = torch.Generator().manual_seed(1)
    return torch.rand((2, size, 6), generator=generator)


def test_the_embedding_is_float32_under_autocast():
    network = make(gym.spaces.Discrete(4), gym.spaces.Box(0, 255, (1, 84, 84), np.uint8), size=7)
    frames = torch.zeros((3, 1, 84, 84), dtype=torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedded = network.embedding(frames)
        logits = network(frames, frames)
    assert (embedded.dtype, embedded.shape) == (torch.float32, (3, 7))
    assert (logits.dtype, logits.shape) == (torch.float32, (3, 4))


def test_discrete_loss_is_the_cross_entropy():
    network = make(gym.spaces.Discrete(4, start=3))
    before, after = batch()
    actions = torch.tensor([3, 4, 5, 6, 3])
    loss, accuracy = network.loss(before, actions, after)
    probabilities = network(before, after).softmax(-1)
    chosen = probabilities[torch.arange(5), actions - 3]
    assert loss.item() == pytest.approx(-chosen.log().mean().item(), rel=1e-5)
    right = (probabilities.argmax(-1) == actions - 3).float().mean()
    assert accuracy.item() == pytest.approx(right.item())


def test_multi_discrete_is_a_product_of_softmaxes():
    network = make(gym.spaces.MultiDiscrete([2, 3]))
    before, after = batch(2)
    actions = torch.tensor([[0, 2], [1, 0]])
    loss, _ = network.loss(before, actions, after)
    logits = network(before, after)
    first, second = logits[:, :2].softmax(-1), logits[:, 2:].softmax(-1)
    likelihood = torch.stack([first[0, 0] * second[0, 2], first[1, 1] * second[1, 0]])
    assert loss.item() == pytest.approx(-likelihood.log().mean().item(), rel=1e-5)


def test_box_is_a_gaussian():
    network = make(gym.spaces.Box(-1, 1, (2,), np.float32))
    before, after = batch()
    actions = torch.linspace(-1, 1, 10).reshape(5, 2)
    loss, accuracy = network.loss(before, actions, after)
    mean = network(before, after)
    density = torch.distributions.Normal(mean, 1.0).log_prob(actions).sum(-1)
    assert loss.item() == pytest.approx(-density.mean().item(), rel=1e-5)
    assert accuracy is None


def test_it_learns_what_the_action_moves_and_forgets_the_rest():
    # Elements 0 and 1 move with the action; 2 to 5 are noise far larger than that.
    generator = torch.Generator().manual_seed(0)
    network = make(gym.spaces.Discrete(4), size=8)
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    moves = torch.tensor([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])

    def states(size):
        state = torch.rand((size, 6), generator=generator) * 2 - 1
        return state, torch.rand((size, 6), generator=generator) * 2 - 1

    for _ in range(600):
        before, after = states(128)
        actions = torch.randint(4, (128,), generator=generator)
        after[:, :2] = before[:, :2] + moves[actions]
        loss, accuracy = network.loss(before, actions, after)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3 * math.log(4)
    assert accuracy.item() > 0.9

    here, other = states(200)
    repainted = torch.cat([here[:, :2], other[:, 2:]], dim=1)
    moved = torch.cat([other[:, :2], here[:, 2:]], dim=1)
    with torch.no_grad():
        embedded = network.embedding(here)
        noise = (network.embedding(repainted) - embedded).square().sum(-1).mean()
        position = (network.embedding(moved) - embedded).square().sum(-1).mean()
    assert noise < 0.2 * position
