import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from ngu_agents.archive import reach
from ngu_agents.archive.agent import ArchiveAgent
from ngu_agents.archive.config import ArchiveConfig
from ngu_agents.archive.returning import ReturningEnvs
from ngu_agents.loop import Loop
from ngu_envs import make
from ngu_envs.vectorized import VectorizedEnv


def made(name, num_envs, *, seed=0, options=None, **config):
    config = ArchiveConfig(**config)
    envs = ReturningEnvs(make(name, num_envs, seed, **(options or {})), config=config, seed=seed)
    agent = ArchiveAgent(
        envs.single_action_space,
        num_envs,
        repeat_probability=config.repeat_probability,
        seed=seed,
    )
    return envs, agent, Loop(agent, envs)


def run(loop, steps):
    """Steps until so many were made; returns what they brought."""
    return [progress for progress, _ in zip(loop, range(steps), strict=False)]


def same(run, other):
    return all(
        np.array_equal(a, b)
        for mine, theirs in zip(run, other, strict=True)
        for a, b in zip(
            (*mine.step, mine.info["score"]), (*theirs.step, theirs.info["score"]), strict=True
        )
    )


def test_the_treasure_of_a_deep_sea_is_found():
    envs, _, loop = made("deep-sea", 8, options={"size": 20}, explore_steps=10)
    loop.begin()
    run(loop, 3000)
    assert len(envs.archive) == 210  # every place that a diver can be at
    best = envs.archive.best
    assert best.score == pytest.approx(0.99)
    assert envs.status()["score_best"] == best.score
    actions = envs.archive.trajectories.actions_to(best.node)
    assert len(actions) == best.length == 20


def test_an_exploration_is_an_episode_to_the_agent():
    _, _, loop = made("deep-sea", 4, explore_steps=3)
    loop.begin()
    seen = run(loop, 200)
    over = np.zeros(4, bool)
    for progress in seen:
        np.testing.assert_array_equal(progress.stepped, ~over)
        assert not progress.step.reward[over].any()
        assert not progress.step.done[over].any()
        over = progress.step.done
    lengths = np.diff(np.flatnonzero([progress.step.done[0] for progress in seen]))
    assert lengths.max() == 4  # three steps, and one that goes back
    assert any(progress.step.terminated.any() for progress in seen)


def test_a_score_is_that_since_the_true_beginning():
    envs, _, loop = made("deep-sea", 4, options={"size": 6}, explore_steps=3)
    loop.begin()
    before = np.zeros(4)
    for progress, _ in zip(loop, range(300), strict=False):
        score, stepped = progress.info["score"], progress.stepped
        np.testing.assert_allclose(score[stepped], (before + progress.step.reward)[stepped])
        returned = envs.archive.score[envs._cell[~stepped]]
        np.testing.assert_array_equal(score[~stepped], returned)
        before = score
    assert (before != 0).any()


@pytest.mark.parametrize(
    ("cells", "nearness"),
    [("downscaled", "pictures"), ("downscaled", "steps"), ("latent", "steps")],
)
def test_going_on_from_a_saved_state_is_going_on(cells, nearness, monkeypatch):
    monkeypatch.setattr(reach, "_BATCH", 16)
    config = {"explore_steps": 5, "cells": cells, "latent_regroup_steps": 600}
    config["nearness"] = nearness
    envs, agent, loop = made("deep-sea", 4, **config)
    loop.begin()
    run(loop, 140)
    state = copy.deepcopy((envs.state_dict(), agent.save(None), loop.state_dict()))
    learned = state[0]["archive"]["reach"]
    assert (learned is not None and learned["network"] is not None) == (nearness == "steps")
    rest = run(loop, 100)
    other_envs, other_agent, other_loop = made("deep-sea", 4, seed=9, **config)
    other_envs.load_state_dict(state[0])
    assert other_agent.load(None, state[1])
    other_loop.load_state_dict(state[2])
    assert same(run(other_loop, 100), rest)
    assert agent.status() == other_agent.status()


def test_no_pair_is_of_two_embeddings(monkeypatch):
    config = {"explore_steps": 50, "cells": "latent", "latent_regroup_steps": 600}
    envs, _, loop = made("deep-sea", 4, nearness="steps", options={"size": 40}, **config)
    loop.begin()
    passed, regroup = [], envs.archive.regroup

    def note():
        passed.append(envs.state_dict()["passed"]["count"].max())

    def noted(*given):
        note()
        return regroup(*given)

    monkeypatch.setattr(envs.archive, "regroup", noted)
    for _ in zip(loop, range(200), strict=False):
        if passed:
            break
    note()
    before, after = passed
    assert before > 1
    assert after <= 1


@pytest.mark.parametrize("cells", ["downscaled", "controlled"])
def test_trajectories_lead_to_the_same_state_bit_by_bit(cells):
    config = {"cells": cells, "explore_steps": 20, "cell_levels": 16}
    envs, _, loop = made("MontezumaRevenge", 4, options={"num_workers": 1}, **config)
    loop.begin()
    run(loop, 150)
    archive = envs.archive
    numbers = len(archive.trajectories)
    envs.state_dict()  # drops trajectories that lead nowhere
    assert len(archive.trajectories) <= numbers
    assert archive.length.max() > 20  # reached by several explorations
    envs.close()
    fresh = make("MontezumaRevenge", 1, 7, num_workers=1)
    fresh.reset()
    (everywhere,) = (np.ones(1, bool),)
    longest = np.argsort(archive.length)[-5:]
    for cell in [0, *longest.tolist()]:
        root = int(archive.way_to(cell).nodes[0])
        actions = archive.trajectories.actions_to(archive[cell].node)
        assert len(actions) == archive.length[cell]
        fresh.restore(everywhere, [envs.roots[root]])
        for action in actions:
            fresh.step(np.array([action]))
        # The whole emulator: memory, registers and counters.
        assert fresh.snapshots(everywhere) == [archive.snapshots[cell]]
    fresh.close()


def test_a_lost_life_ends_an_exploration():
    envs, _, loop = made("MontezumaRevenge", 4, options={"num_workers": 1}, explore_steps=400)
    info = loop.begin()
    lives, lost = info["lives"], 0
    for progress in run(loop, 250):
        fewer = progress.stepped & (progress.info["lives"] < lives)
        assert (progress.step.done >= fewer).all()
        lost += fewer.sum()
        lives = progress.info["lives"].copy()
    envs.close()
    assert lost > 0


def test_where_time_runs_out_all_begin_anew():
    envs, agent, loop = made("MountainCar-v0", 4, explore_steps=300)
    beginning = loop.begin()
    first = envs._observation.copy()
    assert not any(progress.step.done.any() for progress in run(loop, 199))
    assert (envs._over & envs._anew).all()  # by the 200th step, which `run` takes as well
    state = copy.deepcopy((envs.state_dict(), agent.save(None), loop.state_dict()))
    rest = run(loop, 120)
    assert not rest[0].stepped.any()
    np.testing.assert_array_equal(rest[0].step.observation, first)
    np.testing.assert_array_equal(rest[0].info["score"], beginning["score"])
    assert rest[1].stepped.all()
    assert (rest[100].info["score"] == -100).all()  # of -1 a step
    other_envs, other_agent, other_loop = made("MountainCar-v0", 4, seed=9, explore_steps=300)
    other_envs.load_state_dict(state[0])
    assert other_agent.load(None, state[1])
    other_loop.load_state_dict(state[2])
    assert same(run(other_loop, 120), rest)


@pytest.mark.parametrize(
    ("lives", "known"),
    [
        (None, False),  # an environment that has none may have ended for any reason
        ([2, 1], False),
        ([1, 1], True),
    ],
)
def test_a_game_that_ends_without_a_lost_life_ended_for_want_of_time(lives, known, monkeypatch):
    envs, _, loop = made("deep-sea", 4, options={"size": 8}, explore_steps=9)
    sea = envs.unwrapped
    if lives is not None:
        monkeypatch.setattr(
            sea, "_info", lambda: {"lives": np.where(sea._row < 8, *lives).astype(np.int32)}
        )
    loop.begin()
    assert any(progress.step.terminated.any() for progress in run(loop, 30))
    assert envs.archive.time_ran_out(8) is not known


class Street(VectorizedEnv):
    """Ten steps to either end, which pay 1 once; each step pays .01. Only the place is seen."""

    def __init__(self, num_envs, steps):
        space = Box(0, 1, (1, 1, 21), np.uint8)
        super().__init__(num_envs, 0, space, Discrete(2), None, max_steps=steps)
        self._place = np.zeros(num_envs, np.int64)
        self._taken = np.zeros((num_envs, 2), bool)

    @property
    def repeatable(self):
        return True

    def _arrays(self):
        return {**super()._arrays(), "place": self._place, "taken": self._taken}

    def _begin(self, where):
        self._place[where] = 10
        self._taken[where] = False

    def _advance(self, actions, where):
        self._place[:] = np.clip(self._place + where * (2 * actions - 1), 0, 20)
        paid = (self._place[:, None] == [0, 20]) & ~self._taken & where[:, None]
        self._taken |= paid
        return (paid.sum(1) + 0.01 * where).astype(np.float32), np.zeros(len(where), bool)

    def _observe(self):
        return (self._place[:, None, None, None] == np.arange(21)).astype(np.uint8)


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_who_dawdles_for_small_rewards_misses_the_others(seed):
    # With the best state of each place alone, 1.4 is all that these seeds find in 800 steps.
    envs = ReturningEnvs(Street(8, steps=40), config=ArchiveConfig(explore_steps=10), seed=seed)
    space = envs.single_action_space
    agent = ArchiveAgent(space, 8, repeat_probability=0.8, seed=seed)
    loop = Loop(agent, envs)
    loop.begin()
    scores = [progress.info["score"].max() for progress in run(loop, 400)]
    assert max(scores) == pytest.approx(2.4)


def test_actions_that_are_not_discrete():
    with pytest.raises(TypeError, match="repeats Discrete actions, got Box"):
        ArchiveAgent(gym.spaces.Box(-1, 1, (2,)), 2, repeat_probability=0.5, seed=0)


@pytest.mark.parametrize("space", [gym.spaces.Discrete(257), gym.spaces.Discrete(2, start=-1)])
def test_actions_that_fit_no_byte(space):
    envs = make("deep-sea", 1, 0)
    envs.single_action_space = space
    with pytest.raises(TypeError, match="from 0 to 255 at most, got Discrete"):
        ReturningEnvs(envs, config=ArchiveConfig(), seed=0)


def test_actions_are_repeated():
    _, agent, loop = made("deep-sea", 64, repeat_probability=0.9)
    loop.begin()
    actions = np.array([agent.act() for _ in range(500)])
    # One of two actions anew in a tenth of the cases: a twentieth changes.
    changed = (actions[1:] != actions[:-1]).mean()
    assert abs(changed - 0.05) < 0.005
