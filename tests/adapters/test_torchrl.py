"""The TorchRL transform against a loop written out, and in TorchRL's own machinery."""

import copy
import importlib.util
import io
import math
import multiprocessing
import pickle
import sys
import warnings

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn

from ngu import NGU, RE3, Combined
from ngu.adapters.payer import PayerConfig
from ngu.novelty.base import IntrinsicReward
from ngu.novelty.testing import Walk, rewards_of

_START_METHOD = multiprocessing.get_start_method(allow_none=True)

with warnings.catch_warnings():
    # torchrl.collectors warns of classes of its own as they are defined.
    warnings.filterwarnings("ignore", "Creating .* inherits from WeightUpdaterBase")
    from tensordict import TensorDict
    from tensordict.nn import TensorDictModule
    from torchrl.collectors import Collector
    from torchrl.data import (
        Composite,
        LazyMemmapStorage,
        LazyTensorStorage,
        NonTensor,
        OneHot,
        ReplayBuffer,
        Unbounded,
    )
    from torchrl.envs import (
        ActionDiscretizer,
        Compose,
        EnvBase,
        GymWrapper,
        ObservationNorm,
        ParallelEnv,
        RewardSum,
        SerialEnv,
        StepCounter,
        TransformedEnv,
        check_env_specs,
    )
    from torchrl.modules import OneHotCategorical, ProbabilisticActor, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

from ngu.adapters.torchrl import IntrinsicRewardTransform, spaces_of  # noqa: E402

# Importing torchrl makes "spawn" the way in which the whole process starts others; other tests'
# workers start as they would without.
multiprocessing.set_start_method(_START_METHOD, force=True)

UNTRAINED = PayerConfig(train_every=0)
OFTEN = PayerConfig(train_every=2, batch_size=4, reservoir_size=64, normalise=True)


class Paid(Walk):
    """A walk that pays 1 for each step."""

    def __init__(self, episode=-1):
        super().__init__()
        self.episode = episode

    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        return obs, 1.0, terminated, truncated, info


class EpisodeOf:
    """Makes a walk in a worker process."""

    def __init__(self, episode):
        self.episode = episode

    def __call__(self):
        return GymWrapper(Paid(self.episode))


class Recorder(IntrinsicReward):
    """A bonus that pays the sum of the observation, and keeps what it was given."""

    def __init__(self, *spaces, seed=0):
        super().__init__(*spaces)
        self.begun, self.scored = [], []

    def publish(self):
        pass

    def _begin(self, obs, where):
        self.begun.append((obs.clone(), where.copy()))

    def _score(self, obs_tm1, action_tm1, obs_t, where):
        if where.any():
            self.scored.append((obs_tm1.clone(), action_tm1.clone(), obs_t.clone(), where.copy()))
        paid = obs_t.reshape(self.num_envs, -1).sum(1).abs().float() * torch.from_numpy(where)
        return paid, {"twice": 2 * paid}

    def _update(self, obs_tm1, action_tm1, obs_t):
        return {}


def single(episodes):
    return GymWrapper(Paid(*episodes))


def serial(episodes):
    return SerialEnv(len(episodes), [EpisodeOf(episode) for episode in episodes])


def vector(mode):
    def make(episodes):
        inner = SyncVectorEnv([Paid] * len(episodes), autoreset_mode=mode)
        env = GymWrapper(inner)
        # GymWrapper rolls some of these out to find its specs.
        for walk, episode in zip(inner.envs, episodes, strict=True):
            walk.episode = episode
        return env

    return make


BATCHED = {
    "serial": serial,
    "vector, SAME_STEP": vector(AutoresetMode.SAME_STEP),
    "vector, DISABLED": vector(AutoresetMode.DISABLED),
}
KINDS = {"single": single, **BATCHED}


def make_bonus(num_envs, kind=NGU):
    return kind(Walk.observation_space, Walk.action_space, num_envs, seed=0)


def pay(env, bonus, **settings):
    settings = {"config": UNTRAINED, **settings}
    return TransformedEnv(env, IntrinsicRewardTransform(bonus, **settings), auto_unwrap=True)


def places(obs):
    """Episode and step of walks' observations."""
    known = {}
    for episode in range(12):
        walk = Walk()
        walk.episode = episode
        for walk.steps in range(6):
            known[walk._observation().tobytes()] = (episode, walk.steps)
    return [known[one.numpy().tobytes()] for one in obs.flatten(0, -2)]


def rewards_written_out(bonus, data):
    """What the bonus pays for a batch [E, T] of TorchRL's data, by begin and score alone."""
    obs, reached = data["observation"].numpy(), data["next", "observation"].numpy()
    actions, done = data["action"].numpy().argmax(-1), data["next", "done"].numpy()[..., 0]
    bonus.begin(obs[:, 0])
    rewards = []
    for step in range(data.shape[1]):
        rewards.append(bonus.score(obs[:, step], actions[:, step], reached[:, step]))
        if step + 1 < data.shape[1] and done[:, step].any():
            bonus.begin(obs[:, step + 1], done[:, step])
    return np.stack(rewards, axis=1)


# Where a vector resets itself TorchRL resets once more when all are done, and skips an episode.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vector, SAME_STEP"])
def test_pays_what_the_bonus_scores(kind):
    expected = rewards_of(make_bonus(1), AutoresetMode.DISABLED, 20)
    env = pay(KINDS[kind]([-1]), make_bonus(1), beta=0.5)
    found = env.rollout(20, break_when_any_done=False)["next"]
    assert found["intrinsic_reward"].flatten().tolist() == expected
    assert found["extrinsic_reward"].flatten().tolist() == [1.0] * 20
    torch.testing.assert_close(found["reward"], 1 + 0.5 * found["intrinsic_reward"])
    parts = found["novelty", "episodic_novelty"] * found["novelty", "lifelong_modulator"]
    torch.testing.assert_close(parts, found["intrinsic_reward"])


@pytest.mark.parametrize("kind", BATCHED)
def test_environments_that_end_apart(kind):
    env = pay(BATCHED[kind]([-1, 0, 4]), make_bonus(3))
    data = env.rollout(15, break_when_any_done=False)
    # Each step leads one step on in its episode: final states are the true ones.
    before, after = (places(obs) for obs in (data["observation"], data["next", "observation"]))
    assert [(episode, step + 1) for episode, step in before] == after
    ends = data["next", "done"][..., 0]
    assert ends.any(0).sum() > ends.all(0).sum() > 0
    expected = rewards_written_out(make_bonus(3), data)
    np.testing.assert_array_equal(data["next", "intrinsic_reward"][..., 0].numpy(), expected)


def test_environments_that_wait_for_the_others_are_not_paid():
    bonus = make_bonus(2, Recorder)
    env = pay(serial([-1, 0]), bonus)
    env.rollout(9, break_when_any_done=False, break_when_all_done=True)
    # The first walk takes three steps, the second one four.
    assert [where.tolist() for *_, where in bonus.scored] == [[True, True]] * 3 + [[False, True]]


def test_a_reset_of_some_begins_no_episode_elsewhere():
    bonus = make_bonus(2, Recorder)
    env = pay(serial([-1, 3]), bonus)
    before = env.reset()
    mask = torch.tensor([[False], [True]])
    after = env.reset(before.clone().set("_reset", mask))
    first, second = bonus.begun
    assert first[1].tolist() == [True, True]
    assert second[1].tolist() == [False, True]
    torch.testing.assert_close(second[0][1], after["observation"][1])
    env.rand_step(after)
    # The environment that was not reset goes on from where it was.
    torch.testing.assert_close(bonus.scored[0][0][0], before["observation"][0])


@pytest.mark.parametrize("keep_separate", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_specs(kind, keep_separate):
    episodes = [-1] if kind == "single" else [-1, 0]
    env = pay(KINDS[kind](episodes), make_bonus(len(episodes)), keep_separate=keep_separate)
    check_env_specs(env, break_when_any_done="both")
    names = {"reward", "extrinsic_reward", "intrinsic_reward"}
    parts = {("novelty", "episodic_novelty"), ("novelty", "lifelong_modulator")}
    assert set(env.reward_keys) == names | parts


def test_the_two_rewards_may_be_kept_apart():
    def double(tensordict):
        if "reward" in tensordict:
            tensordict["reward"].mul_(2)
        return tensordict

    env = pay(single([-1]), make_bonus(1), keep_separate=True).append_transform(double)
    found = env.rollout(3)["next"]
    assert found["reward"].flatten().tolist() == [2.0] * 3
    assert found["extrinsic_reward"].flatten().tolist() == [1.0] * 3
    assert (found["intrinsic_reward"] > 0).all()


def test_two_dimensions_of_environments():
    env = SerialEnv(2, lambda: SerialEnv(3, lambda: GymWrapper(Paid())))
    bonus = make_bonus(6, Recorder)
    env = pay(env, bonus)
    data = env.rollout(2)
    assert data["next", "intrinsic_reward"].shape == (2, 3, 2, 1)
    expected = data["next", "observation"].sum(-1, keepdim=True).abs()
    torch.testing.assert_close(data["next", "intrinsic_reward"], expected)
    torch.testing.assert_close(data["next", "novelty", "twice"], 2 * expected)


ACTIONS = {
    "Discrete": gym.spaces.Discrete(3),
    "MultiDiscrete": gym.spaces.MultiDiscrete([2, 4]),
    "MultiDiscrete of equal parts": gym.spaces.MultiDiscrete([3, 3]),
    "Box": gym.spaces.Box(-1, 2, (2,), np.float32),
}
OBSERVATIONS = {
    "vector": gym.spaces.Box(-2, 2, (4,), np.float32),
    "doubles": gym.spaces.Box(-np.inf, np.inf, (2,), np.float64),
    "pixels": gym.spaces.Box(0, 255, (6, 6, 3), np.uint8),
    "Discrete": gym.spaces.Discrete(5),
}


class Echo(gym.Env):
    """Remembers the actions it gets, and draws observations from its space."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = copy.deepcopy((observation_space, action_space))
        self.observation_space.seed(0)
        self.got, self.seen = [], []

    def reset(self, *, seed=None, options=None):
        return self._observe(), {}

    def step(self, action):
        self.got.append(np.array(action))
        return self._observe(), 0.0, False, False, {}

    def _observe(self):
        self.seen.append(self.observation_space.sample())
        return self.seen[-1]


@pytest.mark.parametrize("categorical", [False, True])
@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("observations", OBSERVATIONS)
def test_the_bonus_gets_what_the_environment_got(observations, actions, categorical):
    inner = Echo(OBSERVATIONS[observations], ACTIONS[actions])
    env = GymWrapper(inner, categorical_action_encoding=categorical)
    key = "pixels" if observations == "pixels" else "observation"
    spaces = spaces_of(env, observation_key=key)
    assert spaces == (inner.observation_space, inner.action_space, 1)
    bonus = Recorder(*spaces)
    env = pay(env, bonus, observation_key=key)
    inner.got, inner.seen = [], []
    env.rollout(6)
    assert len(bonus.scored) == 6
    for step, (obs_tm1, action, obs_t, _) in enumerate(bonus.scored):
        np.testing.assert_array_equal(action[0].numpy(), inner.got[step])
        np.testing.assert_array_equal(obs_tm1[0].numpy(), inner.seen[step])
        np.testing.assert_array_equal(obs_t[0].numpy(), inner.seen[step + 1])


def test_spaces_of_batches_are_those_of_one():
    for make in BATCHED.values():
        assert spaces_of(make([-1, 0])) == (Walk.observation_space, Walk.action_space, 2)


def test_other_transforms_around_it():
    inner = Echo(OBSERVATIONS["vector"], ACTIONS["Box"])
    env = TransformedEnv(GymWrapper(inner), ActionDiscretizer(4, out_action_key="choice"))
    env.append_transform(ObservationNorm(1.0, 2.0, in_keys=["observation"]))
    spaces = spaces_of(env)
    assert spaces[1] == inner.action_space
    bonus = Recorder(*spaces)
    env.append_transform(IntrinsicRewardTransform(bonus, config=UNTRAINED))
    env.append_transform(ObservationNorm(-5.0, 1.0, in_keys=["observation"]))
    env.append_transform(RewardSum())
    inner.got, inner.seen = [], []
    data = env.rollout(4)
    for step, (obs_tm1, action, obs_t, _) in enumerate(bonus.scored):
        np.testing.assert_allclose(action[0].numpy(), inner.got[step])
        # As they are between the two transforms, and not as the policy sees them.
        np.testing.assert_allclose(obs_tm1[0].numpy(), inner.seen[step] * 2 + 1, rtol=1e-6)
        np.testing.assert_allclose(obs_t[0].numpy(), inner.seen[step + 1] * 2 + 1, rtol=1e-6)
    torch.testing.assert_close(
        data["next", "episode_intrinsic_reward"], data["next", "intrinsic_reward"].cumsum(0)
    )


class Corridor(EnvBase):
    """Pays 1 at the end of a corridor; one step back leads to its beginning.

    Reached by one in 2^cells action sequences, in at most 4/3 as many steps.
    """

    def __init__(self, num_envs=16, cells=18):
        super().__init__(batch_size=[num_envs])
        self.cells = cells
        obs = Unbounded((num_envs, cells + 1))
        self.observation_spec = Composite(observation=obs, shape=[num_envs])
        self.action_spec = OneHot(2, shape=(num_envs, 2))
        self.reward_spec = Unbounded((num_envs, 1))
        self.place = torch.zeros(num_envs, dtype=torch.int64)
        self.steps = torch.zeros(num_envs, dtype=torch.int64)

    def _see(self):
        return nn.functional.one_hot(self.place, self.cells + 1).float()

    def _reset(self, tensordict):
        everywhere = torch.ones_like(self.place, dtype=torch.bool)
        where = everywhere if tensordict is None else tensordict.get("_reset", everywhere)
        self.place[where.flatten()] = 0
        self.steps[where.flatten()] = 0
        return TensorDict({"observation": self._see()}, self.batch_size)

    def _step(self, tensordict):
        right = tensordict["action"][:, 1].bool()
        self.place = torch.where(right, self.place + 1, 0)
        self.steps = self.steps + 1
        goal = (self.place == self.cells)[:, None]
        late = (self.steps == self.cells * 4 // 3)[:, None]
        found = {"observation": self._see(), "reward": goal.float()}
        ends = {"terminated": goal, "truncated": late, "done": goal | late}
        return TensorDict(found | ends, self.batch_size)

    def _set_seed(self, seed):
        pass


class Careless(Corridor):
    """Writes all observations into one tensor, and leaves NaNs where nothing happened."""

    def __init__(self):
        super().__init__(num_envs=2)
        self.buffer = torch.empty(2, self.cells + 1)

    def _fill(self, tensordict, found, key):
        where = None if tensordict is None else tensordict.get(key, None)
        self.buffer.copy_(found["observation"])
        if where is not None:
            self.buffer[~where.flatten()] = math.nan
        return found.set("observation", self.buffer)

    def _reset(self, tensordict):
        return self._fill(tensordict, super()._reset(tensordict), "_reset")

    def _step(self, tensordict):
        return self._fill(tensordict, super()._step(tensordict), "_step")


def test_only_what_happened_is_read():
    bonus = Recorder(*spaces_of(Careless()))
    env = pay(Careless(), bonus)
    right = nn.functional.one_hot(torch.ones(2, dtype=torch.int64), 2)
    env.step(env.reset().set("action", right))
    env.step(TensorDict({"action": right, "_step": torch.tensor([True, False])}, [2]))
    env.reset(TensorDict({"_reset": torch.tensor([[False], [True]])}, [2]))
    env.step(TensorDict({"action": right}, [2]))
    found = [
        (before.argmax(1).tolist(), after.argmax(1).tolist())
        for before, _, after, _ in bonus.scored
    ]
    assert found == [([0, 0], [1, 1]), ([1, 1], [2, 1]), ([2, 0], [3, 1])]


def collect(env, policy, frames, **settings):
    settings = {"frames_per_batch": frames, "auto_register_policy_transforms": True, **settings}
    return Collector(env, policy, total_frames=frames, **settings)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_the_bonus_trains_where_gradients_are_off(off):
    env = pay(single([-1]), make_bonus(1), config=OFTEN)
    before = env.transform.payer.bonus.inverse_dynamics.state_dict()
    before = {name: weight.clone() for name, weight in before.items()}
    with off():
        env.rollout(6, break_when_any_done=False)
        assert not torch.is_grad_enabled()
    assert env.transform.payer.metrics.keys() >= {"inverse_dynamics_loss", "distillation_loss"}
    after = env.transform.payer.bonus.inverse_dynamics.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before)
    # And goes on where they are on.
    env.rollout(6, break_when_any_done=False)


def test_a_collector():
    env = pay(serial([-1, 0, 4]), make_bonus(3), beta=0.5)
    env.append_transform(StepCounter())
    env.append_transform(RewardSum())
    collector = collect(env, None, 300, frames_per_batch=60)
    batches = list(collector)
    collector.shutdown()
    data = torch.cat(batches, dim=1)
    assert data.shape == (3, 100)
    # The walks' episodes do not end with a batch.
    expected = rewards_written_out(make_bonus(3), data)
    np.testing.assert_array_equal(data["next", "intrinsic_reward"][..., 0].numpy(), expected)
    torch.testing.assert_close(data["next", "reward"], 1 + 0.5 * data["next", "intrinsic_reward"])
    assert data["next", "episode_extrinsic_reward"].max() == 5


@pytest.fixture
def _sent_whole():
    """What is defined here goes to other processes as it is, and not by the module's name.

    They would look for that name in whatever package called tests is installed.
    """
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.usefixtures("_sent_whole")
def test_worker_processes():
    env = ParallelEnv(2, [EpisodeOf(-1), EpisodeOf(0)], mp_start_method="spawn")
    env = pay(env, make_bonus(2))
    data = env.rollout(12, break_when_any_done=False)
    env.close()
    expected = rewards_written_out(make_bonus(2), data)
    np.testing.assert_array_equal(data["next", "intrinsic_reward"][..., 0].numpy(), expected)


def actor_and_critic(env):
    inputs = env.observation_spec["observation"].shape[-1]
    actor = ProbabilisticActor(
        TensorDictModule(
            nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 2)),
            in_keys=["observation"],
            out_keys=["logits"],
        ),
        in_keys=["logits"],
        distribution_class=OneHotCategorical,
        return_log_prob=True,
    )
    critic = nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 1))
    return actor, ValueOperator(critic)


def goals_reached(beta, batches=12):
    """PPO's visits to the corridor's end, batch by batch; 2.67 an environment are the most."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        env = Corridor()
        bonus = NGU(*spaces_of(env), seed=0)
        env = pay(env, bonus, beta=beta, config=PayerConfig(normalise=True))
        actor, critic = actor_and_critic(env)
        advantage = GAE(gamma=0.99, lmbda=0.95, value_network=critic)
        loss = ClipPPOLoss(actor, critic, entropy_coeff=0.01)
        optimiser = torch.optim.Adam(loss.parameters(), 3e-3)
        collector = collect(env, actor, 768 * batches, frames_per_batch=768)
        goals = []
        for data in collector:
            advantage(data)
            for _ in range(6):
                losses = loss(data.reshape(-1))
                total = sum(losses[f"loss_{of}"] for of in ("objective", "critic", "entropy"))
                optimiser.zero_grad()
                total.backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimiser.step()
            goals.append(data["next", "extrinsic_reward"].sum().item() / 16)
        collector.shutdown()
    return goals


def test_ppo_learns_with_novelty_what_it_does_not_without():
    goals = goals_reached(beta=0.3)
    assert sum(goals[:3]) < 0.5
    assert sum(goals[-3:]) / 3 > 1.5
    assert goals_reached(beta=0.0) == [0.0] * 12


def go_on(env, tensordict, seed, steps=25):
    """What is paid for random actions, and the tensordict that the next step begins with."""
    generator = torch.Generator().manual_seed(seed)
    paid = []
    for _ in range(steps):
        # Three of four go on, so that the corridor is entered.
        actions = torch.rand(env.batch_size, generator=generator) < 0.75
        tensordict["action"] = nn.functional.one_hot(actions.long(), 2)
        done, tensordict = env.step_and_maybe_reset(tensordict)
        paid.append(done["next", "reward"].flatten().tolist())
    return paid, tensordict


def test_a_loaded_transform_goes_on_the_same():
    one, other = (
        pay(Corridor(4, 9), NGU(*spaces_of(Corridor(4, 9)), seed=seed), config=OFTEN, seed=seed)
        for seed in (0, 1)
    )
    _, tensordict = go_on(one, one.reset(), seed=0)
    assert one.transform.payer.metrics
    file = io.BytesIO()
    torch.save(one.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    other.base_env.place, other.base_env.steps = one.base_env.place, one.base_env.steps
    again = tensordict.clone()
    assert go_on(one, tensordict, seed=1)[0] == go_on(other, again, seed=1)[0]
    assert one.transform.payer.metrics == other.transform.payer.metrics


def test_a_state_of_another_bonus_is_refused():
    env = pay(Corridor(4), NGU(*spaces_of(Corridor(4))))
    for other, message in (
        (pay(Corridor(3), NGU(*spaces_of(Corridor(3)))), "num_envs 4, got that of 3"),
        (pay(Corridor(4), RE3(*spaces_of(Corridor(4)))), "that of another bonus"),
        (
            pay(Corridor(4, 5), NGU(*spaces_of(Corridor(4, 5)))),
            r"moments of shape \[19\], got \[6\]",
        ),
    ):
        with pytest.raises((RuntimeError, ValueError), match=message):
            env.load_state_dict(other.state_dict())


def test_names_of_parts_and_replay_buffers(tmp_path):
    spaces = spaces_of(Corridor(2))
    env = pay(Corridor(2), Combined([NGU(*spaces), RE3(*spaces)]))
    data = env.rollout(5)
    names = ["0 NGU", "0 NGU/episodic_novelty", "0 NGU/lifelong_modulator", "1 RE3"]
    assert list(data["next", "novelty"].keys()) == names
    product = data["next", "novelty", "0 NGU"] * data["next", "novelty", "1 RE3"]
    torch.testing.assert_close(data["next", "intrinsic_reward"], product)
    for storage in (LazyTensorStorage(10), LazyMemmapStorage(10, scratch_dir=tmp_path)):
        buffer = ReplayBuffer(storage=storage, batch_size=4)
        buffer.extend(data.reshape(-1))
        assert set(buffer.sample()["next", "novelty"].keys()) == set(names)


def test_making_the_transform_changes_nothing_of_the_bonus():
    bonus = make_bonus(2)
    expected = make_bonus(2)
    IntrinsicRewardTransform(bonus)
    obs = np.zeros((2, 4), np.float32)
    for one in (bonus, expected):
        one.begin(obs)
    actions = np.zeros(2, np.int64)
    assert (
        bonus.score(obs, actions, obs + 1).tolist()
        == expected.score(obs, actions, obs + 1).tolist()
    )


@pytest.mark.parametrize("beta", [-0.1, math.nan, math.inf])
def test_a_bad_weight_is_refused(beta):
    with pytest.raises(ValueError, match=f"beta must be at least 0 and finite, got {beta}"):
        IntrinsicRewardTransform(make_bonus(1), beta)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bonus": make_bonus(2)}, "for the 3 environments, got one for 2"),
        ({"observation_key": "pixels"}, r"'pixels' among its observations, got \['observation'"),
        ({"action_key": ("agents", "action")}, r"\('agents', 'action'\) among .* got \['action'\]"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    transform = IntrinsicRewardTransform(**{"bonus": make_bonus(3), **settings})
    with pytest.raises(ValueError, match=message):
        TransformedEnv(serial([-1, 0, 1]), transform)
    with pytest.raises(ValueError, match=message):
        TransformedEnv(serial([-1, 0, 1]), Compose(StepCounter(), transform))
    env = TransformedEnv(serial([-1, 0, 1]), StepCounter())
    with pytest.raises(ValueError, match=message):
        env.append_transform(transform)
    with pytest.raises(RuntimeError, match="has not joined this environment"):
        env.reset()


def test_novelty_is_paid_once():
    env = pay(single([-1]), make_bonus(1))
    with pytest.raises(ValueError, match='pays an "intrinsic_reward" already'):
        env.append_transform(IntrinsicRewardTransform(make_bonus(1)))
    with pytest.raises(ValueError, match='pays an "intrinsic_reward" already'):
        pay(pay(single([-1]), make_bonus(1)), make_bonus(1))


def test_what_is_read_must_be_there():
    with pytest.raises(ValueError, match=r"'pixels' among its observations, got \['observation'\]"):
        spaces_of(single([-1]), observation_key="pixels")
    env = Corridor(2)
    env.observation_spec = Composite(observation=NonTensor(shape=(2,)), shape=[2])
    with pytest.raises(TypeError, match="OneHot, Categorical, Bounded or Unbounded, got NonTensor"):
        spaces_of(env)


def test_steps_need_a_reset():
    env = pay(Corridor(2), Recorder(*spaces_of(Corridor(2))))
    actions = nn.functional.one_hot(torch.zeros(2, dtype=torch.int64), 2)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(TensorDict({"action": actions}, [2]))


def test_it_belongs_on_the_whole_batch():
    with pytest.raises(ValueError, match="append it to the SerialEnv or ParallelEnv"):
        SerialEnv(2, lambda: pay(single([-1]), make_bonus(1)))


def test_it_does_not_belong_in_a_replay_buffer():
    transform = IntrinsicRewardTransform(make_bonus(1))
    buffer = ReplayBuffer(storage=LazyTensorStorage(4), transform=transform, batch_size=2)
    buffer.extend(TensorDict({"observation": torch.zeros(4, 4)}, [4]))
    with pytest.raises(RuntimeError, match="not to a replay buffer"):
        buffer.sample()


def test_environments_that_drop_the_last_observation_are_refused():
    env = pay(Corridor(2), Recorder(*spaces_of(Corridor(2))))
    env._torchrl_native_autoreset = True  # as Isaac Lab's environments have it on demand
    with pytest.raises(RuntimeError, match="native_autoreset=False"):
        env.rollout(3, break_when_any_done=False)


def test_agents_that_end_apart_are_refused():
    env = Corridor(2)
    done = env.done_spec["done"].clone()
    env.done_spec = Composite(agents=Composite(done=done, shape=[2]), shape=[2])
    with pytest.raises(ValueError, match="agents of one environment that end apart"):
        pay(env, Recorder(*spaces_of(env)))


def test_copies():
    transform = IntrinsicRewardTransform(make_bonus(1))
    for copied in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled or deep-copied: its bonus"):
            copied(transform)
    assert transform.clone().payer is transform.payer
    assert transform.to("cpu") is transform
    assert transform.to(torch.float64).payer.bonus.encoder is transform.payer.bonus.encoder


def test_without_torchrl_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchrl.envs", None)
    spec = importlib.util.find_spec("ngu.adapters.torchrl")
    with pytest.raises(ImportError, match=r'pip install "never-give-up\[torchrl\]"'):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
