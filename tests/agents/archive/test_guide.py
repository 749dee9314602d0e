import numpy as np
import torch
from gymnasium.spaces import Box, Discrete

from ngu_agents.acting import Actor
from ngu_agents.archive.guide import Guide
from ngu_agents.config import RecurrentReplayConfig
from ngu_agents.networks import make_network

SPACE = Box(-1, 1, (4,), np.float32)
FIRST_ACTION = 3


def guide_of(num_envs: int) -> tuple[Guide, Actor]:
    config = RecurrentReplayConfig(num_policies=1, features=8, hidden=6)
    generator = torch.Generator().manual_seed(0)
    network = make_network(SPACE, Discrete(5, start=FIRST_ACTION), config, generator=generator)
    actor = Actor(
        network,
        np.zeros(num_envs),
        generator=np.random.default_rng(0),
        device=torch.device("cpu"),
        policies=np.zeros(num_envs, np.int64),
    )
    return Guide(actor, FIRST_ACTION), actor


def test_a_policy_goes_back_with_its_environment():
    generator = np.random.default_rng(1)
    seen = generator.normal(size=(12, 2, 4)).astype(np.float32)
    reward = generator.normal(size=(12, 2)).astype(np.float32)
    guide, actor = guide_of(2)
    remembered, states = None, []
    for step in range(12):
        if step == 6:
            remembered = guide.memory(0)
        actions = guide.act(seen[step])
        assert (actions >= FIRST_ACTION).all()
        states.append(actor.state[:, 0].clone())
        # Another action than the policy's was taken: that is what it reads next.
        guide.observe((actions - FIRST_ACTION + 1) % 5 + FIRST_ACTION, reward[step])
    assert remembered is not None
    guide.recall(1, remembered)  # in the other environment
    for step in range(6, 12):
        actions = guide.act(seen[step][::-1].copy())
        torch.testing.assert_close(actor.state[:, 1], states[step])
        guide.observe((actions - FIRST_ACTION + 1) % 5 + FIRST_ACTION, reward[step][::-1].copy())
    assert remembered.reward == reward[5, 0]
    assert guide.memory(0).action in range(5)


def test_at_a_beginning_nothing_is_remembered():
    seen = np.ones((1, 4), np.float32)
    guide, actor = guide_of(1)
    guide.act(seen)
    first = actor.state.clone()
    for _ in range(3):
        guide.observe(np.array([FIRST_ACTION + 1]), np.ones(1, np.float32))
        guide.act(seen)
    assert not torch.equal(actor.state, first)
    guide.observe(np.array([FIRST_ACTION + 1]), np.ones(1, np.float32))
    guide.recall(0, None)
    guide.act(seen)
    torch.testing.assert_close(actor.state, first)
