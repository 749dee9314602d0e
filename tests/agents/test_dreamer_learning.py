"""The learning side of the dreamer: what an update is made of."""

import copy
import dataclasses
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from ngu_agents import dreamer, dreamer_learning
from ngu_agents.dreamer import DreamerAgent
from ngu_agents.dreamer_config import DreamerConfig, LatentDisagreementConfig
from ngu_agents.dreamer_learning import clip_adaptively, passed_before
from tests.small_dreamers import (
    CONFIG,
    LAST,
    REPLAY,
    same,
)


def updated(agent: DreamerAgent, batch, before=None) -> dict[str, float]:
    if before is not None:
        agent.learner.load_state_dict(copy.deepcopy(before))
    return agent.learner.update(batch)


@pytest.mark.parametrize("bonus", ["ngu", "disagreement"])
def test_the_number_of_threads_changes_nothing(bonus, make_dreamer, monkeypatch):
    monkeypatch.setattr(dreamer_learning, "_SHARD", 2)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(dreamer, "usable_cores", lambda threads=threads: threads)
        agent = make_dreamer(bonus)
        figures = [agent.learner.update(agent.replay.sample(5)) for _ in range(2)]
        results.append((figures, agent.learner.state_dict()))
    assert results[0][0] == results[1][0]
    for part in ("model", "behaviour", "imagined"):
        same(results[0][1][part], results[1][1][part])


@pytest.mark.parametrize("shard", [5, 2])  # of 7 sequences: 5 and 2; 2, 2, 2 and 1
def test_each_sequence_counts_the_same_whatever_its_shard(shard, make_dreamer, monkeypatch):
    """Where nothing is drawn, shards give the gradients of the whole."""
    agent = make_dreamer("disagreement")
    learner, batch = agent.learner, agent.replay.sample(7)
    monkeypatch.setattr(dreamer_learning, "_SHARD", 7)
    learner.update(batch)  # first values of zero would have no gradients
    for adam in learner._optimisers.values():
        adam.step = lambda: None
    applied = []

    def take(parameters, ratio):
        applied.append([parameter.grad.clone() for parameter in parameters])

    monkeypatch.setattr(dreamer_learning, "clip_adaptively", take)
    (whole,) = learner.shards(batch)
    drawing = learner._drawing
    dream = learner.dream(whole, learner.learn_model(whole, 0), 0)
    learner._drawing = lambda seed: None
    results = []
    for size in (7, shard):
        monkeypatch.setattr(dreamer_learning, "_SHARD", size)
        shards = learner.shards(batch)
        counts = [len(part.envs) for part in shards]
        shares = [count / 7 for count in counts]
        parts = [learner.learn_model(part, 0) for part in shards]
        model = learner._step("model", [(p.gradients, p.loss) for p in parts], shares)
        behaved = [
            learner.learn_behaviour(part) for part in split(dream, [len(s.envs) for s in shards])
        ]
        behaviour = learner._step("behaviour", [part[:2] for part in behaved], shares)
        results.append(model | behaviour)
    learner._drawing = drawing
    assert results[0].keys() == {"loss/model", "loss/behaviour"}
    for name, figure in results[0].items():
        assert figure == pytest.approx(results[1][name], rel=1e-4), name
    for one, many in ((applied[0], applied[2]), (applied[1], applied[3])):
        assert max(gradient.abs().max() for gradient in one) > 1e-3
        torch.testing.assert_close(one, many, rtol=1e-3, atol=1e-5)


def split(dream, counts: list[int]) -> list[Any]:
    """The dream of each of the shards that its sequences are divided into."""
    total = sum(counts)

    def part(values, columns):
        lead = values.shape[0]
        by_sequence = values.unflatten(1, (-1, total))[:, :, columns]
        return by_sequence.reshape(lead, -1, *values.shape[2:])

    dreams, first = [], 0
    for count in counts:
        columns = slice(first, first + count)
        dreams.append(
            dreamer_learning.Dream(
                part(dream.features, columns),
                part(dream.rows, columns),
                part(dream.weight, columns),
                *(
                    {name: part(values, columns) for name, values in group.items()}
                    for group in (dream.returns, dream.values, dream.rewards)
                ),
            )
        )
        first += count
    return dreams


def test_an_update_steps_by_the_mean_over_sequences(make_dreamer, monkeypatch):
    """The whole update hands over each shard's share of the sequences."""
    monkeypatch.setattr(dreamer_learning, "_SHARD", 4)
    agent = make_dreamer()
    taken, step = [], agent.learner._step

    def noted(name, parts, shares):
        taken.append((name, len(parts), list(shares)))
        return step(name, parts, shares)

    agent.learner._step = noted
    agent.learner.update(agent.replay.sample(5))
    assert taken == [("model", 2, [0.8, 0.2]), ("behaviour", 2, [0.8, 0.2])]


def one_shard(agent: DreamerAgent, batch):
    (shard,) = agent.learner.shards(batch)
    return shard


def drawn_order(seed: int) -> torch.Tensor:
    """The steps of sequences that a dream of this seed begins in."""
    return torch.randperm(REPLAY.trace_length, generator=torch.Generator().manual_seed(seed))


def batch_where(agent: DreamerAgent, condition) -> Any:
    """The first drawn batch that meets a condition."""
    for _ in range(100):
        batch = agent.replay.sample(5)
        if condition(batch):
            return batch
    raise AssertionError


def test_what_was_before_an_episode_has_no_influence(make_dreamer):
    agent = make_dreamer()
    batch = batch_where(agent, lambda batch: batch.first[3, 0] and not batch.first[1:3, 0].any())
    other = copy.deepcopy(batch)
    other.observation[:3, 0] += 1.0
    other.action_tm1[:3, 0] = 3 - other.action_tm1[:3, 0]
    other.action_tm1[3, 0] = 2  # led to nothing
    states = [agent.learner.learn_model(one_shard(agent, x), 5).features for x in (batch, other)]
    # Index t + 1 holds the state of what is learned from at t, which begins at x_1.
    assert not torch.equal(states[0][1, 0], states[1][1, 0])
    assert torch.equal(states[0][3:, 0], states[1][3:, 0])
    assert torch.equal(states[0][:, 1:], states[1][:, 1:])


def test_an_episode_begins_in_play_as_if_nothing_had_been(make_dreamer):
    agent, observation = make_dreamer(), np.array([[1.0], [2.0]], np.float32)
    generator = agent.actor._generator
    drawn = generator.get_state()
    states = []
    for change in (0.0, 1.0):
        actor = agent.actor
        state = copy.deepcopy(actor.state_dict())
        actor.state = type(actor.state)(*(part + change for part in actor.state))
        actor.action = np.array([1, 1]) if change else np.array([2, 2])
        generator.set_state(drawn)
        actor.begin(np.array([True, False]))
        actor.act(observation)
        states.append(actor.features)
        actor.load_state_dict(state)
    assert torch.equal(states[0][0], states[1][0])
    assert not torch.equal(states[0][1], states[1][1])


def test_imagination_starts_in_all_states_but_terminal_ones(make_dreamer):
    agent = make_dreamer("rnd")

    def has_both(batch):
        return batch.terminated[:-1].any() and (batch.truncated & ~batch.terminated)[:-1].any()

    batch = batch_where(agent, has_both)
    shard = one_shard(agent, batch)
    modelled = agent.learner.learn_model(shard, 0)
    dream = agent.learner.dream(shard, modelled, 1)
    seen = torch.from_numpy(batch.observation[1:])[drawn_order(1)].flatten()
    same(dream.weight[0], (seen != LAST).float())
    assert 0 < (seen == LAST).sum() < len(seen)
    # What cannot go on weighs nothing in all that follows either.
    assert (dream.weight[:, seen == LAST] == 0).all()
    going_on = agent.model.continue_probability(dream.features[1:])
    expected = CONFIG.gamma_ext * going_on[0] * dream.weight[0]
    torch.testing.assert_close(dream.weight[1], expected)
    torch.testing.assert_close(dream.weight[2], CONFIG.gamma_ext * going_on[1] * expected)
    # What follows from terminal states teaches nothing.
    before = agent.learner.learn_behaviour(dream)[0]
    over = dream.weight[0] == 0
    for returns in dream.returns.values():
        returns[:, over] += 100.0
    for one, other in zip(before, agent.learner.learn_behaviour(dream)[0], strict=True):
        torch.testing.assert_close(one, other)


def test_the_model_is_told_ends_but_not_limits(make_dreamer):
    agent = make_dreamer()
    batch = batch_where(agent, lambda batch: batch.terminated.any() and batch.truncated.any())
    shard = one_shard(agent, batch)
    at_the_end = torch.from_numpy(batch.observation[..., 0] == LAST)
    same(shard.terminated[1:], at_the_end[1:])
    same(shard.reward, torch.where(at_the_end & ~shard.first, 1.0, 0.0))


def test_terminations_of_a_program_that_was_restarted_are_not_the_new_episodes(
    make_dreamer,
):
    agent = make_dreamer()
    batch = batch_where(agent, lambda batch: batch.first[3, 0])
    batch.terminated[2, 0] = True
    assert not one_shard(agent, batch).terminated[3, 0]


@pytest.mark.parametrize("burn_in", [0, 2])
def test_burn_in_only_brings_the_state_up(burn_in, make_dreamer):
    agent = make_dreamer("rnd", replay=dataclasses.replace(REPLAY, burn_in=burn_in))
    batch = batch_where(agent, lambda batch: not batch.first[1 : burn_in + 3, 0].any())
    assert len(batch.observation) == burn_in + REPLAY.trace_length + 1
    with torch.no_grad():
        agent.model.rssm.posterior.weight.mul_(100)  # what is seen decides what is drawn
    agent.learner.update(batch)  # the first predictions of rewards are as bad for all
    before = copy.deepcopy(agent.learner.state_dict())
    figures = updated(agent, batch, before)
    paid, seen, later = (copy.deepcopy(batch) for _ in range(3))
    for rewards in (paid.reward_ext_tm1, paid.reward_int_tm1):
        rewards[: burn_in + 1] += 5.0
    seen.observation[burn_in] = -5.0
    later.reward_ext_tm1[burn_in + 1, 0] += 5.0
    assert updated(agent, paid, before) == figures
    assert updated(agent, seen, before) != figures
    assert updated(agent, later, before)["loss/reward"] != figures["loss/reward"]


def test_what_trains_the_imagined_reward_is_what_was_replayed(make_dreamer):
    agent = make_dreamer("ngu")
    batch = batch_where(agent, lambda batch: batch.first[2:].any())
    shard = one_shard(agent, batch)
    modelled = agent.learner.learn_model(shard, 0)
    replayed = agent.learner._replayed([shard], [modelled])
    assert len(replayed.features) == CONFIG.bonus_batch_size
    found = 0
    for row in range(CONFIG.bonus_batch_size):
        ((t, b),) = (modelled.features[1:] == replayed.features[row]).all(-1).nonzero().tolist()
        assert torch.equal(replayed.features_tm1[row], modelled.features[t, b])
        # Index t of what is learned from is x_{t+1}: the one before it is context.
        torch.testing.assert_close(
            replayed.embedding_error[row], modelled.embedding_errors[t, b], equal_nan=True
        )
        assert replayed.reward_int[row] == batch.reward_int_tm1[t + 1, b]
        assert replayed.followed[row] != batch.first[t + 1, b]
        if replayed.followed[row]:
            assert replayed.action_tm1[row] == batch.action_tm1[t + 1, b]
            found += 1
    assert found > 2


def test_imagined_states_belong_to_their_sequences_environments(make_dreamer):
    """An environment's memory is of another episode where a sequence has seen its own begin."""
    agent = make_dreamer("rnd")
    batch = batch_where(
        agent,
        lambda batch: len(set((batch.ids % 2).tolist())) == 2 and not batch.first[:3].any(0).all(),
    )
    shard, taken = one_shard(agent, batch), []
    pay = agent.imagined.pay

    def noted(dreamt):
        taken.append(dreamt)
        return pay(dreamt)

    agent.imagined.pay = noted
    modelled = agent.learner.learn_model(shard, 0)
    dream = agent.learner.dream(shard, modelled, 0)
    (dreamt,) = taken
    order = drawn_order(0)
    begun = np.maximum.accumulate(batch.first)[1:][order]
    assert 0 < begun.mean() < 1
    assert dreamt.envs.tolist() == np.where(begun, -1, batch.ids % 2).flatten().tolist()
    same(dreamt.features[0], modelled.features[1:][order].flatten(0, 1))
    same(dreamt.features[:-1], dream.features)
    same(dreamt.actions, agent.behaviour.head.encode(dream.rows))


def test_what_was_passed_before_is_of_the_same_sequence_and_episode():
    first = torch.tensor([[False, True], [False, False], [True, False], [False, False]])
    features = torch.arange(4 * 2 * 3, dtype=torch.float32).view(4, 2, 3)
    embedded = features[..., :2] + 100.0
    passed = passed_before(features, embedded, first, torch.tensor([2, 0]))
    assert passed.features is features
    assert passed.embedded is embedded
    # Trajectories from state 2 of sequence 0 and 1, then from state 0; one state is before state 0.
    expected = [[False, True, True, True], [False, True, False, False], [True, True, False, False]]
    assert passed.counted.tolist() == [*expected, [False] * 4]
    # Sequence 0 is in the middle of an episode until its third state.
    assert passed.whole.tolist() == [True, True, False, True]


def test_it_may_imagine_from_a_part_of_the_states(make_dreamer):
    agent = make_dreamer("ngu", config=dataclasses.replace(CONFIG, starts_per_sequence=2))
    batch = batch_where(agent, lambda batch: batch.terminated[:-1].any())
    shard = one_shard(agent, batch)
    modelled = agent.learner.learn_model(shard, 0)
    steps, starts, weights = set(), [], []
    for seed in range(20):
        dream = agent.learner.dream(shard, modelled, seed)
        assert dream.weight.shape == (CONFIG.horizon, 2 * CONFIG.batch_size)
        order = drawn_order(seed)[:2]
        steps |= set(order.tolist())
        starts.append(modelled.features[1:][order].flatten(0, 1))
        same(dream.features[0], starts[-1])
        weights.append(dream.weight[0])
        ended = torch.from_numpy(batch.observation[1:])[order].flatten() == LAST
        same(weights[-1] == 0, ended)
    assert steps == set(range(REPLAY.trace_length))
    assert 0 < torch.cat(weights).mean() < 1
    assert np.isfinite(list(agent.learner.update(batch).values())).all()


def test_advantages_are_weighed_in_units_of_their_ranges(make_dreamer):
    """By hand, from the parts: policy loss, value losses, entropy, all weighed."""
    config = dataclasses.replace(
        CONFIG, extrinsic_weight=0.5, intrinsic_weight=3.0, entropy_weight=0.1
    )
    agent = make_dreamer("rnd", config=config)
    learner, batch = agent.learner, agent.replay.sample(5)
    learner.update(batch)
    shard = one_shard(agent, batch)
    dream = learner.dream(shard, learner.learn_model(shard, 0), 0)
    scale = {name: range_.scale for name, range_ in learner._ranges.items()}
    assert scale["ext"] == 1.0
    assert scale["int"] != 1.0
    advantage = sum(
        weight * (dream.returns[name] - dream.values[name]) / scale[name]
        for name, weight in (("ext", 0.5), ("int", 3.0))
    )
    parameters = agent.behaviour.policy(dream.features)
    chosen = parameters.gather(-1, dream.rows).squeeze(-1)
    entropy = -(parameters.exp() * parameters).sum(-1)
    policy = -(advantage * chosen + 0.1 * entropy)
    value = sum(
        critic.loss(dream.features, dream.returns[name])
        for name, critic in agent.behaviour.critics.items()
    )
    _, loss, figures = learner.learn_behaviour(dream)
    expected = (dream.weight * (policy + value)).mean()
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(figures["loss/policy"], (dream.weight * policy).mean().detach())
    assert figures["policy_entropy"].item() == pytest.approx(entropy.mean().item())


def test_clipping_by_hand():
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    small, large = torch.tensor([0.6, 0.8]), torch.tensor([30.0, 40.0])
    zero = torch.nn.Parameter(torch.zeros(2))
    still = torch.nn.Parameter(torch.ones(2))
    for gradient, expected in ((small, small), (large, 0.3 * 5 * torch.tensor([0.6, 0.8]))):
        weight.grad, zero.grad, still.grad = gradient.clone(), gradient.clone(), torch.zeros(2)
        clip_adaptively([weight, zero, still], 0.3)
        torch.testing.assert_close(weight.grad, expected)
        # A tensor of zeros counts as one of norm .001.
        torch.testing.assert_close(zero.grad, 3e-4 * torch.tensor([0.6, 0.8]))
        assert (still.grad == 0).all()


@pytest.mark.parametrize("name", ["model", "behaviour", "gradient"])
def test_what_is_not_finite_is_named_and_nothing_is_trained_on_it(name, make_dreamer):
    agent = make_dreamer()
    learner, batch = agent.learner, agent.replay.sample(5)
    if name == "model":
        batch.reward_ext_tm1[:] = np.nan
    elif name == "behaviour":
        critic = agent.behaviour.critics["ext"]
        with torch.no_grad():
            critic.fast[-1].bias[3] = np.nan
    else:
        model = learner.learn_model

        def broken(shard, seed):
            part = model(shard, seed)
            part.gradients[0].view(-1)[0] = np.inf
            return part

        learner.learn_model = broken
    before = copy.deepcopy(learner.state_dict())
    named = "behaviour is nan" if name == "behaviour" else "model is "
    with pytest.raises(FloatingPointError, match=f"the loss of the {named}.* in update 1"):
        learner.update(batch)
    after = learner.state_dict()
    part = "behaviour" if name == "behaviour" else "model"
    for key, weight in before[part].items():
        np.testing.assert_array_equal(weight, after[part][key])
    assert not after["optimisers"][part]["state"]
    assert all(parameter.grad is None for parameter in agent.model.parameters())
    assert learner.updates == 0


def test_the_slow_values_follow_after_each_update(make_dreamer):
    config = dataclasses.replace(CONFIG, slow_decay=0.75)
    agent = make_dreamer(config=config)
    critic = agent.behaviour.critics["ext"]
    old = [parameter.clone() for parameter in critic.slow.parameters()]
    agent.learner.update(agent.replay.sample(5))
    for before, fast, slow in zip(
        old, critic.fast.parameters(), critic.slow.parameters(), strict=True
    ):
        torch.testing.assert_close(slow, 0.75 * before + 0.25 * fast.detach())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"horizon": 0}, "horizon must be above 0, got 0"),
        ({"starts_per_sequence": 0}, "starts_per_sequence must be at least 1 or None, got 0"),
        ({"max_gradient_ratio": -1.0}, "max_gradient_ratio must be above 0, got -1.0"),
        ({"entropy_weight": float("nan")}, "entropy_weight must be at least 0, got nan"),
        ({"gamma_ext": 1.0}, r"gamma_ext must be in \[0, 1\), got 1.0"),
        ({"slow_decay": -0.1}, r"slow_decay must be in \[0, 1\), got -0.1"),
        ({"trace_decay": 1.1}, r"trace_decay must be in \[0, 1\], got 1.1"),
    ],
)
def test_settings_out_of_range_are_named(change, says):
    with pytest.raises(ValueError, match=says):
        DreamerConfig(**change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"models": 1}, "models must be at least 2, got 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
    ],
)
def test_settings_of_disagreement_out_of_range_are_named(change, says):
    with pytest.raises(ValueError, match=says):
        LatentDisagreementConfig(**change)


def test_spaces_that_are_not_read_are_named():
    vector = Box(-1, 1, (3,), np.float32)
    several = gymnasium.spaces.Dict({"a": Discrete(2)})
    for spaces, name in (((several, Discrete(2)), "observation_space"), ((vector, several), "act")):
        with pytest.raises(TypeError, match=f"{name}.* must be"):
            DreamerAgent(*spaces, 2, bonus=None, config=CONFIG, replay=REPLAY, seed=0)
