"""Policy and critics: values as bins, the slow copy, and which way the policy is pulled."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from ngu.world.distributions import symexp_bins, two_hot
from ngu_agents.dreamer_config import DreamerConfig
from ngu_agents.dreamer_network import Behaviour, Critic, make_behaviour

FEATURES = 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed))


def make_critic(seed=0):
    return Critic(FEATURES, 8, 2, generator=generator(seed))


def make(space=None, *, intrinsic=True, seed=0):
    return Behaviour(
        Discrete(3) if space is None else space,
        FEATURES,
        hidden=8,
        layers=2,
        intrinsic=intrinsic,
        generator=generator(seed),
    )


def test_a_first_value_is_zero_everywhere():
    critic = make_critic()
    assert (critic(some(4, 3, FEATURES)) == 0).all()
    assert not any(parameter.requires_grad for parameter in critic.slow.parameters())
    assert all(parameter.requires_grad for parameter in critic.fast.parameters())


def test_the_loss_by_hand():
    critic = make_critic()
    for i, network in enumerate((critic.fast, critic.slow)):
        torch.nn.init.normal_(network[-1].weight, std=0.5, generator=generator(i))
    features, returns = some(6, FEATURES), 10 * some(6, seed=2)
    logits = critic.fast(features).double()
    bins = symexp_bins().double()
    slow = (critic.slow(features).double().softmax(-1) * bins).sum(-1)
    targets = two_hot(returns, critic.bins).double() + two_hot(slow.float(), critic.bins).double()
    torch.testing.assert_close((two_hot(returns, critic.bins) * critic.bins).sum(-1), returns)
    expected = -(targets * logits.log_softmax(-1)).sum(-1)
    loss = critic.loss(features, returns)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-4)
    loss.sum().backward()
    assert all(parameter.grad is None for parameter in critic.slow.parameters())
    assert all(parameter.grad is not None for parameter in critic.fast.parameters())


def test_the_slow_copy_follows_by_its_share():
    critic = make_critic()
    before = [parameter.clone() for parameter in critic.slow.parameters()]
    with torch.no_grad():
        for parameter in critic.fast.parameters():
            parameter += 1.0
    critic.follow(0.75)
    for old, slow in zip(before, critic.slow.parameters(), strict=True):
        torch.testing.assert_close(slow, old + 0.25)
    critic.follow(0.0)
    for fast, slow in zip(critic.fast.parameters(), critic.slow.parameters(), strict=True):
        torch.testing.assert_close(slow, fast.detach())


def test_a_critic_learns_returns_of_any_scale():
    critic = make_critic()
    features = some(4, FEATURES)
    returns = torch.tensor([-300.0, 0.0, 40.0, 2000.0])
    adam = torch.optim.Adam(critic.fast.parameters(), lr=3e-2)
    for _ in range(200):
        loss = critic.loss(features, returns).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        critic.follow(0.9)
    # The bins are a factor of 1.17 apart; the mean has the tails of bins up to 10^8 in it as well.
    likeliest = critic.bins[critic.fast(features).argmax(-1)]
    torch.testing.assert_close(likeliest, returns, rtol=0.1, atol=0.1)
    assert (critic(features).diff() > 10).all()


def test_there_is_a_critic_for_each_return():
    assert set(make().critics) == {"ext", "int"}
    assert set(make(intrinsic=False).critics) == {"ext"}
    both = make()
    fast = [critic.fast for critic in both.critics.values()]
    assert not torch.equal(fast[0][0][0].linear.weight, fast[1][0][0].linear.weight)


def test_the_generator_alone_decides_the_weights():
    weights = []
    for seed, noise in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(noise)
        weights.append(make(seed=seed).state_dict())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert not torch.equal(weights[0]["head.last.weight"], weights[2]["head.last.weight"])


def test_it_has_the_sizes_of_its_settings():
    config = DreamerConfig(hidden=7, layers=4)
    behaviour = make_behaviour(Discrete(3), config, intrinsic=False, generator=generator())
    assert [layer.linear.weight.shape for layer in behaviour.body] == [
        (7, config.world.rssm.features), (7, 7), (7, 7), (7, 7),
    ]  # fmt: skip
    assert len(behaviour.critics["ext"].fast[0]) == 4


def test_under_autocast_what_it_says_is_float32():
    behaviour = make()
    features = some(4, FEATURES)
    exact = behaviour.policy(features)
    with torch.autocast("cpu", torch.bfloat16):
        rough, value = behaviour.policy(features), behaviour.critics["ext"](features)
    assert rough.dtype == value.dtype == torch.float32
    torch.testing.assert_close(rough, exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("space", [Discrete(3), MultiDiscrete([2, 3])])
def test_no_choice_is_ever_ruled_out(space):
    behaviour = make(space)
    head = behaviour.head
    with torch.no_grad():
        head.last.bias[1] = 100.0
    probabilities = behaviour.policy(some(4, FEATURES)).exp()
    parts = probabilities.split((3,) if isinstance(space, Discrete) else (2, 3), dim=-1)
    for part in parts:
        torch.testing.assert_close(part.sum(-1), torch.ones(4))
        assert (part > 0.009 / part.shape[-1]).all()
    # The first part's second choice has all but the uniform share of one hundredth.
    count = parts[0].shape[-1]
    torch.testing.assert_close(parts[0][:, 1], torch.full((4,), 0.99 + 0.01 / count))


@pytest.mark.parametrize("space", [Discrete(3, start=4), MultiDiscrete([2, 3]), Box(-1, 1, (2,))])
def test_a_step_along_the_policy_gradient_makes_what_paid_likelier(space):
    behaviour = make(space)
    head, features = behaviour.head, some(64, FEATURES)
    adam = torch.optim.Adam(behaviour.parameters(), lr=3e-2)
    draws = generator(3)
    paying = []
    for _ in range(40):
        parameters = behaviour.policy(features)
        with torch.no_grad():
            action = head.sample(parameters, draws)
        # What pays is the last choice, or numbers above 0, in the first part of the action.
        paid = (action[:, 0] > 0.5).float()
        paying.append(paid.mean().item())
        advantage = paid - paid.mean()
        loss = -(advantage * head.log_probability(parameters, action)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert np.mean(paying[-5:]) > np.mean(paying[:5]) + 0.2


def test_other_action_spaces_are_refused():
    with pytest.raises(TypeError, match="action_space must be Discrete, MultiDiscrete or a Box"):
        make(Dict({"a": gymnasium.spaces.Discrete(2)}))
