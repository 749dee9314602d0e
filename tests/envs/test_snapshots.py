import numpy as np
import pytest

from ngu_envs import WorkerDiedError, make

SOME = np.array([True, False, True])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MontezumaRevenge", {"num_workers": 2}),
        ("Breakout", {"num_workers": 1, "frame_stack": 4}),
        ("deep-sea", {}),
        ("CartPole-v1", {}),
        ("Acrobot-v1", {}),
    ],
)
def test_the_same_steps_follow(name, options):
    envs = make(name, 3, 0, **options)
    assert envs.repeatable
    envs.reset()
    generator = np.random.default_rng(0)
    actions = generator.integers(envs.single_action_space.n, size=(50, 3))
    for action in actions[:7]:
        envs.step(action)
    snapshots = envs.snapshots(SOME)
    first = [envs.step(action) for action in actions[7:]]
    observation, info = envs.restore(SOME, snapshots)
    assert observation.shape == (2, *envs.single_observation_space.shape)
    assert all(len(values) == 2 for values in info.values())
    second = [envs.step(action) for action in actions[7:]]
    ended = np.zeros(3, bool)  # what begins anew is drawn anew
    for one, two in zip(first, second, strict=True):
        going = SOME & ~ended
        for mine, theirs in zip(one[:4], two[:4], strict=True):
            np.testing.assert_array_equal(mine[going], theirs[going])
        ended |= one[2] | one[3]
    envs.close()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("MontezumaRevenge", {}),
        ("deep-sea", {}),
        ("disco-maze", {"colour_noise": False}),
        ("noisy-tv", {}),
    ],
)
def test_another_environment_goes_there(name, options):
    envs = make(name, 3, 0, **options)
    observation, info = envs.reset()
    snapshots = envs.snapshots(SOME)
    action = np.zeros(3, np.int64)
    for _ in range(3):
        envs.step(action)
    got, got_info = envs.restore(~SOME, snapshots[1:])
    np.testing.assert_array_equal(got[0], observation[2])
    for key, values in got_info.items():
        np.testing.assert_array_equal(values[0], info[key][2])
    envs.close()


def test_chance_cannot_be_repeated():
    assert not make("disco-maze", 1, 0).repeatable
    sticky = make("Breakout", 1, 0, protocol="sticky")
    assert not sticky.repeatable
    sticky.close()


def test_a_snapshot_of_something_else():
    sea = make("deep-sea", 3, 0)
    sea.reset()
    before = sea.state_dict()["arrays"]
    with pytest.raises(ValueError, match="a snapshot must have 25 bytes, got 4"):
        sea.restore(SOME, [sea.snapshots(SOME)[0], b"else"])
    for name, values in sea.state_dict()["arrays"].items():
        np.testing.assert_array_equal(values, before[name])
    envs = make("Breakout", 1, 0)
    envs.reset()
    with pytest.raises(WorkerDiedError, match="this is no snapshot of the game"):
        envs.restore(np.ones(1, bool), [b"else"])


@pytest.mark.parametrize("name", ["Breakout", "deep-sea"])
def test_a_snapshot_for_each(name):
    envs = make(name, 3, 0)
    envs.reset()
    with pytest.raises(ValueError, match="one for each of 2 environments, got 3"):
        envs.restore(SOME, envs.snapshots(np.ones(3, bool)))
    envs.step(np.zeros(3, np.int64))  # nothing is owed
    envs.close()
