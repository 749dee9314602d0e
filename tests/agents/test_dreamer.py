"""The dreamer in its loop: what it stores, that it learns, and that it goes on."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete
from gymnasium.wrappers import FrameStackObservation

from ngu.state_file import load_tree, save_tree
from ngu_agents.base import Agent
from ngu_agents.dreamer_config import DreamerConfig
from ngu_agents.imagined_novelty import (
    PredictedNovelty,
    RememberedLatents,
    RememberedNovelty,
)
from ngu_agents.latent_disagreement import LatentDisagreement
from ngu_agents.loop import Loop
from tests.small_dreamers import (
    BONUSES,
    CONFIG,
    REPLAY,
    Bandit,
    Frames,
    ShortCorridor,
    make_agent,
    make_envs,
    run,
    same,
    start,
)


def test_it_is_an_agent(make_dreamer):
    agent = make_dreamer(steps=3)
    assert isinstance(agent, Agent)
    assert agent.status()["updates"] == 0
    assert 0 < agent.status()["replay_fill"] < 0.1


@pytest.mark.parametrize("bonus", ["none", "ngu", "latents"])
def test_what_is_stored_is_what_happened(bonus):
    envs = make_envs()
    agent = make_agent(envs, bonus)
    loop = start(agent, envs)
    history, actions, observations = [], [], [agent._observation]
    for _, progress in zip(range(60), loop, strict=False):
        history.append(progress)
        actions.append(agent.actor.action)
        observations.append(progress.step.observation)
    agent.close()
    columns = agent.replay._columns
    for t, progress in enumerate(history):
        np.testing.assert_array_equal(columns["observation"][t], observations[t])
        np.testing.assert_array_equal(columns["action"][t], actions[t])
        np.testing.assert_array_equal(columns["reward_ext"][t], progress.step.reward)
        np.testing.assert_array_equal(columns["reward_int"][t], progress.reward_int)
        np.testing.assert_array_equal(columns["terminated"][t], progress.step.terminated)
        np.testing.assert_array_equal(columns["truncated"][t], progress.step.truncated)
        first = history[t - 2].step.done if t >= 2 else np.full(2, t == 0)
        np.testing.assert_array_equal(columns["first"][t], first)
        assert (progress.reward_int[~progress.stepped] == 0).all()
        assert ((progress.reward_int > 0) == (progress.stepped & (bonus != "none"))).all()
    assert columns["terminated"][:60].any()
    assert columns["truncated"][:60].any()


def test_as_many_steps_are_replayed_as_the_ratio_says():
    envs = make_envs()
    agent = make_agent(envs)
    ready_at = None
    for _, progress in zip(range(100), start(agent, envs), strict=False):
        if ready_at is None and agent.replay.ready:
            ready_at = progress.steps
    agent.close()
    trained = agent.learner.updates * CONFIG.batch_size * REPLAY.trace_length
    assert trained == pytest.approx(CONFIG.replay_ratio * (progress.steps - ready_at), abs=30)


def test_it_learns_which_action_pays():
    config = dataclasses.replace(
        CONFIG, hidden=16, horizon=2, learning_rate=0.02, entropy_weight=0.03, batch_size=8,
        replay_ratio=16.0,
    )  # fmt: skip
    envs = make_envs(4, Bandit)
    agent = make_agent(envs, config=config, replay=dataclasses.replace(REPLAY, trace_length=4))
    paid = []
    for _, progress in zip(range(100), start(agent, envs), strict=False):
        paid += progress.step.reward[progress.stepped].tolist()
    agent.close()
    # The share of the third action: by chance a third.
    assert np.mean(paid[:60]) < 0.6
    assert np.mean(paid[-60:]) > 0.9


@pytest.mark.parametrize("bonus", BONUSES)
def test_each_bonus_runs_and_pays_imagined_states(bonus):
    envs = make_envs()
    agent = make_agent(envs, bonus)
    kinds = {
        "ngu": RememberedNovelty, "latents": RememberedLatents, "rnd": PredictedNovelty,
        "novelty_head": PredictedNovelty, "disagreement": LatentDisagreement, "none": type(None),
    }  # fmt: skip
    assert type(agent.imagined) is kinds[bonus]
    before = copy.deepcopy(agent.learner.state_dict())
    rows = run(start(agent, envs), 36)
    agent.close()
    learned = rows[-1] if "loss/model" in rows[-1] else rows[-2] | rows[-3]
    assert agent.learner.updates > 3
    assert np.isfinite(list(learned.values())).all()
    assert ("imagined_reward_int" in learned) == (bonus != "none")
    assert learned["imagined_reward_ext"] != 0
    extra = {
        "ngu": {"loss/imagined_embedding", "loss/imagined_distillation", "loss/distillation"},
        "latents": {"loss/distillation"},
        "novelty_head": {"loss/novelty_head", "loss/distillation"},
        "rnd": {"loss/novelty_head", "loss/distillation"},
        "disagreement": {"loss/disagreement"},
        "none": set(),
    }[bonus]
    assert extra <= learned.keys()
    if bonus not in ("disagreement", "none"):
        assert max(row.get("intrinsic_reward", 0.0) for row in rows) > 0
    for part in ("model", "behaviour"):
        for name, weight in agent.learner.state_dict()[part].items():
            assert not torch.equal(weight, before[part][name]), name


@pytest.mark.parametrize("space", [Box(-0.5, 0.5, (2,)), MultiDiscrete([2, 3], start=[0, 1])])
@pytest.mark.parametrize("bonus", ["ngu", "latents", "disagreement"])
def test_each_kind_of_action_is_played_and_dreamt_of(space, bonus):
    envs = make_envs(kind=lambda: ShortCorridor(space))
    agent = make_agent(envs, bonus)
    # The environment itself asserts that its actions are inside the space.
    rows = run(start(agent, envs), 36)
    agent.close()
    assert agent.learner.updates > 3
    assert all(np.isfinite(list(row.values())).all() for row in rows)


def test_frames_are_stored_once_and_stacked_again(make_dreamer):
    agent = make_dreamer(
        kind=lambda: FrameStackObservation(Frames(), 3, padding_type="zero"), steps=40, stack=3
    )
    assert agent.replay._columns["observation"].shape[2:] == (16, 16)
    batch = agent.replay.sample(5)
    newest = batch.observation[:, :, -1, 0, 0]
    for t, b in np.ndindex(newest.shape):
        expected = [max(0, int(newest[t, b]) - age) for age in (2, 1, 0)]
        assert batch.observation[t, b, :, 0, 0].tolist() == expected
    assert (newest[batch.first] == 1).all()
    assert batch.first.any()
    assert np.isfinite(list(agent.learner.update(batch).values())).all()


@pytest.mark.parametrize("bonus", ["ngu", "disagreement"])
def test_the_same_seed_gives_the_same_run_and_another_one_does_not(bonus):
    runs = []
    for seed, noise in ((3, 0), (3, 1), (4, 0)):
        np.random.seed(noise)  # noqa: NPY002  # what must not matter
        torch.manual_seed(noise)
        envs = make_envs()
        agent = make_agent(envs, bonus, seed=seed)
        runs.append(run(start(agent, envs), 30))
        agent.close()
    assert any("loss/model" in row for row in runs[0])
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("bonus", BONUSES)
def test_a_loaded_agent_goes_on_as_if_it_had_not_stopped(bonus, tmp_path: Path):
    envs = make_envs()
    agent = make_agent(envs, bonus, precision="auto")
    loop = start(agent, envs)
    run(loop, 32)
    assert agent._credit > 0
    save_tree(tmp_path / "state", {"agent": agent.save(tmp_path), "loop": loop.state_dict()})
    saved_envs = copy.deepcopy(envs)
    expected = run(loop, 15)
    agent.close()
    other = make_agent(saved_envs, bonus, seed=8, precision="auto")
    state = load_tree(tmp_path / "state")
    assert other.files(state["agent"]) <= {path.name for path in tmp_path.iterdir()}
    assert other.load(tmp_path, state["agent"])
    resumed = Loop(other, saved_envs)
    resumed.load_state_dict(state["loop"])
    assert run(resumed, 15) == expected
    other.close()
    assert sum("loss/model" in row for row in expected) > 2
    for part in ("model", "behaviour", "imagined", "ranges"):
        same(agent.learner.state_dict()[part], other.learner.state_dict()[part])


def test_a_memory_keeps_one_version_of_the_latents_for_its_episode():
    """What it holds is what one model makes of the whole episode, which is trained meanwhile."""
    envs = make_envs()
    agent = make_agent(envs, "latents")
    steps, checked, moved = [], 0, 0
    for _, progress in zip(range(60), start(agent, envs), strict=False):
        steps.append((progress.step.observation, agent.actor.action, ~progress.stepped))
        for env in range(envs.num_envs):
            size = int(agent.bonus.memory.sizes[env])
            if agent.learner.updates < 3 or size < 3:
                continue
            seen, taken, first = (
                torch.from_numpy(np.stack([step[part][env] for step in steps[-size:]])).unsqueeze(1)
                for part in range(3)
            )
            assert first.flatten().tolist() == [True] + [False] * (size - 1)
            version = agent.latents.versions[agent.latents.use.version_of[env]]
            with torch.no_grad():
                states = version.observe(seen, taken, first).states
                newest = agent.model.observe(seen, taken, first).states
            features = version.rssm.features(states).squeeze(1)
            remembered = agent.bonus.memory._entries[env, :size]
            torch.testing.assert_close(remembered, features)
            checked += 1
            moved += not torch.equal(agent.model.rssm.features(newest).squeeze(1), features)
    agent.close()
    assert checked > 20
    assert moved > 10


def test_latents_are_remembered_by_ngu_alone():
    envs = make_envs()
    for bonus in ("rnd", "disagreement", "none"):
        with pytest.raises(ValueError, match="latent_memory is that of the bonus ngu"):
            make_agent(envs, bonus, latent_memory=True)
    with pytest.raises(ValueError, match="two ways to pay imagined states"):
        DreamerConfig(latent_memory=True, novelty_head=True)


def test_without_its_replay_a_loaded_agent_begins_anew(tmp_path: Path):
    envs = make_envs()
    agent = make_agent(envs, "ngu")
    loop = start(agent, envs)
    run(loop, 31)
    save_tree(tmp_path / "state", agent.save(None))
    agent.close()
    other = make_agent(envs, "ngu", seed=8)
    state = load_tree(tmp_path / "state")
    assert other.files(state) == set()
    assert not other.load(tmp_path, state)
    same(other.learner.state_dict()["model"], agent.learner.state_dict()["model"])
    assert other.learner.updates == agent.learner.updates > 0
    resumed = start(other, envs)
    assert other.actor.first.all()
    learned = ["loss/model" in row for row in run(resumed, 36)]
    other.close()
    assert not any(learned[:9])
    assert any(learned[9:])
