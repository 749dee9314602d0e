"""The gymnasium wrappers against a loop written out, in each autoreset mode."""

import copy
import dataclasses
import itertools
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorWrapper

from ngu import NGU, RND
from ngu.adapters.gymnasium import IntrinsicRewardWrapper, VectorIntrinsicReward
from ngu.adapters.payer import PayerConfig
from ngu.novelty.testing import Walk, rewards_of

UNTRAINED = PayerConfig(train_every=0)
OFTEN = PayerConfig(train_every=2, batch_size=4, reservoir_size=16)


class Paid(Walk):
    """A walk that pays 1 for each step."""

    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        return obs, 1.0, terminated, truncated, info


def make_bonus(kind=NGU, num_envs=1):
    return kind(Walk.observation_space, Walk.action_space, num_envs, seed=0)


def vector(mode, num_envs=1):
    return SyncVectorEnv([Paid] * num_envs, autoreset_mode=mode)


def steps_of(envs, mode, count):
    """Reward and info of steps that are no resets."""
    action = np.zeros(envs.num_envs, np.int64)
    done = np.zeros(envs.num_envs, bool)
    envs.reset()
    found = []
    while len(found) < count:
        _, reward, terminated, truncated, info = envs.step(action)
        if not (mode == AutoresetMode.NEXT_STEP and done.any()):
            found.append((reward, info))
        done = terminated | truncated
        if mode == AutoresetMode.DISABLED and done.any():
            envs.reset(options={"reset_mask": done})
    return found


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_pays_what_the_bonus_scores(mode):
    expected = rewards_of(make_bonus(), mode, 20)
    envs = VectorIntrinsicReward(vector(mode), make_bonus(), beta=0.5, config=UNTRAINED)
    found = steps_of(envs, mode, 20)
    assert [info["intrinsic_reward"][0] for _, info in found] == expected
    for reward, info in found:
        assert info["extrinsic_reward"][0] == 1.0
        assert reward[0] == pytest.approx(1.0 + 0.5 * info["intrinsic_reward"][0])
        parts = info["novelty/episodic_novelty"] * info["novelty/lifelong_modulator"]
        assert parts[0] == pytest.approx(info["intrinsic_reward"][0], rel=1e-5)
    # Episodes of 3, 4, 5, 3, ... steps.
    ended = [info["episode_novelty"] for _, info in found if "episode_novelty" in info]
    assert [episode["l"][0] for episode in ended] == [3, 4, 5, 3, 4]
    assert [episode["extrinsic"][0] for episode in ended] == [3.0, 4.0, 5.0, 3.0, 4.0]
    intrinsic = [sum(expected[a:b]) for a, b in ((0, 3), (3, 7), (7, 12), (12, 15), (15, 19))]
    np.testing.assert_allclose([episode["intrinsic"][0] for episode in ended], intrinsic)


def test_the_two_rewards_may_be_kept_apart():
    envs = VectorIntrinsicReward(
        vector(AutoresetMode.NEXT_STEP), make_bonus(), keep_separate=True, config=UNTRAINED
    )
    for reward, info in steps_of(envs, AutoresetMode.NEXT_STEP, 5):
        assert reward[0] == 1.0
        assert info["intrinsic_reward"][0] > 0


def test_one_environment_is_paid_as_a_vector_of_one():
    expected = rewards_of(make_bonus(), AutoresetMode.DISABLED, 12)
    env = IntrinsicRewardWrapper(Paid(), make_bonus(), beta=0.5, config=UNTRAINED)
    found, episodes = [], []
    env.reset()
    for _ in range(12):
        obs, reward, terminated, truncated, info = env.step(0)
        assert obs.shape == (4,)
        assert reward == pytest.approx(1.0 + 0.5 * info["intrinsic_reward"])
        found.append(info["intrinsic_reward"])
        if terminated or truncated:
            episodes.append(info["episode_novelty"])
            env.reset()
    assert found == expected
    assert [episode["l"] for episode in episodes] == [3, 4, 5]
    assert episodes[1]["intrinsic"] == pytest.approx(sum(expected[3:7]))


def test_rewards_are_divided_by_the_deviation_of_their_returns():
    mode, discount = AutoresetMode.SAME_STEP, 0.9
    config = dataclasses.replace(UNTRAINED, normalise=True, discount=discount)
    plain = steps_of(VectorIntrinsicReward(vector(mode, 2), make_bonus(RND, 2), config=UNTRAINED),
                     mode, 15)  # fmt: skip
    scaled = steps_of(VectorIntrinsicReward(vector(mode, 2), make_bonus(RND, 2), config=config),
                      mode, 15)  # fmt: skip
    returns, seen = np.zeros(2), []
    for (_, before), (_, after) in zip(plain, scaled, strict=True):
        returns = discount * returns + before["intrinsic_reward"]
        seen.extend(returns)
        deviation = math.sqrt(np.mean((np.array(seen) - np.mean(seen)) ** 2))
        expected = before["intrinsic_reward"] / deviation if deviation > 0 else 0
        if deviation > 0:
            np.testing.assert_allclose(after["intrinsic_reward"], expected, rtol=1e-5)


def test_the_bonus_trains_on_what_happened():
    mode = AutoresetMode.NEXT_STEP
    envs = VectorIntrinsicReward(vector(mode, 2), make_bonus(num_envs=2), config=OFTEN)
    steps_of(envs, mode, 3)
    assert envs.payer.metrics.keys() >= {"inverse_dynamics_loss", "distillation_loss"}
    assert envs.payer._reservoir.size == 6
    before, _, after = envs.payer._reservoir.draw(200, np.random.default_rng(0))
    pairs = {(a.tobytes(), b.tobytes()) for a, b in zip(before, after, strict=True)}
    states = [np.random.default_rng((0, t)).uniform(-2, 2, 4).astype(np.float32) for t in range(4)]
    assert pairs == {(a.tobytes(), b.tobytes()) for a, b in itertools.pairwise(states)}


def test_a_loaded_payer_goes_on_the_same():
    mode = AutoresetMode.SAME_STEP
    config = dataclasses.replace(OFTEN, normalise=True)
    one, other = (
        VectorIntrinsicReward(vector(mode), make_bonus(), config=config, seed=seed)
        for seed in (0, 1)
    )
    steps_of(one, mode, 9)
    other.payer.load_state_dict(copy.deepcopy(one.payer.state_dict()))
    for envs in (one, other):
        envs.env.envs[0].episode = 0
    found = [
        [info["intrinsic_reward"][0] for _, info in steps_of(envs, mode, 20)]
        for envs in (one, other)
    ]
    assert found[0] == found[1]
    assert one.payer.metrics == other.payer.metrics


@pytest.mark.parametrize("beta", [-0.1, math.nan, math.inf])
def test_a_bad_weight_is_refused(beta):
    message = f"beta must be at least 0 and finite, got {beta}"
    with pytest.raises(ValueError, match=message):
        VectorIntrinsicReward(vector(AutoresetMode.NEXT_STEP), make_bonus(), beta)
    with pytest.raises(ValueError, match=message):
        IntrinsicRewardWrapper(Paid(), make_bonus(), beta)


def test_what_does_not_fit_is_refused():
    envs = vector(AutoresetMode.NEXT_STEP, 3)
    with pytest.raises(ValueError, match="for the 3 environments, got one for 2"):
        VectorIntrinsicReward(envs, make_bonus(num_envs=2))
    with pytest.raises(ValueError, match="for 1 environment, got one for 2"):
        IntrinsicRewardWrapper(Paid(), make_bonus(num_envs=2))
    paid = VectorWrapper(VectorIntrinsicReward(envs, make_bonus(num_envs=3)))
    with pytest.raises(ValueError, match="wrapped in VectorIntrinsicReward already"):
        VectorIntrinsicReward(paid, make_bonus(num_envs=3))
    alone = gym.wrappers.TimeLimit(IntrinsicRewardWrapper(Paid(), make_bonus()), 5)
    with pytest.raises(ValueError, match="wrapped in IntrinsicRewardWrapper already"):
        IntrinsicRewardWrapper(alone, make_bonus())
    envs.metadata = {}
    with pytest.raises(ValueError, match="autoreset_mode in metadata, got None"):
        VectorIntrinsicReward(envs, make_bonus(num_envs=3))


def test_stepping_before_a_reset_is_refused():
    for env in (
        VectorIntrinsicReward(vector(AutoresetMode.NEXT_STEP), make_bonus()),
        IntrinsicRewardWrapper(Paid(), make_bonus()),
    ):
        with pytest.raises(gym.error.ResetNeeded):
            env.step(np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"train_every": -1}, "train_every must be at least 0, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"reservoir_size": 9}, "at least the batch_size of 256, got 9"),
        ({"discount": 1.0}, "discount must be in"),
    ],
)
def test_bad_settings(config, message):
    with pytest.raises(ValueError, match=message):
        PayerConfig(**config)
