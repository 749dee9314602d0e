"""The acting side: what probability it reports, when it draws policies, what it goes on with."""

import copy

import gymnasium
import numpy as np
import pytest
import torch

from ngu_agents.acting import Actor, policy_probabilities
from ngu_agents.networks import Inputs, RecurrentQNetwork

SPACE = gymnasium.spaces.Box(-1, 1, (4,), np.float32)


def make_network(num_policies: int = 5) -> RecurrentQNetwork:
    return RecurrentQNetwork(
        SPACE,
        num_actions=3,
        num_policies=num_policies,
        features=8,
        hidden=8,
        generator=torch.Generator().manual_seed(0),
    )


def make_actor(
    epsilons: list[float],
    seed: int = 0,
    policies: np.ndarray | None = None,
    temperature: float = 0.0,
) -> Actor:
    return Actor(
        make_network(),
        np.array(epsilons),
        generator=np.random.default_rng(seed),
        device=torch.device("cpu"),
        policies=policies,
        temperature=temperature,
    )


def observe(actor: Actor, first: list[bool]) -> None:
    zeros = np.zeros(len(first), np.float32)
    actor.observe(zeros, zeros, np.array(first))


def test_a_policy_is_greedy_or_soft():
    values = torch.tensor([[0.0, 1.0, 0.5], [2.0, 2.0, -2.0]])
    assert policy_probabilities(values, 0.0).tolist() == [[0, 1, 0], [1, 0, 0]]
    soft = policy_probabilities(values, 0.5)
    odds = np.exp([[0.0, 2.0, 1.0], [4.0, 4.0, -4.0]])
    np.testing.assert_allclose(soft, odds / odds.sum(1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, 0.3])
def test_reported_probabilities_are_the_frequencies_of_actions(temperature):
    num_envs = 4000
    policies = np.zeros(num_envs, np.int64)
    actor = make_actor([0.5] * num_envs, policies=policies, temperature=temperature)
    observation = np.tile(np.float32([0.1, -0.2, 0.3, 0.4]), (num_envs, 1))
    action, probability = actor.act(observation)
    assert len(np.unique(probability)) == (3 if temperature else 2)
    for taken in range(3):
        chosen = action == taken
        assert abs(chosen.mean() - probability[chosen].mean()) < 0.03


def test_policies_are_drawn_where_an_episode_begins_and_nowhere_else():
    actor = make_actor([0.1] * 200)
    before = actor.policy.copy()
    first = np.arange(200) < 100
    observe(actor, first.tolist())
    assert set(before) == set(range(5))
    assert (actor.policy[~first] == before[~first]).all()
    assert (actor.policy[first] != before[first]).any()


def test_given_policies_stay():
    policies = np.array([3, 1])
    actor = make_actor([0.0, 0.0], policies=policies)
    observe(actor, [True, True])
    np.testing.assert_array_equal(actor.policy, policies)


def test_the_recurrent_state_starts_anew_where_an_episode_begins():
    observations = np.random.default_rng(1).uniform(-1, 1, (3, 2, 4)).astype(np.float32)
    actor = make_actor([0.0, 0.0], policies=np.array([2, 2]))
    actor.act(observations[0])
    observe(actor, [False, True])
    actor.act(observations[1])
    fresh = make_actor([0.0, 0.0], policies=np.array([2, 2]))
    fresh.act(observations[1])
    torch.testing.assert_close(actor.state[:, 1], fresh.state[:, 1])
    assert not torch.allclose(actor.state[:, 0], fresh.state[:, 0])


def test_a_loaded_actor_goes_on_with_the_same_actions():
    observations = np.random.default_rng(1).uniform(-1, 1, (6, 3, 4)).astype(np.float32)
    actor = make_actor([0.5, 0.5, 0.5])
    for t in range(3):
        actor.act(observations[t])
        observe(actor, [t == 1, False, False])
    other = make_actor([0.5, 0.5, 0.5], seed=9)
    other.load_state_dict(copy.deepcopy(actor.state_dict()))
    for t in range(3, 6):
        mine, theirs = actor.act(observations[t]), other.act(observations[t])
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])
        observe(actor, [True, False, False])
        observe(other, [True, False, False])


def test_what_preceded_an_episode_is_not_read():
    network = make_network()
    generator = torch.Generator().manual_seed(1)
    inputs = Inputs(
        observation=torch.rand(1, 2, 4, generator=generator),
        first=torch.tensor([[True, False]]),
        policy=torch.tensor([[1, 1]]),
        action_tm1=torch.tensor([[0, 0]]),
        reward_ext_tm1=torch.zeros(1, 2),
        reward_int_tm1=torch.zeros(1, 2),
    )
    state = torch.rand(2, 2, 8, generator=generator)
    changed = inputs._replace(
        action_tm1=torch.tensor([[2, 2]]),
        reward_ext_tm1=torch.ones(1, 2),
        reward_int_tm1=torch.ones(1, 2),
    )
    values, _ = network(inputs, state)
    other, _ = network(changed, state)
    torch.testing.assert_close(values[:, 0], other[:, 0])
    assert not torch.allclose(values[:, 1], other[:, 1])
