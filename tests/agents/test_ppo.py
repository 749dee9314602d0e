"""PPO in its loop: what it stores and trains on, that it learns, and that a loaded one goes on."""

import copy
import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ngu import RND, RNDConfig
from ngu.state_file import load_tree, save_tree
from ngu_agents import ppo, ppo_learning
from ngu_agents.base import Agent
from ngu_agents.loop import Loop
from ngu_agents.ppo import PPOAgent
from ngu_agents.ppo_config import PPOConfig
from tests.corridor import Corridor

CONFIG = PPOConfig(rollout_length=8, epochs=2, minibatches=3, features=8, hidden=16)
RECURRENT = dataclasses.replace(CONFIG, recurrent=True)


class Cue(gymnasium.Env):
    """The first of three observations says which action the third is to be answered with."""

    observation_space = Box(-1, 1, (1,), np.float32)
    action_space = Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cue, self.steps = int(self.np_random.integers(2)), 0
        return np.array([2 * self.cue - 1], np.float32), {}

    def step(self, action):
        self.steps += 1
        ends = self.steps == 3
        return np.zeros(1, np.float32), float(ends and action == self.cue), ends, False, {}


class Noise(gymnasium.Env):
    """Random pictures for ever."""

    observation_space = Box(0, 255, (4, 84, 84), np.uint8)
    action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.integers(0, 256, (4, 84, 84), np.uint8), {}

    def step(self, action):
        return self.np_random.integers(0, 256, (4, 84, 84), np.uint8), 1.0, False, False, {}


def make_envs(num_envs: int = 3, kind: Any = Corridor) -> SyncVectorEnv:
    envs = SyncVectorEnv([kind] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)
    envs.reset(seed=0)  # what comes without a seed goes on from here
    return envs


def make_agent(envs, config=CONFIG, *, seed=0, bonus=True, precision="float32") -> PPOAgent:
    spaces = envs.single_observation_space, envs.single_action_space
    rnd = None
    if bonus:
        rnd = RND(*spaces, envs.num_envs, config=RNDConfig(distillation_size=8), seed=seed)
    return PPOAgent(
        *spaces, envs.num_envs, bonus=rnd, config=config, seed=seed, precision=precision
    )


def start(agent: PPOAgent, envs) -> Loop:
    loop = Loop(agent, envs)
    loop.begin()
    return loop


def run(loop: Loop, iterations: int) -> list[dict[str, float]]:
    rows = []
    for _, progress in zip(range(iterations), loop, strict=False):
        rows.append(progress.figures | progress.learned)
    return rows


def random_space_agent(action_space: gymnasium.Space[Any]) -> tuple[PPOAgent, Loop]:
    envs = make_envs(kind=lambda: Corridor(action_space))
    agent = make_agent(envs)
    return agent, start(agent, envs)


def test_it_is_an_agent_that_keeps_no_files(tmp_path: Path):
    agent = make_agent(make_envs())
    assert isinstance(agent, Agent)
    np.testing.assert_array_equal(agent.reward_int, np.zeros(3, np.float32))
    start(agent, make_envs())
    assert agent.files(agent.save(tmp_path)) == set()
    assert list(tmp_path.iterdir()) == []
    assert agent.status() == {"updates": 0, "rollout_fill": 0.0}
    agent.close()


@pytest.mark.parametrize("config", [CONFIG, RECURRENT])
def test_what_is_stored_is_what_happened(config):
    envs = make_envs()
    agent = make_agent(envs, dataclasses.replace(config, rollout_length=30))
    loop = start(agent, envs)
    history, taken, observations = [], [], [agent._observation]
    for _, progress in zip(range(29), loop, strict=False):
        history.append(progress)
        taken.append(agent._taken)
        observations.append(progress.step.observation)
    rollout = agent.rollout
    assert not rollout.full
    done = np.array([progress.step.done for progress in history])
    assert done.sum() > 4
    np.testing.assert_array_equal(rollout.observation[:30], observations)
    np.testing.assert_array_equal(rollout.valid[1:29], ~done[:-1])
    # The observation after a step that only reset is the first of its episode.
    np.testing.assert_array_equal(rollout.first[2:29], done[:-2])
    np.testing.assert_array_equal(rollout.first[:2], [[True] * 3, [False] * 3])
    for name in ("reward", "terminated", "truncated"):
        column = getattr(rollout, "reward_ext" if name == "reward" else name)
        np.testing.assert_array_equal(column[:29], [getattr(p.step, name) for p in history])
    np.testing.assert_array_equal(rollout.reward_int[:29], [p.reward_int for p in history])
    assert (rollout.reward_int[:29][~rollout.valid[:29]] == 0).all()
    assert (rollout.reward_int[:29][rollout.valid[:29]] > 0).all()
    np.testing.assert_array_equal(rollout.action[:29, :, 0] + 1, taken)
    # Unrolled from the rollout's first recurrent state, the network says what it said then.
    with torch.no_grad():
        outputs = agent.learner.network(
            torch.from_numpy(rollout.observation[:29]),
            torch.from_numpy(rollout.first[:29]),
            torch.from_numpy(rollout.state),
        )
    torch.testing.assert_close(outputs.value, torch.from_numpy(rollout.value[:29]))
    policy = agent.learner.network.policy
    log_probability = policy.log_probability(
        outputs.parameters, torch.from_numpy(rollout.action[:29])
    )
    torch.testing.assert_close(log_probability, torch.from_numpy(rollout.log_probability[:29]))
    agent.close()


@pytest.mark.parametrize("config", [CONFIG, RECURRENT])
def test_the_next_rollout_begins_where_the_last_one_ended(config):
    envs = make_envs()
    agent = make_agent(envs, config)
    loop = start(agent, envs)
    learned = run(loop, 8)
    assert [bool(row.keys() & {"loss/policy"}) for row in learned] == [False] * 7 + [True]
    assert agent.status() == {"updates": 1, "rollout_fill": 0.0}
    np.testing.assert_array_equal(agent.rollout.observation[0], agent._observation)
    np.testing.assert_array_equal(agent.rollout.state, agent.actor.state)
    assert agent.rollout.state.any() == config.recurrent
    run(loop, 1)
    # What it plays now is the policy that was just trained.
    with torch.no_grad():
        outputs = agent.learner.network(
            torch.from_numpy(agent.rollout.observation[:1]),
            torch.from_numpy(agent.rollout.first[:1]),
            torch.from_numpy(agent.rollout.state),
        )
    torch.testing.assert_close(outputs.value[0], torch.from_numpy(agent.rollout.value[0]))
    agent.close()


def full_rollout(config=CONFIG, num_envs=3, seed=0):
    """An agent whose rollout is full and not trained on, and the values after it."""
    envs = make_envs(num_envs)
    agent = make_agent(envs, config, seed=seed)
    agent.learn = dict
    run(start(agent, envs), config.rollout_length)
    assert agent.rollout.full
    return agent, agent._infer().result().value


@pytest.mark.parametrize("config", [CONFIG, RECURRENT])
def test_steps_that_only_reset_teach_nothing(config):
    results = []
    config = dataclasses.replace(config, rollout_length=24)
    for spoil in (False, True):
        agent, value = full_rollout(config)
        rollout = agent.rollout
        invalid = ~rollout.valid
        assert 2 < invalid.sum() < 20
        if spoil:
            rollout.action[invalid] = 1 - rollout.action[invalid]
            rollout.log_probability[invalid] += 3.0
            rollout.reward_ext[invalid] = 1.0
            rollout.reward_int[invalid] = 100.0
        metrics = agent.learner.update(rollout, value)
        results.append((metrics, agent.learner.network.state_dict()))
        agent.close()
    assert results[0][0] == results[1][0]
    for name, weight in results[0][1].items():
        assert torch.equal(weight, results[1][1][name]), name


def test_a_share_of_each_minibatch_trains_the_bonus():
    config = dataclasses.replace(CONFIG, rollout_length=40, bonus_share=0.25)
    agent, value = full_rollout(config)
    batches, published = [], []

    def update(obs_tm1, action_tm1, obs_t, publish=True):
        assert not publish
        batches.append((obs_tm1.numpy(), action_tm1, obs_t.numpy()))
        return {"distillation_loss": 2.0}

    agent.bonus.update = update
    agent.bonus.publish = lambda: published.append(len(batches))
    metrics = agent.learner.update(agent.rollout, value)
    agent.close()
    valid = int(agent.rollout.valid.sum())
    assert valid < 120
    assert len(batches) == config.epochs * config.minibatches
    for obs_tm1, action_tm1, obs_t in batches:
        assert abs(len(obs_t) - 0.25 * valid / 3) < 1
        # Transitions that were taken: a step to the side, or against the wall.
        moved = np.maximum(obs_tm1[:, 0] + np.where(action_tm1 == 2, 1, -1), 0)
        np.testing.assert_array_equal(obs_t[:, 0], moved)
    assert metrics["loss/distillation"] == 2.0
    # The moments before training, the weights after it.
    assert published == [0, len(batches)]


def test_without_a_share_or_a_bonus_none_is_trained():
    agent, value = full_rollout(dataclasses.replace(CONFIG, bonus_share=0.0))
    metrics = agent.learner.update(agent.rollout, value)
    agent.close()
    assert "loss/value_intrinsic" in metrics
    assert "loss/distillation" not in metrics
    envs = make_envs()
    agent = make_agent(envs, bonus=False)
    rows = run(start(agent, envs), 8)
    agent.close()
    assert rows[0] == {}
    assert rows[-1].keys() == {
        "loss/policy", "loss/value_extrinsic", "entropy", "approximate_kl", "clip_fraction",
        "explained_variance_extrinsic", "gradient_norm",
    }  # fmt: skip
    assert (agent.reward_int == 0).all()


@pytest.mark.parametrize("config", [CONFIG, RECURRENT])
def test_the_first_step_is_at_the_policy_that_played(config):
    config = dataclasses.replace(config, epochs=1, minibatches=1, learning_rate=1e-3)
    agent, value = full_rollout(config)
    first = agent.learner.update(agent.rollout, value)
    again = agent.learner.update(agent.rollout, value)
    agent.close()
    assert first["approximate_kl"] == pytest.approx(0.0, abs=1e-6)
    assert first["clip_fraction"] == 0.0
    # Advantages have mean 0, so with ratios of 1 their weighed mean is 0.
    assert first["loss/policy"] == pytest.approx(0.0, abs=1e-6)
    assert 0.5 < first["entropy"] <= np.log(2) + 1e-6
    assert again["loss/policy"] < -1e-4
    assert again["approximate_kl"] > 1e-8


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pictures_stay_bytes_and_are_seen_alike_in_acting_and_training(precision):
    envs = make_envs(2, Noise)
    config = PPOConfig(rollout_length=4, epochs=1, minibatches=1, features=16, hidden=16)
    agent = make_agent(envs, config, precision=precision)
    learned = run(start(agent, envs), 4)[-1]
    agent.close()
    assert agent.rollout.observation.dtype == np.uint8
    # Sums in another order, rounded to 8 bits; probabilities near 1/3 move by that of the logits.
    assert abs(learned["approximate_kl"]) < (1e-6 if precision == "float32" else 1e-4)


@pytest.mark.parametrize("config", [CONFIG, RECURRENT])
def test_shards_and_threads_change_nothing_but_the_rounding(config, monkeypatch):
    results = []
    config = dataclasses.replace(config, rollout_length=16, minibatches=1, epochs=1)
    for shard, threads in ((256, 1), (16, 1), (16, 3)):
        monkeypatch.setattr(ppo_learning, "_SHARD", shard)
        monkeypatch.setattr(ppo, "usable_cores", lambda threads=threads: threads)
        agent, value = full_rollout(config)
        metrics = agent.learner.update(agent.rollout, value)
        agent.close()
        gradients = [p.grad for p in agent.learner.network.parameters()]
        results.append((metrics, gradients, agent.learner.network.state_dict()))
    for name, figure in results[0][0].items():
        assert figure == pytest.approx(results[1][0][name], rel=1e-4, abs=1e-6), name
    for whole, parts in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-6)
    assert results[1][0] == results[2][0]
    for name, weight in results[1][2].items():
        assert torch.equal(weight, results[2][2][name]), name


def test_the_same_seed_gives_the_same_run_and_another_one_does_not():
    runs = []
    for seed, noise in ((3, 0), (3, 1), (4, 0)):
        np.random.seed(noise)  # noqa: NPY002  # what must not matter
        torch.manual_seed(noise)
        envs = make_envs()
        agent = make_agent(envs, seed=seed)
        runs.append(run(start(agent, envs), 40))
        agent.close()
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("kind", ["plain", "recurrent", "box"])
def test_a_loaded_agent_goes_on_as_if_it_had_not_stopped(kind, tmp_path: Path):
    config = RECURRENT if kind == "recurrent" else CONFIG
    space = Box(-1, 1, (2,), np.float32) if kind == "box" else None
    envs = make_envs(kind=lambda: Corridor(space))
    agent = make_agent(envs, config, precision="auto")
    loop = start(agent, envs)
    run(loop, 29)
    assert 0 < agent.rollout.size < config.rollout_length
    save_tree(tmp_path / "state", {"agent": agent.save(None), "loop": loop.state_dict()})
    saved_envs = copy.deepcopy(envs)
    expected = run(loop, 27)
    agent.close()
    other = make_agent(saved_envs, config, seed=8, precision="auto")
    state = load_tree(tmp_path / "state")
    assert other.load(None, state["agent"])
    resumed = Loop(other, saved_envs)
    resumed.load_state_dict(state["loop"])
    assert run(resumed, 27) == expected
    other.close()
    assert sum("loss/policy" in row for row in expected) == 4
    for weight, same in zip(
        agent.learner.network.parameters(), other.learner.network.parameters(), strict=True
    ):
        assert torch.equal(weight, same)


def test_a_state_of_other_sizes_is_refused():
    agent = make_agent(make_envs())
    start(agent, make_envs())
    state = agent.save(None)
    agent.close()
    other = make_agent(make_envs(4))
    with pytest.raises(ValueError, match=r"rollout's observation must be .* \[4, 1\], got"):
        other.load(None, state)
    other.close()


def test_a_reset_in_mid_rollout_forgets_its_steps():
    envs = make_envs()
    agent = make_agent(envs)
    loop = start(agent, envs)
    run(loop, 5)
    loop.begin()
    assert agent.rollout.size == 0
    np.testing.assert_array_equal(agent.rollout.observation[0], np.zeros((3, 1)))
    assert agent.actor.first.all()
    rows = run(loop, 8)
    assert "loss/policy" in rows[-1]
    agent.close()


@pytest.mark.parametrize(
    "space", [Box(-0.1, 0.1, (2,), np.float32), MultiDiscrete([2, 3]), Discrete(2, start=1)]
)
def test_each_kind_of_action_is_played_and_trained(space):
    agent, loop = random_space_agent(space)
    before = copy.deepcopy(agent.learner.network.state_dict())
    # The environment itself asserts that its actions are inside the space.
    rows = run(loop, 9)
    agent.close()
    assert np.isfinite(list(rows[7].values())).all()
    after = agent.learner.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(before)


@pytest.mark.parametrize("name", ["reward_ext", "reward_int", "log_probability"])
def test_what_is_not_finite_is_named_and_nothing_is_trained_on_it(name):
    agent, value = full_rollout(dataclasses.replace(CONFIG, minibatches=1))
    getattr(agent.rollout, name)[3, 1] = np.nan
    before = copy.deepcopy(agent.learner.state_dict())
    named = "loss/policy" if name == "log_probability" else name
    with pytest.raises(FloatingPointError, match=f"{named} is .* update 1"):
        agent.learner.update(agent.rollout, value)
    agent.close()
    after = agent.learner.state_dict()
    for key, weight in before["network"].items():
        assert torch.equal(weight, after["network"][key]), key
    if name != "log_probability":
        assert after["scale"]["moments"]["count"] == 0


def random_return(make_env: Any, episodes: int) -> float:
    envs = make_envs(episodes, make_env)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    total, over = np.zeros(episodes), np.zeros(episodes, bool)
    while not over.all():
        _, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
        total += reward * ~over
        over |= terminated | truncated
    return float(total.mean())


def returns(loop: Loop, iterations: int) -> list[float]:
    """Returns of the episodes that end."""
    total, ended = np.zeros(loop.envs.num_envs), []
    for _, progress in zip(range(iterations), loop, strict=False):
        total += progress.step.reward
        done = progress.step.done
        ended += total[done].tolist()
        total[done] = 0.0
    return ended


def test_it_learns_to_balance():
    def make_env():
        return gymnasium.make("CartPole-v1")

    config = PPOConfig(
        rollout_length=32, epochs=10, minibatches=2, learning_rate=2e-3, value_weight=0.1,
        gamma_ext=0.98, trace_decay=0.8, clip=0.2, features=32, hidden=32,
    )  # fmt: skip
    envs = make_envs(8, make_env)
    agent = make_agent(envs, config, bonus=False)
    late = returns(start(agent, envs), 32 * 40)[-30:]
    agent.close()
    chance = random_return(make_env, 50)
    assert 15 < chance < 30
    assert np.mean(late) > 5 * chance


def test_with_a_memory_it_learns_what_needs_one():
    means = []
    for recurrent in (True, False):
        config = PPOConfig(
            rollout_length=16, minibatches=2, learning_rate=5e-3, gamma_ext=0.9, clip=0.2,
            features=16, hidden=16, recurrent=recurrent,
        )  # fmt: skip
        envs = make_envs(16, Cue)
        agent = make_agent(envs, config, bonus=False)
        means.append(np.mean(returns(start(agent, envs), 16 * 40)[-200:]))
        agent.close()
    assert means[0] > 0.95
    assert means[1] < 0.65


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rollout_length": 0}, "rollout_length must be above 0, got 0"),
        ({"clip": -0.1}, "clip must be at least 0, got -0.1"),
        ({"entropy_weight": float("nan")}, "entropy_weight must be at least 0, got nan"),
        ({"gamma_int": 1.0}, r"gamma_int must be in \[0, 1\), got 1.0"),
        ({"bonus_share": 1.5}, r"bonus_share must be in \[0, 1\], got 1.5"),
        ({"reward_bound": 0.0}, "reward_bound must be above 0 or None, got 0.0"),
    ],
)
def test_settings_out_of_range_are_named(change, says):
    with pytest.raises(ValueError, match=says):
        PPOConfig(**change)


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="minibatches must be at most the 3 environments"):
        make_agent(make_envs(), dataclasses.replace(RECURRENT, minibatches=4))
    with pytest.raises(ValueError, match="minibatches must be at most the 6 steps"):
        make_agent(make_envs(), dataclasses.replace(CONFIG, rollout_length=2, minibatches=7))


def test_spaces_that_are_not_read_are_named():
    vector = Box(-1, 1, (3,), np.float32)
    several = gymnasium.spaces.Dict({"a": Discrete(2)})
    for spaces, name in (((several, Discrete(2)), "observation_space"), ((vector, several), "act")):
        with pytest.raises(TypeError, match=f"{name}.* must be"):
            PPOAgent(*spaces, 2, bonus=None, seed=0)


def test_one_core_is_the_setting_of_its_own_threads_alone():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        agent = make_agent(make_envs())
        inside = {agent._pool.submit(torch.get_num_threads).result() for _ in range(20)}
        agent.close()
        with ThreadPoolExecutor(1) as others:
            outside = others.submit(torch.get_num_threads).result()
        assert (inside, outside, torch.get_num_threads()) == ({1}, 3, 3)
    finally:
        torch.set_num_threads(before)
