"""The distributions of actions against torch's own, and what environments get of them."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from torch.distributions import Categorical, Normal

from ngu.spaces import ActionSpec
from ngu_agents.policy_heads import make_policy_head


def make(space: gymnasium.Space):
    head = make_policy_head(space, 5, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head, head(torch.randn(7, 5)).detach()


def test_choices_are_those_of_torchs_softmax():
    head, parameters = make(MultiDiscrete([3, 4]))
    parts = [Categorical(logits=part) for part in parameters.split((3, 4), dim=-1)]
    action = torch.stack([part.sample() for part in parts], dim=-1)
    log_probability = sum(part.log_prob(action[:, i]) for i, part in enumerate(parts))
    torch.testing.assert_close(head.log_probability(parameters, action), log_probability)
    torch.testing.assert_close(head.entropy(parameters), sum(part.entropy() for part in parts))


def test_normal_numbers_are_those_of_torch():
    head, parameters = make(Box(-1, 1, (2, 2)))
    mean, log_std = parameters.chunk(2, dim=-1)
    normal = Normal(mean, log_std.exp())
    action = normal.sample()
    torch.testing.assert_close(
        head.log_probability(parameters, action), normal.log_prob(action).sum(-1)
    )
    torch.testing.assert_close(head.entropy(parameters), normal.entropy().sum(-1))
    assert (log_std == log_std[0]).all()


def test_draws_follow_the_distribution():
    generator = torch.Generator().manual_seed(0)
    head, _ = make(MultiDiscrete([2, 3]))
    probabilities = torch.tensor([0.3, 0.7, 0.1, 0.5, 0.4])
    drawn = head.sample(probabilities.log().expand(20_000, 5), generator)
    for part, expected in enumerate(probabilities.split((2, 3))):
        share = torch.bincount(drawn[:, part], minlength=len(expected)) / 20_000
        # A standard deviation of at most .0036.
        torch.testing.assert_close(share, expected, atol=0.015, rtol=0)
    head, _ = make(Box(-1, 1, (1,)))
    drawn = head.sample(torch.tensor([2.0, np.log(0.5)]).expand(20_000, 2), generator)
    assert drawn.mean().item() == pytest.approx(2.0, abs=0.015)
    assert drawn.std().item() == pytest.approx(0.5, abs=0.015)


def test_the_generator_alone_decides_the_draws():
    for space in (Discrete(3), Box(-1, 1, (2,))):
        head, parameters = make(space)
        draws = []
        for seed, noise in ((1, 0), (1, 5), (2, 0)):
            torch.manual_seed(noise)
            draws.append(head.sample(parameters, torch.Generator().manual_seed(seed)))
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])


def test_environments_get_actions_of_their_space():
    head, _ = make(Discrete(3, start=4))
    got = head.for_environments(torch.tensor([[0], [2]]))
    np.testing.assert_array_equal(got, [4, 6])
    space = MultiDiscrete([2, 3], start=[1, -1])
    head, _ = make(space)
    got = head.for_environments(torch.tensor([[0, 0], [1, 2]]))
    np.testing.assert_array_equal(got, [[1, -1], [2, 1]])
    assert all(space.contains(row) for row in got)
    space = Box(np.array([[-1.0], [0.0]]), np.array([[1.0], [np.inf]]), dtype=np.float64)
    head, _ = make(space)
    got = head.for_environments(torch.tensor([[-3.0, -2.0], [0.5, 9.0]]))
    np.testing.assert_array_equal(got, [[[-1.0], [0.0]], [[0.5], [9.0]]])
    assert all(space.contains(row) for row in got)


@pytest.mark.parametrize(
    "space",
    [
        Discrete(3, start=4),
        Discrete(3, start=-1, dtype=np.int32),
        MultiDiscrete([2, 3], start=[1, -1]),
        MultiDiscrete([4, 2], dtype=np.int32),
        Box(-0.5, 0.5, (2, 2)),
        Box(np.array([-1.0, 0.0]), np.array([1.0, np.inf]), dtype=np.float64),
    ],
)
def test_actions_are_encoded_as_the_environments_actions_are(space):
    head, parameters = make(space)
    drawn = head.sample(parameters, torch.Generator().manual_seed(0))
    given = head.for_environments(drawn)
    assert given.dtype == space.dtype
    assert all(space.contains(row) for row in given)
    spec = ActionSpec(space)
    encoded = head.encode(drawn)
    assert encoded.shape == (7, spec.size)
    torch.testing.assert_close(encoded, spec.encode(torch.from_numpy(given)), rtol=0, atol=1e-7)
    # With more axes in front alike.
    again = head.encode(drawn.unsqueeze(0).expand(2, *drawn.shape))
    torch.testing.assert_close(again, encoded.expand(2, *encoded.shape), rtol=0, atol=0)


def test_a_uniform_share_is_mixed_into_each_choice():
    space, shares = MultiDiscrete([2, 3]), (0.0, 0.2, 1.0)
    heads = [
        make_policy_head(space, 5, uniform_share=share, generator=torch.Generator().manual_seed(0))
        for share in shares
    ]
    features = 200 * torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    plain = heads[0](features).exp()
    assert plain.min() < 0.1
    uniform = torch.tensor([1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3])
    for head, share in zip(heads, shares, strict=True):
        expected = (1 - share) * plain + share * uniform
        torch.testing.assert_close(head(features).exp(), expected)


def test_a_first_policy_prefers_next_to_nothing():
    head = make_policy_head(Discrete(4), 64, generator=torch.Generator().manual_seed(0))
    probabilities = head(torch.ones(1, 64)).exp()
    torch.testing.assert_close(probabilities, torch.full((1, 4), 0.25), atol=0.05, rtol=0)


def test_other_spaces_are_refused():
    with pytest.raises(TypeError, match="action_space must be Discrete, MultiDiscrete or a Box"):
        make_policy_head(Dict({"a": Discrete(2)}), 5, generator=torch.Generator())
