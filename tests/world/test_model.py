import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from ngu.world.model import WorldModel, WorldModelConfig
from ngu.world.rssm import RSSMConfig

# A free nat would let each imagined step err, in a world of four places.
SIZES = {"deterministic_size": 32, "latents": 4, "classes": 4, "hidden": 32, "free_nats": 0.1}
SIDE, STEPS, BATCH = 16, 12, 12


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(observation_space=None, action_space=None, seed=0, **settings):
    if observation_space is None:
        observation_space = gym.spaces.Box(0, 255, (SIDE, SIDE), np.uint8)
    action_space = gym.spaces.Discrete(2) if action_space is None else action_space
    config = WorldModelConfig(RSSMConfig(**SIZES), filters=12, hidden=32, **settings)
    return WorldModel(observation_space, action_space, config, generator=generator(seed))


def moving_dot(seed=0):
    """A bright square that actions move left or right, and around; at the left edge it pays 2."""
    draws = generator(seed)
    actions = torch.randint(0, 2, (STEPS, BATCH), generator=draws)
    start = torch.randint(0, 4, (BATCH,), generator=draws)
    first = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    first[0] = True
    moves = torch.where(first, 0, 2 * actions - 1)
    column = (start + moves.cumsum(0)) % 4
    pictures = torch.zeros(STEPS, BATCH, SIDE, SIDE, dtype=torch.uint8)
    for t in range(STEPS):
        for b in range(BATCH):
            left = 4 * int(column[t, b])
            pictures[t, b, 6:10, left : left + 4] = 255
    reward = torch.where(column == 0, 2.0, 0.0)
    return pictures, actions, reward, torch.zeros_like(first), first


@pytest.fixture(scope="module")
def trained():
    """A model after a few updates on one batch, and its parts before and after."""
    model, batch = make(), moving_dot()
    adam = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    draws = generator(1)
    _, before = model.loss(*batch, generator=generator(2))
    for _ in range(100):
        loss, _ = model.loss(*batch, generator=draws)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        adam.step()
    _, after = model.loss(*batch, generator=generator(2))
    return model, before, after


def test_it_learns_what_it_sees(trained):
    _, before, after = trained
    assert after.reconstruction.mean() < before.reconstruction.mean() / 20
    assert after.reward.mean() < before.reward.mean() / 20
    assert after.continuation.mean() < 0.01


@pytest.mark.parametrize("draws", [None, generator(3)])
def test_it_foresees_what_it_does_not_see(trained, draws):
    """Seven steps unseen after five seen, against the mean picture and the last one seen."""
    model, _, _ = trained
    pictures, actions, reward, _, first = moving_dot()
    found = model.predict(pictures[:5], actions, first[:5], draws)
    future = pictures[5:].float() / 255
    error, by_mean, by_last = (
        (guess - future).square().sum((-2, -1)).mean()
        for guess in (
            found.observations.float() / 255,
            (pictures.float() / 255).mean((0, 1)),
            pictures[4].float() / 255,
        )
    )
    assert error < by_mean / 4
    assert error < by_last / 4
    assert (found.reward - reward[5:]).square().mean().sqrt() < reward.std() / 2
    assert found.continue_probability.min() > 0.9


def test_other_actions_lead_elsewhere(trained):
    model, _, _ = trained
    pictures, actions, _, _, first = moving_dot()
    left, right = (torch.cat((actions[:5], torch.full((2, BATCH), a))) for a in (0, 1))
    shown = [model.predict(pictures[:5], a, first[:5]).observations[0] for a in (left, right)]
    differs = (shown[0].float() - shown[1].float()).abs().amax((-2, -1)) > 128
    assert differs.float().mean() > 0.9


def test_what_is_made_small():
    model, batch = make(dynamics_weight=0.5, representation_weight=0.25), moving_dot()
    loss, parts = model.loss(*batch, generator=generator())
    assert all(part.shape == (STEPS, BATCH) for part in parts[:-1])
    seen = sum(part.mean() for part in parts[:3])
    expected = seen + 0.5 * parts.dynamics.mean() + 0.25 * parts.representation.mean()
    torch.testing.assert_close(loss, expected)
    weights = WorldModelConfig()
    assert (weights.dynamics_weight, weights.representation_weight) == (1.0, 0.1)


def test_parts_by_hand():
    """A new reward head knows nothing: all bins alike, mean 0."""
    model, (pictures, actions, reward, terminated, first) = make(), moving_dot()
    terminated[3:, 0] = True
    _, parts = model.loss(pictures, actions, reward, terminated, first)
    torch.testing.assert_close(parts.reward, torch.full((STEPS, BATCH), math.log(255)))
    features = model.rssm.features(parts.observed.states)
    assert model.expected_reward(features).abs().max() == 0
    goes_on = model.continue_probability(features)
    expected = -torch.where(terminated, 1 - goes_on, goes_on).log()
    torch.testing.assert_close(parts.continuation, expected)
    shown = model.codec.decode(features.flatten(0, 1)).unflatten(0, (STEPS, BATCH))
    error = ((shown.float() - pictures.float()) / 255).square().sum((-2, -1))
    torch.testing.assert_close(parts.reconstruction, error, atol=0.5, rtol=0.02)  # bytes are round


def test_every_weight_learns():
    model = make()
    torch.nn.init.normal_(model.reward_head[-1].weight, generator=generator())
    model.loss(*moving_dot(), generator=generator())[0].backward()
    idle = [name for name, weight in model.named_parameters() if not weight.grad.abs().sum() > 0]
    assert idle == []


def test_rewards_and_ends_are_read_off_states_alone():
    """The heads' targets do not touch the states: they are of x_t, already seen."""
    model, (pictures, actions, reward, terminated, first) = make(), moving_dot()
    one = model.loss(pictures, actions, reward, terminated, first)[1]
    other = model.loss(pictures, actions, 5 * reward + 1, ~terminated, first)[1]
    assert torch.equal(one.observed.states.deterministic, other.observed.states.deterministic)


@pytest.mark.parametrize(
    ("observation_space", "action_space"),
    [
        (gym.spaces.Box(-9, 9, (3,)), gym.spaces.Discrete(3, start=1)),
        (gym.spaces.Box(0, 255, (3,), np.uint8), gym.spaces.MultiDiscrete([2, 3], start=[1, 0])),
        (gym.spaces.Box(0, 255, (3, 40, 36), np.uint8), gym.spaces.Box(-1, 1, (2,))),
        (gym.spaces.Box(0, 1, (20, 18, 2)), gym.spaces.Discrete(4)),
    ],
)
def test_spaces(observation_space, action_space):
    observation_space.seed(0)
    action_space.seed(0)
    model = make(observation_space, action_space)
    observations, actions = (
        torch.from_numpy(np.array([[space.sample() for _ in range(2)] for _ in range(5)]))
        for space in (observation_space, action_space)
    )
    first = torch.zeros(5, 2, dtype=torch.bool)
    first[0], first[2, 1] = True, True
    actions[first] = 0  # as a replay holds it
    reward = torch.randn(5, 2, generator=generator())
    loss, _ = model.loss(observations, actions, reward, ~first, first, generator=generator())
    assert loss.isfinite()
    found = model.predict(observations[:3], actions, first[:3])
    assert (found.observations.shape, found.observations.dtype) == (
        (2, 2, *observation_space.shape), observations.dtype
    )  # fmt: skip
    assert found.reward.shape == found.continue_probability.shape == (2, 2)


def test_gaussian_states():
    config = WorldModelConfig(RSSMConfig(latent="gaussian", **SIZES), filters=12, hidden=32)
    pictures = gym.spaces.Box(0, 255, (SIDE, SIDE), np.uint8)
    model, batch = WorldModel(pictures, gym.spaces.Discrete(2), config), moving_dot()
    model.loss(*batch, generator=generator())[0].backward()
    found = model.predict(batch[0][:5], batch[1], batch[4][:5], generator())
    assert found.observations.shape == (STEPS - 5, BATCH, SIDE, SIDE)


def test_weights_and_samples_come_from_generators_alone():
    before, batch = torch.get_rng_state(), moving_dot()
    one, same, other = (
        make(seed=seed).loss(*batch, generator=generator())[0] for seed in (1, 1, 2)
    )
    redrawn = make(seed=1).loss(*batch, generator=generator(1))[0]
    assert torch.equal(before, torch.get_rng_state())
    assert one.item() == same.item()
    assert other.item() != one.item() != redrawn.item()


def test_a_sequence_goes_on_where_another_ended():
    model, (pictures, actions, _, _, first) = make(), moving_dot()
    draws = generator()
    whole = model.observe(pictures, actions, first, generator=generator())
    left = model.observe(pictures[:7], actions[:7], first[:7], None, draws)
    right = model.observe(pictures[7:], actions[7:], first[7:], left.states.at(-1), draws)
    torch.testing.assert_close(whole.states.at(-1), right.states.at(-1))


def test_bfloat16_is_near():
    model, batch = make(), moving_dot()
    exact, _ = model.loss(*batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough, parts = model.loss(*batch)
        found = model.predict(batch[0][:5], batch[1], batch[4][:5])
    assert {part.dtype for part in parts[:-1]} == {torch.float32}
    assert found.reward.dtype == found.continue_probability.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0)


def test_wrong_arguments():
    model, (pictures, actions, reward, terminated, first) = make(), moving_dot()
    with pytest.raises(TypeError, match=r"dtype torch\.uint8, as the space is, got torch\.float32"):
        model.observe(pictures / 255, actions, first)
    with pytest.raises(ValueError, match=r"\[T, B, 16, 16\], T at least 1, got \[12, 12, 15, 16\]"):
        model.loss(pictures[:, :, 1:], actions, reward, terminated, first)
    with pytest.raises(ValueError, match=r"T at least 1, got \[0, 12, 16, 16\]"):
        model.observe(pictures[:0], actions[:0], first[:0])
    with pytest.raises(ValueError, match=r"action_tm1 must have shape \[12, 12\], got \[12, 12, 1"):
        model.observe(pictures, actions[..., None], first)
    with pytest.raises(ValueError, match="more steps than the 5 of the context, got 5"):
        model.predict(pictures[:5], actions[:5], first[:5])


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"filters": 0}, "filters must be at least 1, got 0"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"dynamics_weight": -1.0}, "dynamics_weight must be at least 0, got -1"),
        ({"representation_weight": math.nan}, "representation_weight must be at least 0, got nan"),
    ],
)
def test_settings_out_of_range(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        WorldModelConfig(**setting)
