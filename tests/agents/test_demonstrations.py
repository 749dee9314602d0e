import numpy as np
import pytest

from ngu_agents.archive.demonstrated import Demonstrated
from ngu_agents.demonstrations import Demonstrations
from ngu_agents.replay import ReplayConfig, SequenceReplay
from ngu_envs import make

CONFIG = ReplayConfig(trace_length=6, period=3, min_sequences=4, capacity_steps=600)

# Two ways of 3 and 5 steps from where one of 4 has led: frames count up, 100 more in each piece.
FIRST = [0, 1, 2, 3, 4]
SECOND = [100, 101, 102, 103]
THIRD = [200, 201, 202, 203, 204, 205]
NUMBERS = np.array([*FIRST, *SECOND, *THIRD])
ACTION = np.array([0, 1, 2, 3, -1, 4, 5, 6, -1, 0, 1, 2, 3, 4, -1])
PREVIOUS = np.array([-1, 0, 1, 2, 3, 3, 5, 6, 7, 3, 9, 10, 11, 12, 13])
REWARD = np.where(ACTION < 0, 0, NUMBERS).astype(np.float32)
TERMINATED = NUMBERS == 204


def demonstrations(*, unroll_length=6, stack=1, seed=0, share=0.5):
    frames = np.zeros((len(NUMBERS), 2, 2), np.uint8)
    frames[:] = NUMBERS[:, None, None]
    known = Demonstrated(frames, ACTION, REWARD, TERMINATED, PREVIOUS)
    return Demonstrations(
        known,
        num_actions=7,
        unroll_length=unroll_length,
        recurrent_size=4,
        stack=stack,
        share=share,
        seed=seed,
    )


def own_replay(steps=60):
    envs = make("deep-sea", 3, 0, size=5)
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


def steps_to(last):
    """The whole way to a step, from the beginning of the episode."""
    way = [last]
    while PREVIOUS[way[-1]] >= 0:
        way.append(PREVIOUS[way[-1]])
    return way[::-1]


@pytest.mark.parametrize("stack", [1, 3])
def test_a_sequence_ends_with_a_step_and_goes_back_over_the_pieces_of_its_way(stack):
    length = 6
    batch = demonstrations(unroll_length=length, stack=stack).sample(300)
    seen = set()
    for column in range(300):
        valid = batch.valid[:, column]
        count = int(valid.sum())
        assert valid[length - count :].all()
        final = int(batch.observation[-2, column].max())  # the newest frame of the last step
        last = int(np.flatnonzero((final == NUMBERS) & (ACTION >= 0))[0])
        seen.add(last)
        whole = steps_to(last)
        way = whole[-length:]
        assert count == len(way)
        began = length - count
        np.testing.assert_array_equal(batch.action[began:, column], ACTION[way])
        np.testing.assert_array_equal(batch.reward_ext[began:, column], REWARD[way])
        np.testing.assert_array_equal(batch.terminated[began:, column], TERMINATED[way])
        shown = [*whole, last + 1]
        for row in range(began, length + 1):
            at = len(shown) - 1 - (length - row)
            stacked = [0 if i < 0 else NUMBERS[shown[i]] for i in range(at - stack + 1, at + 1)]
            frames = batch.observation[row, column].reshape(stack, -1)
            np.testing.assert_array_equal(frames[:, 0], stacked)
            assert batch.first[row, column] == (at == 0)
            before = REWARD[shown[at - 1]] if at else 0
            assert batch.reward_ext_tm1[row, column] == before
        assert batch.first[:began, column].all()
        assert not batch.observation[:began, column].any()
        assert not batch.reward_ext[:began, column].any()
    assert seen == set(np.flatnonzero(ACTION >= 0))
    assert (batch.policy == 0).all()
    assert (batch.behaviour_probability == 1).all()
    assert batch.demonstrated.all()
    assert not batch.recurrent_state.any()
    assert not batch.truncated.any()


def test_sequences_end_near_the_end_of_a_segment():
    action = np.zeros(102, np.int64)
    action[[40, 101]] = -1
    previous = np.arange(-1, 101)
    previous[41] = 39
    frames = np.arange(102, dtype=np.uint8)[:, None, None]
    known = Demonstrated(
        frames, action, np.zeros(102, np.float32), np.zeros(102, np.bool_), previous
    )
    shown = Demonstrations(
        known, num_actions=2, unroll_length=3, recurrent_size=4, stack=1, share=1.0, seed=0
    )
    batch = shown.sample(2000)
    assert set(batch.observation[-2].ravel()) == {*range(24, 40), *range(85, 101)}
    assert batch.valid.all()


def test_frames_from_before_a_way_are_seen_and_no_steps():
    """The first three of six frames were only seen."""
    action = np.array([-1, -1, -1, 1, 2, -1])
    previous = np.array([-1, 0, 1, 2, 3, 4])
    frames = np.arange(1, 7, dtype=np.uint8)[:, None, None]
    known = Demonstrated(frames, action, np.ones(6, np.float32), np.zeros(6, np.bool_), previous)
    shown = Demonstrations(
        known, num_actions=3, unroll_length=4, recurrent_size=4, stack=3, share=1.0, seed=0
    )
    batch = shown.sample(20)
    last = batch.observation[-2, :, -1].ravel()
    for column in range(20):
        steps = 2 if last[column] == 5 else 1
        np.testing.assert_array_equal(
            batch.valid[:, column], [False] * (4 - steps) + steps * [True]
        )
        begin = 4 - steps
        seen = batch.observation[begin, column].ravel()
        np.testing.assert_array_equal(seen, [2, 3, 4])
        assert not batch.first[begin:, column].any()
        assert batch.first[:begin, column].all()
        assert not batch.reward_ext[:begin, column].any()
        np.testing.assert_array_equal(batch.action[begin:, column], [1, 2][:steps])


def test_the_share_is_a_chance():
    known = Demonstrated(
        np.zeros((3, 1, 5, 5), np.float32),
        np.array([0, 1, -1]),
        np.zeros(3, np.float32),
        np.zeros(3, bool),
        np.array([-1, 0, 1]),
    )
    shown = Demonstrations(
        known, num_actions=2, unroll_length=6, recurrent_size=4, stack=1, share=0.25, seed=0
    )
    own = own_replay()
    shares = [shown.mixed(own, 8).demonstrated.mean() for _ in range(300)]
    assert {0.0, 0.125, 0.25, 0.375} <= set(shares)
    assert abs(np.mean(shares) - 0.25) < 0.03
    batch = shown.mixed(own, 64)
    np.testing.assert_array_equal(batch.policy[0], np.where(batch.demonstrated, 0, 2))
    np.testing.assert_array_equal(batch.recurrent_state[0, :, 0], ~batch.demonstrated)
    assert batch.ids.shape == batch.importance_weight.shape == (64,)


def test_a_loaded_state_draws_the_same():
    first, second = demonstrations(), demonstrations(seed=5)
    first.sample(8)
    second.load_state_dict(first.state_dict())
    one, two = first.sample(8), second.sample(8)
    np.testing.assert_array_equal(one.observation, two.observation)
    np.testing.assert_array_equal(one.action_tm1, two.action_tm1)


def test_previous_actions_are_hidden():
    batch = demonstrations().sample(400)
    shown = np.bincount(batch.action_tm1.ravel(), minlength=7)
    assert np.abs(shown / shown.sum() - 1 / 7).max() < 0.02
    assert (batch.action[:-1] != batch.action_tm1[1:-1]).any()
