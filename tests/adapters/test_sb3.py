"""stable-baselines3 itself with novelty: its environments, agents, logger and checkpoints."""

import copy
import importlib
import math
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from sb3_contrib import QRDQN, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from ngu import NGU, RND, NGUConfig
from ngu.adapters.gymnasium import IntrinsicRewardWrapper
from ngu.adapters.payer import PayerConfig
from ngu.adapters.sb3 import IntrinsicRewardCallback, IntrinsicRewardVecEnv
from ngu.novelty.base import IntrinsicReward
from ngu.novelty.testing import Walk, flat, rewards_of
from ngu.state_file import DamagedCheckpoint, save_tree

UNTRAINED = PayerConfig(train_every=0)
OFTEN = PayerConfig(train_every=2, batch_size=4, reservoir_size=16, normalise=True)


class Paid(Walk):
    """A walk that pays 1 for each step; environments end at different ones."""

    def __init__(self, begun=0):
        super().__init__()
        self.episode += begun

    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        return obs, 1.0, terminated, truncated, info


class Sampled(gym.Env):
    """Random observations of any space, episodes of four steps."""

    def __init__(self, observation_space, action_space, seed=0):
        self.observation_space, self.action_space = copy.deepcopy((observation_space, action_space))
        self.observation_space.seed(seed)
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        return self.observation_space.sample(), 0.0, self.steps == 4, False, {}


class Telling(IntrinsicReward):
    """Pays the mean of the state reached, plus 1,000 times that of the state left."""

    def publish(self):
        pass

    def _begin(self, obs, where):
        self.first = obs

    def _score(self, obs_tm1, action_tm1, obs_t, where):
        self.actions = action_tm1
        return _mean(obs_t) + 1000 * _mean(obs_tm1), {"reached": _mean(obs_t)}

    def _update(self, obs_tm1, action_tm1, obs_t):
        return {}


def _mean(obs):
    return obs.reshape(len(obs), -1).float().mean(1)


def walks(num_envs=1):
    return DummyVecEnv([lambda i=i: Paid(i) for i in range(num_envs)])


def sampled(observation_space, action_space, num_envs=2):
    return DummyVecEnv(
        [lambda i=i: Sampled(observation_space, action_space, i) for i in range(num_envs)]
    )


def bonus_for(venv, kind=NGU, seed=0, **arguments):
    return kind(venv.observation_space, venv.action_space, venv.num_envs, seed=seed, **arguments)


def with_novelty(venv, kind=NGU, beta=0.5, config=UNTRAINED, seed=0):
    return IntrinsicRewardVecEnv(venv, bonus_for(venv, kind, seed), beta, config=config, seed=seed)


def steps_of(venv, count):
    """Observations, rewards, dones and infos of steps after a reset."""
    venv.reset()
    return [venv.step(np.zeros(venv.num_envs, np.int64)) for _ in range(count)]


def intrinsic_of(steps):
    return [[info["intrinsic_reward"] for info in infos] for *_, infos in steps]


def by_hand(num_envs, steps):
    """What NGU pays in a loop that is written out."""
    envs = [Paid(i) for i in range(num_envs)]
    bonus = NGU(Walk.observation_space, Walk.action_space, num_envs, seed=0)
    obs = np.stack([env.reset()[0] for env in envs])
    bonus.begin(obs)
    rewards = []
    for _ in range(steps):
        results = [env.step(0) for env in envs]
        reached = np.stack([result[0] for result in results])
        done = np.array([result[2] or result[3] for result in results])
        rewards.append(bonus.score(obs, np.zeros(num_envs, np.int64), reached).tolist())
        obs = reached.copy()
        for env in np.flatnonzero(done):
            obs[env] = envs[env].reset()[0]
        bonus.begin(obs, where=done)
    return rewards


def test_pays_what_the_bonus_scores():
    expected = by_hand(3, 20)
    found = steps_of(with_novelty(walks(3)), 20)
    assert intrinsic_of(found) == expected
    ends = set()
    for step, (_, reward, done, infos) in enumerate(found):
        for env, info in enumerate(infos):
            assert info["extrinsic_reward"] == 1.0
            assert reward[env] == pytest.approx(1.0 + 0.5 * info["intrinsic_reward"])
            parts = info["novelty/episodic_novelty"] * info["novelty/lifelong_modulator"]
            assert parts == pytest.approx(info["intrinsic_reward"], rel=1e-5)
            assert ("episode_novelty" in info) == done[env]
            if done[env]:
                episode = info["episode_novelty"]
                length = episode["l"]
                assert episode["extrinsic"] == length
                paid = [row[env] for row in expected[step + 1 - length : step + 1]]
                assert episode["intrinsic"] == pytest.approx(sum(paid))
                ends.add((env, step, length))
    # Episodes of 3, 4, 5, 3, ... steps, those of the second environment of 4, 5, 3, 4, ...
    assert {(0, 2, 3), (0, 6, 4), (0, 11, 5), (1, 3, 4), (1, 8, 5), (1, 11, 3)} <= ends


def test_one_environment_is_paid_as_one_of_gymnasium():
    expected = rewards_of(
        NGU(Walk.observation_space, Walk.action_space, 1, seed=0), AutoresetMode.DISABLED, 12
    )
    assert intrinsic_of(steps_of(with_novelty(walks()), 12)) == [[reward] for reward in expected]


def test_environments_in_other_processes_are_paid_the_same():
    here, elsewhere = with_novelty(DummyVecEnv([Walk] * 2)), with_novelty(SubprocVecEnv([Walk] * 2))
    try:
        found = steps_of(elsewhere, 9)
    finally:
        elsewhere.close()
    assert intrinsic_of(found) == intrinsic_of(steps_of(here, 9))
    assert found[2][3][0]["episode_novelty"]["l"] == 3


IMAGE = gym.spaces.Box(0, 255, (36, 40, 3), np.uint8)
WIDE = gym.spaces.Box(-2, 2, (3,), np.float64)
BUTTONS = gym.spaces.Discrete(3)


@pytest.mark.parametrize(
    ("space", "inside"),
    [
        (IMAGE, lambda venv: venv),
        (IMAGE, VecTransposeImage),
        (IMAGE, lambda venv: VecFrameStack(venv, 2)),
        (WIDE, lambda venv: venv),
        (WIDE, VecMonitor),
        (WIDE, lambda venv: VecNormalize(venv, norm_reward=False)),
        (gym.spaces.Discrete(7), lambda venv: venv),
    ],
)
def test_the_state_reached_is_the_last_of_its_episode(space, inside):
    venv = inside(sampled(space, BUTTONS))
    shape = venv.observation_space.shape
    bonus = Telling(venv.observation_space, venv.action_space, 2)
    venv = IntrinsicRewardVecEnv(venv, bonus, config=UNTRAINED)
    obs = venv.reset()
    ended = 0
    for _ in range(9):
        before = obs
        obs, _, done, infos = venv.step(np.zeros(2, np.int64))
        assert obs.shape == (2, *shape)
        for env, info in enumerate(infos):
            last = info["terminal_observation"] if done[env] else obs[env]
            assert info["novelty/reached"] == pytest.approx(np.mean(last), rel=1e-5)
            expected = np.mean(last) + 1000 * np.mean(before[env])
            assert info["intrinsic_reward"] == pytest.approx(expected, rel=1e-5)
            ended += done[env]
    assert ended == 4


def test_wrappers_outside_do_not_change_what_is_new():
    expected = intrinsic_of(steps_of(with_novelty(walks(2)), 12))
    normalised = VecNormalize(with_novelty(walks(2)))
    normalised.reset()
    for row in expected:
        infos = normalised.step(np.zeros(2, np.int64))[3]
        assert [info["intrinsic_reward"] for info in infos] == row
        assert normalised.get_original_reward().tolist() == pytest.approx(1 + 0.5 * np.array(row))
    stacked = VecFrameStack(with_novelty(walks(2)), 3)
    assert intrinsic_of(steps_of(stacked, 12)) == expected
    assert stacked.env_is_wrapped(Walk) == [False, False]
    assert stacked.get_attr("steps") == [env.steps for env in stacked.unwrapped.envs]


def test_a_monitor_inside_counts_the_environments_reward():
    inside = steps_of(with_novelty(VecMonitor(walks())), 3)[-1][3][0]
    outside = steps_of(VecMonitor(with_novelty(walks())), 3)[-1][3][0]
    intrinsic = inside["episode_novelty"]["intrinsic"]
    assert inside["episode"]["r"] == 3.0
    assert outside["episode"]["r"] == pytest.approx(3.0 + 0.5 * intrinsic, rel=1e-5)


def test_actions_that_leave_their_box_by_rounding_are_scored_inside():
    low, high = np.float32([0.1, -3]), np.float32([0.3, 7])
    venv = sampled(WIDE, gym.spaces.Box(low, high))
    venv.envs[0].action_space = venv.envs[1].action_space = gym.spaces.Box(-9, 9, (2,))
    bonus = bonus_for(venv, lambda *spaces, seed: Telling(*spaces))
    venv = IntrinsicRewardVecEnv(venv, bonus)
    venv.reset()
    venv.step(np.stack([np.nextafter(high, np.float32(9)), np.float32([0.2, 1])]))
    np.testing.assert_array_equal(bonus.actions.numpy(), np.stack([high, np.float32([0.2, 1])]))


SMALL = {"device": "cpu", "seed": 0, "policy_kwargs": {"net_arch": [8]}}
ON_POLICY = {**SMALL, "n_steps": 16}
OFF_POLICY = {**SMALL, "learning_starts": 32, "buffer_size": 200}


@pytest.mark.parametrize(
    ("make", "settings", "action_space"),
    [
        (PPO, {**ON_POLICY, "batch_size": 16}, BUTTONS),
        (PPO, {**ON_POLICY, "batch_size": 16}, gym.spaces.Box(-1, 2, (2,))),
        (A2C, ON_POLICY, gym.spaces.MultiDiscrete([2, 3])),
        (DQN, OFF_POLICY, BUTTONS),
        (QRDQN, OFF_POLICY, BUTTONS),
        (SAC, OFF_POLICY, gym.spaces.Box(0.1, 0.3, (2,))),
        (RecurrentPPO, {**ON_POLICY, "batch_size": 16}, BUTTONS),
    ],
)
def test_agents_learn_from_it(make, settings, action_space):
    policy = "MlpLstmPolicy" if make is RecurrentPPO else "MlpPolicy"
    venv = VecMonitor(sampled(Walk.observation_space, action_space))
    bonus = bonus_for(venv, config=NGUConfig(memory_capacity=16))
    venv = IntrinsicRewardVecEnv(venv, bonus, config=OFTEN)
    model = make(policy, venv, **copy.deepcopy(settings))  # some of them change policy_kwargs
    before = copy.deepcopy(model.policy.state_dict())
    model.learn(200, callback=IntrinsicRewardCallback())
    assert bonus.episodes.tolist() == [1 + len(range(4, model.num_timesteps // 2 + 1, 4))] * 2
    assert venv.payer.metrics["inverse_dynamics_loss"] > 0
    assert any((before[name] != value).any() for name, value in model.policy.state_dict().items())
    # The rewards that the agent stored are those paid: the environments' own are all 0.
    stored = model.replay_buffer if hasattr(model, "replay_buffer") else model.rollout_buffer
    assert (stored.rewards[:8] > 0).all()


def test_pictures_reach_an_agent_behind_a_transposition():
    venv = with_novelty(sampled(IMAGE, BUTTONS), config=OFTEN)
    model = A2C("CnnPolicy", venv, device="cpu", seed=0)
    assert isinstance(model.get_env(), VecTransposeImage)
    model.learn(20, callback=IntrinsicRewardCallback())
    assert model.num_timesteps == 20


class Kept(KVWriter):
    """Keeps what is logged."""

    def __init__(self):
        self.rows = []

    def write(self, key_values, key_excluded, step=0):
        self.rows.append(dict(key_values))

    def close(self):
        pass


class Seen(BaseCallback):
    """Keeps what each step paid."""

    def __init__(self):
        super().__init__()
        self.intrinsic, self.episodes = [], []

    def _on_step(self):
        for info in self.locals["infos"]:
            self.intrinsic.append(info["intrinsic_reward"])
            self.episodes += [info["episode_novelty"]] if "episode_novelty" in info else []
        return True


@pytest.mark.parametrize("make", [PPO, DQN])
def test_the_callback_logs_what_was_paid(make):
    venv = with_novelty(walks(2), config=OFTEN)
    settings = {**ON_POLICY, "batch_size": 16} if make is PPO else OFF_POLICY
    model = make("MlpPolicy", VecNormalize(venv, norm_obs=False), **copy.deepcopy(settings))
    kept, seen = Kept(), Seen()
    model.set_logger(Logger(None, [kept]))
    model.learn(32, callback=[seen, IntrinsicRewardCallback()], log_interval=1)
    row = kept.rows[0]
    if make is PPO:
        assert row["rollout/intrinsic_reward_mean"] == pytest.approx(np.mean(seen.intrinsic))
        extrinsic, intrinsic = (
            np.mean([e[name] for e in seen.episodes]) for name in ("extrinsic", "intrinsic")
        )
        assert row["rollout/extrinsic_return"] == pytest.approx(extrinsic)
        assert row["rollout/intrinsic_return"] == pytest.approx(intrinsic)
        assert row["novelty/distillation_loss"] == venv.payer.metrics["distillation_loss"]
    else:
        # The first episode ends with the third step, when two environments have taken three.
        assert row["rollout/intrinsic_reward_mean"] == pytest.approx(np.mean(seen.intrinsic[:6]))
        assert row["rollout/extrinsic_return"] == 3.0
    assert 0.3 < row["novelty/episodic_novelty"] <= 1000
    assert 1 <= row["novelty/lifelong_modulator"] <= 5


def test_the_callback_saves_beside_the_models_checkpoints(tmp_path):
    venv = with_novelty(walks(2), config=OFTEN)
    model = PPO("MlpPolicy", venv, **ON_POLICY, batch_size=16)
    both = [kind(12, tmp_path / "runs") for kind in (CheckpointCallback, IntrinsicRewardCallback)]
    model.learn(64, callback=both)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "rl_model_24_steps.zip",
        "rl_model_48_steps.zip",
        "rl_model_novelty_24_steps.safetensors",
        "rl_model_novelty_48_steps.safetensors",
    ]
    other = with_novelty(walks(2), config=OFTEN, seed=1)
    other.load(tmp_path / "runs" / "rl_model_novelty_48_steps.safetensors")
    assert other.payer._steps == 24
    resumed = PPO.load(tmp_path / "runs" / "rl_model_48_steps", env=other)
    resumed.learn(64, reset_num_timesteps=False, callback=IntrinsicRewardCallback())
    assert resumed.num_timesteps == 112
    assert other.payer._steps == 56


def test_a_loaded_bonus_goes_on_with_the_same_floats(tmp_path):
    path = tmp_path / "novelty.safetensors"
    one, other = (with_novelty(walks(2), config=OFTEN, seed=seed) for seed in (0, 1))
    steps_of(one, 21)
    one.save(path)
    steps_of(other, 2)
    other.load(path)
    with pytest.raises(RuntimeError, match=r"call reset\(\) before the first step, and after load"):
        other.step(np.zeros(2, np.int64))
    found = []
    for venv in (one, other):
        for env in venv.unwrapped.envs:
            env.episode = 0
        found.append(intrinsic_of(steps_of(venv, 21)))
    assert found[0] == found[1]
    assert one.payer.metrics == other.payer.metrics


def test_what_does_not_fit_is_not_loaded(tmp_path):
    path = tmp_path / "novelty.safetensors"
    venv = with_novelty(walks(2), config=OFTEN)
    steps_of(venv, 9)
    before = flat(copy.deepcopy(venv.payer.state_dict()))
    small = bonus_for(walks(2), config=NGUConfig(memory_capacity=7))
    for other, message in (
        (with_novelty(walks(2), RND), "the state of {'bonus': 'NGU', .* got {'bonus': 'RND'"),
        (with_novelty(walks(3)), "'num_envs': 2, .*got .*'num_envs': 3"),
        (with_novelty(sampled(WIDE, BUTTONS)), r"'observation_shape': \[4\], .*got .*\[3\]"),
        (IntrinsicRewardVecEnv(walks(2), small), r"capacity\) = .*30000.* got .*7"),
    ):
        other.save(path)
        with pytest.raises(ValueError, match=message):
            venv.load(path)
    save_tree(path, {"step": 3})
    with pytest.raises(ValueError, match="must hold what IntrinsicRewardVecEnv"):
        venv.load(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedCheckpoint):
        venv.load(path)
    after = flat(venv.payer.state_dict())
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = torch.equal if isinstance(value, torch.Tensor) else np.array_equal
        assert same(value, after[name]), name
    # Its episodes go on.
    venv.step(np.zeros(2, np.int64))


def test_what_does_not_fit_is_refused():
    venv = walks(3)
    with pytest.raises(ValueError, match="for the 3 environments, got one for 2"):
        IntrinsicRewardVecEnv(venv, bonus_for(walks(2)))
    with pytest.raises(ValueError, match=r"observation_space Box\(.*4.* got one for Box\(.*3"):
        IntrinsicRewardVecEnv(venv, bonus_for(sampled(WIDE, BUTTONS, 3)))
    with pytest.raises(ValueError, match=r"action_space Discrete\(2\), got one for Discrete\(3\)"):
        IntrinsicRewardVecEnv(venv, bonus_for(sampled(Walk.observation_space, BUTTONS, 3)))
    paid = VecMonitor(with_novelty(venv))
    with pytest.raises(ValueError, match="wrapped in IntrinsicRewardVecEnv already"):
        with_novelty(paid)
    one = DummyVecEnv([lambda: IntrinsicRewardWrapper(Paid(), bonus_for(walks()))])
    with pytest.raises(ValueError, match="wrapped in IntrinsicRewardWrapper already"):
        with_novelty(one)
    for beta in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"beta must be at least 0 and finite, got {beta}"):
            with_novelty(venv, beta=beta)


def test_an_episode_without_its_last_state_is_refused():
    venv = with_novelty(walks())
    venv.reset()
    step_wait = venv.venv.step_wait

    def without():
        obs, reward, done, _ = step_wait()
        return obs, reward, done, [{}]

    venv.venv.step_wait = without
    action = np.zeros(1, np.int64)
    venv.step(action)
    venv.step(action)
    with pytest.raises(ValueError, match=r"infos\[0\] must hold the 'terminal_observation'"):
        venv.step(action)


def test_the_callback_needs_novelty_and_a_place():
    model = A2C("MlpPolicy", walks(), device="cpu")
    with pytest.raises(ValueError, match="must be wrapped in IntrinsicRewardVecEnv, got"):
        model.learn(5, callback=IntrinsicRewardCallback())
    for arguments in ((10, None), (0, "runs"), (-1, None)):
        with pytest.raises(ValueError, match=f"together or not at all, got {arguments[0]} and"):
            IntrinsicRewardCallback(*arguments)


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "ngu.adapters.sb3")
    for name in [name for name in sys.modules if name.startswith("stable_baselines3")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ImportError, match=r'pip install "never-give-up\[sb3\]"'):
        importlib.import_module("ngu.adapters.sb3")


class Doors(gym.Env):
    """Twelve doors, each with three keys of which one fits; a wrong one leads back to the first."""

    KEYS = np.random.default_rng(0).integers(3, size=12)
    observation_space = gym.spaces.Box(0, 1, (13,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        self.door = self.steps = 0
        return self._observation(), {}

    def step(self, action):
        self.steps += 1
        self.door = self.door + 1 if action == self.KEYS[self.door] else 0
        through = self.door == 12
        return self._observation(), float(through), through, self.steps == 36, {}

    def _observation(self):
        return np.eye(13, dtype=np.float32)[self.door]


@pytest.mark.parametrize("novelty", [False, True])
def test_ppo_gets_where_it_does_not_get_alone(novelty):
    # Random keys open all doors in one of 531,441 tries; there are steps for at most 8,192 tries.
    venv = VecMonitor(DummyVecEnv([Doors] * 16))
    if novelty:
        bonus = bonus_for(venv, config=NGUConfig(epsilon=1e-2, memory_capacity=64))
        payer = PayerConfig(batch_size=64, normalise=True)
        venv = IntrinsicRewardVecEnv(venv, bonus, config=payer)
    model = PPO(
        "MlpPolicy",
        venv,
        n_steps=32,
        batch_size=128,
        n_epochs=4,
        learning_rate=5e-3,
        ent_coef=0.01,
        policy_kwargs={"net_arch": [32]},
        device="cpu",
        seed=0,
    )
    model.learn(8192)
    reached = [episode["r"] for episode in model.ep_info_buffer]
    assert len(reached) == 100
    assert sum(reached) > 80 if novelty else sum(reached) == 0
