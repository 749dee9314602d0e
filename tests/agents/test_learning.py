import copy
import dataclasses

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from ngu_agents.config import RecurrentReplayConfig
from ngu_agents.learning import Learner
from ngu_agents.networks import make_network
from ngu_agents.sequence_batch import SequenceBatch

CONFIG = RecurrentReplayConfig(num_policies=1, features=8, hidden=6, batch_size=3)
SPACE = Box(-1, 1, (4,), np.float32)
BURN_IN, STEPS = 2, 5


def learner(config: RecurrentReplayConfig = CONFIG) -> Learner:
    generator = torch.Generator().manual_seed(0)
    network = make_network(SPACE, Discrete(3), config, generator=generator)
    return Learner(
        network,
        None,
        config,
        burn_in=BURN_IN,
        action_start=0,
        generator=torch.Generator().manual_seed(1),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def batch(seed: int, demonstrated: list[bool]) -> SequenceBatch:
    """Sequences of which those that are not demonstrated begin with states of ones."""
    generator = np.random.default_rng(seed)
    count, length = len(demonstrated), BURN_IN + STEPS
    steps, states = (length, count), (length + 1, count)
    return SequenceBatch(
        action=generator.integers(3, size=steps),
        behaviour_probability=np.ones(steps, np.float32),
        reward_ext=generator.normal(size=steps).astype(np.float32),
        reward_int=np.zeros(steps, np.float32),
        terminated=np.zeros(steps, bool),
        truncated=np.zeros(steps, bool),
        valid=np.ones(steps, bool),
        observation=generator.normal(size=(*states, 4)).astype(np.float32),
        first=np.zeros(states, bool),
        action_tm1=generator.integers(3, size=states),
        reward_ext_tm1=np.zeros(states, np.float32),
        reward_int_tm1=np.zeros(states, np.float32),
        policy=np.zeros(states, np.int16),
        recurrent_state=np.broadcast_to(
            np.where(demonstrated, np.float32(0), np.float32(1))[:, None],
            (2, count, CONFIG.hidden),
        ).copy(),
        ids=np.arange(count),
        importance_weight=np.ones(count, np.float32),
        demonstrated=np.array(demonstrated),
    )


def states_read(learning: Learner, shown: SequenceBatch) -> list[torch.Tensor]:
    """What the network's calls of an update begin with, and what the last one ends with."""
    states = []
    lstm = learning.network.lstm
    forward = lstm.forward

    def recorded(inputs, first, state):
        outputs, after = forward(inputs, first, state)
        states.extend((state.clone(), after.detach().clone()))
        return outputs, after

    lstm.forward = recorded
    learning.update(shown, None)
    lstm.forward = forward
    return states


def test_demonstrations_begin_with_memories_of_those_of_before():
    learning = learner()
    first, *_, after = states_read(learning, batch(0, [True, False, True]))
    assert not first[:, [0, 2]].any()
    assert (first[:, 1] == 1).all()
    stored = batch(1, [False, True, True])
    second, *_, _ = states_read(learning, stored)
    torch.testing.assert_close(second[:, 1:], after[:, [0, 2]])
    assert (second[:, 0] == 1).all()
    assert not stored.recurrent_state[:, 1:].any()  # the batch is left as it was


def test_memories_are_kept_for_as_many_demonstrations_as_there_were():
    learning = learner()
    *_, after = states_read(learning, batch(0, [False, False, True]))
    second, *_ = states_read(learning, batch(1, [True, True, True]))
    torch.testing.assert_close(second[:, :1], after[:, 2:])
    assert not second[:, 1:].any()


def test_memories_go_on_with_the_state():
    learning, loaded = learner(), learner()
    learning.update(batch(0, [True, True, True]), None)
    loaded.load_state_dict(learning.state_dict())
    losses = [one.update(batch(1, [True] * 3), None).metrics for one in (learning, loaded)]
    assert losses[0] == losses[1]
    forgetful = learner()
    nothing = {"memories": torch.zeros(2, 0, CONFIG.hidden)}
    forgetful.load_state_dict(learning.state_dict() | nothing)
    losses = [one.update(batch(2, [True] * 3), None).metrics for one in (learning, forgetful)]
    assert losses[0] != losses[1]


def test_demonstrations_alone_are_imitated_and_no_values_are_learned():
    shown = batch(0, [True, True, True])
    one, other = learner(), learner()
    before = [weight.clone() for weight in one.network.value.parameters()]
    for weight in other.target.parameters():
        weight.add_(1.0)
    learned = one.update(shown, None)
    assert set(learned.metrics) == {"loss/demonstration", "gradient_norm"}
    assert not len(learned.ids)
    richer = dataclasses.replace(shown, reward_ext=shown.reward_ext + 100)
    other.update(richer, None)
    for weight, same in zip(one.network.parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(weight, same, rtol=0, atol=0)
    losses = [one.update(shown, None).metrics["loss/demonstration"] for _ in range(20)]
    assert losses[-1] < learned.metrics["loss/demonstration"]
    # Its gradient would be rounding errors, of which Adam makes steps as large as any.
    for weight, same in zip(one.network.value.parameters(), before, strict=True):
        torch.testing.assert_close(weight, same, rtol=0, atol=0)


def test_imitation_hides_features_and_goes_on_with_those_to_be_hidden():
    thin = dataclasses.replace(CONFIG, demonstration_dropout=0.5)
    shown = batch(0, [True, True, True])
    whole, hiding = learner(), learner(thin)
    features = torch.ones(1000)
    assert whole._thinned(features) is features
    assert set(hiding._thinned(features).tolist()) == {0.0, 2.0}
    assert abs(hiding._thinned(features).mean().item() - 1) < 0.2
    kept = copy.deepcopy(hiding.state_dict())
    losses = [one.update(shown, None).metrics["loss/demonstration"] for one in (whole, hiding)]
    assert losses[0] != losses[1]
    again = learner(thin)
    again.load_state_dict(kept)
    assert again.update(shown, None).metrics["loss/demonstration"] == losses[1]
    # Values are learned from all features.
    mixed = batch(1, [True, False, True])
    assert learner(thin).update(mixed, None).metrics == learner().update(mixed, None).metrics


def test_without_a_memory_each_step_is_read_on_its_own():
    learning = learner(dataclasses.replace(CONFIG, recurrent=False))
    firsts = []
    forward = learning.network.lstm.forward

    def recorded(inputs, first, state):
        firsts.append(first)
        return forward(inputs, first, state)

    learning.network.lstm.forward = recorded
    shown = batch(0, [True, True, True])
    loss = learning.update(shown, None).metrics["loss/demonstration"]
    assert all(first.all() for first in firsts)
    assert len(firsts) == 2
    before = np.random.default_rng(9).integers(3, size=shown.action_tm1.shape)
    other = dataclasses.replace(shown, recurrent_state=shown.recurrent_state + 1, action_tm1=before)
    config = dataclasses.replace(CONFIG, recurrent=False)
    assert learner(config).update(other, None).metrics["loss/demonstration"] == loss
    assert learner().update(other, None).metrics != learner().update(shown, None).metrics


def test_what_the_agent_has_done_teaches_values_beside_demonstrations():
    shown = batch(0, [True, False, True])
    learned = learner().update(shown, None)
    assert {"loss/demonstration", "loss/value", "value/mean"} <= set(learned.metrics)
    np.testing.assert_array_equal(learned.ids, [1])
    richer = dataclasses.replace(shown, reward_ext=shown.reward_ext + 100)
    assert learner().update(richer, None).metrics["loss/value"] > learned.metrics["loss/value"]


def test_demonstrations_that_are_not_finite_are_named_and_nothing_is_trained_on_them():
    learning, shown = learner(), batch(0, [True, True])
    learning.update(shown, None)
    shown.observation[-2] = np.nan
    before = [weight.clone() for weight in learning.network.parameters()]
    with pytest.raises(FloatingPointError, match="loss/demonstration is nan in update 2"):
        learning.update(shown, None)
    for weight, same in zip(learning.network.parameters(), before, strict=True):
        torch.testing.assert_close(weight, same, rtol=0, atol=0)
