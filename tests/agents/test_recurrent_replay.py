"""The agent in its loop: what it stores, when it learns, and that a loaded one goes on the same."""

import copy
import dataclasses
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ngu import NGU
from ngu.novelty.ngu import NGUConfig
from ngu_agents.base import Step
from ngu_agents.config import RecurrentReplayConfig
from ngu_agents.loop import Loop
from ngu_agents.recurrent_replay import RecurrentReplayAgent
from ngu_agents.replay_layout import ReplayConfig
from tests.corridor import Corridor

LEARNING = RecurrentReplayConfig(
    num_policies=3, features=8, hidden=8, batch_size=2, bonus_batch_size=4, target_period=2
)
REPLAY = ReplayConfig(
    capacity_steps=400, trace_length=6, period=3, burn_in=2, min_sequences=6, capacity_gb=None
)


def make_envs(num_envs: int = 2) -> SyncVectorEnv:
    return SyncVectorEnv([Corridor] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)


def make_agent(envs, *, seed: int = 0, learning=LEARNING, replay=REPLAY) -> RecurrentReplayAgent:
    spaces = envs.single_observation_space, envs.single_action_space
    bonus = NGU(*spaces, envs.num_envs, config=NGUConfig(memory_capacity=50), seed=seed)
    return RecurrentReplayAgent(
        *spaces, envs.num_envs, bonus=bonus, config=learning, replay=replay, seed=seed
    )


def run(loop: Loop, iterations: int) -> list[dict[str, float]]:
    learned = []
    for _, progress in zip(range(iterations), loop, strict=False):
        learned.append(progress.figures | progress.learned)
    return learned


def test_what_is_stored_is_what_happened():
    envs = make_envs()
    agent = make_agent(envs)
    loop = Loop(agent, envs)
    loop.begin()
    history: list[Step] = []
    observations = [agent._observation]
    for _, progress in zip(range(60), loop, strict=False):
        history.append(progress.step)
        observations.append(progress.step.observation)
    agent.close()
    columns = agent.replay._columns
    for t, step in enumerate(history):
        np.testing.assert_array_equal(columns["observation"][t], observations[t])
        np.testing.assert_array_equal(columns["reward_ext"][t], step.reward)
        np.testing.assert_array_equal(columns["terminated"][t], step.terminated)
        np.testing.assert_array_equal(columns["truncated"][t], step.truncated)
        if t >= 2:
            np.testing.assert_array_equal(columns["first"][t], history[t - 2].done)
    assert sum(step.done.sum() for step in history) > 4


def test_steps_of_resets_are_neither_counted_nor_paid():
    envs = make_envs()
    agent = make_agent(envs)
    loop = Loop(agent, envs)
    loop.begin()
    taken, done = 0, np.zeros(2, bool)
    for _, progress in zip(range(50), loop, strict=False):
        np.testing.assert_array_equal(progress.stepped, ~done)
        taken += int(progress.stepped.sum())
        assert (agent.actor.reward_int[done] == 0).all()
        assert (agent.actor.reward_int[~done] > 0).all()
        done = progress.step.done
    agent.close()
    assert loop.steps == taken


def test_as_many_steps_are_trained_on_as_were_taken():
    envs = make_envs()
    agent = make_agent(envs)
    loop = Loop(agent, envs)
    loop.begin()
    ready_at = None
    for _, progress in zip(range(300), loop, strict=False):
        if ready_at is None and agent.replay.ready:
            ready_at = progress.steps
    agent.finish_update()
    agent.close()
    trained = agent.learner.updates * LEARNING.batch_size * REPLAY.trace_length
    assert trained == pytest.approx(progress.steps - ready_at, abs=14)


def test_the_same_seed_gives_the_same_run_and_another_one_does_not():
    runs = []
    for seed in (3, 3, 4):
        envs = make_envs()
        agent = make_agent(envs, seed=seed)
        loop = Loop(agent, envs)
        loop.begin()
        runs.append(run(loop, 120))
        agent.close()
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert any("loss/value" in row for row in runs[0])


def test_a_loaded_agent_goes_on_as_if_it_had_not_stopped(tmp_path: Path):
    envs = make_envs()
    agent = make_agent(envs)
    loop = Loop(agent, envs)
    loop.begin()
    run(loop, 90)
    state = copy.deepcopy({"agent": agent.save(tmp_path), "loop": loop.state_dict()})
    saved_envs = copy.deepcopy(envs)
    expected = run(loop, 60)
    agent.close()
    other = make_agent(saved_envs, seed=8)
    other.load(tmp_path, state["agent"])
    resumed = Loop(other, saved_envs)
    resumed.load_state_dict(state["loop"])
    assert run(resumed, 60) == expected
    other.close()
    assert any("loss/value" in row for row in expected)


def test_a_loss_that_is_not_finite_is_named_and_nothing_is_trained_on_it():
    envs = make_envs()
    agent = make_agent(envs)
    loop = Loop(agent, envs)
    loop.begin()
    run(loop, 60)
    agent.finish_update()
    batch = agent.replay.sample(2)
    batch.reward_ext[:] = np.inf
    before = copy.deepcopy(agent.learner.network.state_dict())
    with pytest.raises(FloatingPointError, match="loss/value"):
        agent.learner.update(batch, None)
    agent.close()
    for name, value in agent.learner.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_burn_in_brings_the_recurrent_state_up_to_date_and_is_not_trained_on():
    envs = make_envs()
    agent = make_agent(envs)
    loop = Loop(agent, envs)
    loop.begin()
    run(loop, 60)
    agent.finish_update()
    batch = agent.replay.sample(2)
    changed = dataclasses.replace(batch, reward_ext=batch.reward_ext.copy())
    changed.reward_ext[: REPLAY.burn_in] += 5.0
    before = copy.deepcopy(agent.learner.state_dict())
    first, _ = agent.learner.update_values(batch)
    agent.learner.load_state_dict(before)
    second, _ = agent.learner.update_values(changed)
    agent.close()
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("space", "error"),
    [(gymnasium.spaces.Box(-1, 1, (2,)), TypeError), (gymnasium.spaces.Discrete(2), None)],
)
def test_only_discrete_actions_are_taken(space, error):
    def make() -> RecurrentReplayAgent:
        return RecurrentReplayAgent(
            gymnasium.spaces.Box(-1, 1, (3,), np.float32),
            space,
            2,
            bonus=None,
            config=LEARNING,
            replay=REPLAY,
            seed=0,
        )

    if error is None:
        make().close()
    else:
        with pytest.raises(error, match="Discrete"):
            make()


def test_environments_that_reset_otherwise_are_refused():
    envs = SyncVectorEnv([Corridor], autoreset_mode=AutoresetMode.SAME_STEP)
    agent = make_agent(envs)
    with pytest.raises(ValueError, match="NEXT_STEP"):
        Loop(agent, envs)
    agent.close()
