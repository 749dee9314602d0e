import numpy as np
import pytest

from ngu_agents.archive.returning import Trajectory
from ngu_agents.demonstrations import Demonstrations
from ngu_agents.replay import ReplayConfig, SequenceReplay
from ngu_envs import make

SIZE = 5
CONFIG = ReplayConfig(trace_length=6, period=3, min_sequences=4, capacity_steps=600)


def right_ways(envs):
    """The actions that go right, row by row, down the diagonal."""
    return bytes(int(envs.unwrapped.right_action[i, i]) for i in range(SIZE))


def demonstrations(*, scores=(0.99, -0.004), seed=0, share=0.5):
    envs = make("deep-sea", 2, 0, size=SIZE)
    envs.reset()
    root = envs.snapshots(np.array([True, False]))[0]
    whole = right_ways(envs)
    trajectories = [
        Trajectory(root, actions, score)
        for actions, score in zip((whole, whole[:2]), scores, strict=True)
    ]
    return Demonstrations(
        envs, trajectories, replay=CONFIG, recurrent_size=4, stack=1, share=share, seed=seed
    )


def own_replay(steps=60):
    envs = make("deep-sea", 3, 0, size=SIZE)
    replay = SequenceReplay(
        CONFIG,
        num_envs=3,
        observation_space=envs.single_observation_space,
        recurrent_size=4,
        generator=np.random.default_rng(0),
    )
    observation, _ = envs.reset()
    done = np.ones(3, bool)
    for _ in range(steps):
        following, reward, terminated, truncated, _ = envs.step(np.zeros(3, np.int64))
        replay.add(
            observation=observation,
            first=done,
            action=np.zeros(3, np.int64),
            behaviour_probability=np.full(3, 0.5, np.float32),
            reward_ext=np.where(done, 0, reward).astype(np.float32),
            reward_int=np.ones(3, np.float32),
            terminated=terminated,
            truncated=truncated,
            policy=np.full(3, 2),
            recurrent_state=np.ones((2, 3, 4), np.float32),
        )
        # The reset step's observation is the first of the next episode.
        done, observation = (observation == 0).all((1, 2, 3)), following
    return replay


def test_what_was_demonstrated_is_drawn():
    batch = demonstrations(share=1.0).mixed(own_replay(), 200)
    assert batch.demonstrated.all()
    assert (batch.policy == 0).all()
    assert (batch.behaviour_probability == 1).all()
    assert not batch.recurrent_state.any()
    treasure = batch.reward_ext > 0.5
    assert treasure.any()
    assert batch.terminated[treasure].all()  # the way to it ends there
    assert batch.truncated.any()  # the other one is only cut
    # Each step goes right: the diver's column is its row, in all observations before the end.
    _, _, _, row, column = np.nonzero(batch.observation)
    np.testing.assert_array_equal(row, column)
    envs = make("deep-sea", 1, 0, size=SIZE)
    steps, sequences = np.nonzero(batch.valid & batch.observation[:-1].any((2, 3, 4)))
    rows = batch.observation[:-1][steps, sequences, 0].any(-1).argmax(-1)
    shown = np.frombuffer(right_ways(envs), np.uint8)[rows]
    np.testing.assert_array_equal(batch.action[steps, sequences], shown)


def test_the_share_is_a_chance():
    shown, own = demonstrations(share=0.25), own_replay()
    shares = [shown.mixed(own, 8).demonstrated.mean() for _ in range(300)]
    assert {0.0, 0.125, 0.25, 0.375} <= set(shares)
    assert abs(np.mean(shares) - 0.25) < 0.03
    batch = shown.mixed(own, 64)
    np.testing.assert_array_equal(batch.policy[0], np.where(batch.demonstrated, 0, 2))
    np.testing.assert_array_equal(batch.recurrent_state[0, :, 0], ~batch.demonstrated)
    assert batch.ids.shape == batch.importance_weight.shape == (64,)


def test_a_loaded_state_draws_the_same():
    first, second, own = demonstrations(), demonstrations(seed=5), own_replay()
    first.mixed(own, 8)
    second.load_state_dict(first.state_dict())
    state = own._generator.bit_generator.state
    one = first.mixed(own, 8)
    own._generator.bit_generator.state = state
    two = second.mixed(own, 8)
    np.testing.assert_array_equal(one.observation, two.observation)
    np.testing.assert_array_equal(one.demonstrated, two.demonstrated)


def test_a_trajectory_of_something_else_is_noticed():
    with pytest.raises(ValueError, match=r"score was 5, played once more it is 0\.99: these are"):
        demonstrations(scores=(5.0, -0.004))


def test_previous_actions_are_hidden():
    batch = demonstrations().sample(400)
    shown = np.bincount(batch.action_tm1.ravel(), minlength=2)
    assert abs(shown[0] / shown.sum() - 0.5) < 0.02
    assert (batch.action[:-1] != batch.action_tm1[1:-1]).any()
