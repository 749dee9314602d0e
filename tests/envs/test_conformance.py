"""What every environment made by name must do."""

import copy

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from ngu_envs import is_restorable, make

# Short episodes, so that a few steps meet terminations, truncations and resets.
CASES = {
    "disco-maze": {"size": 7},
    "deep-sea": {"size": 3},
    "noisy-tv": {"max_steps": 7},
    "MontezumaRevenge": {"max_steps": 5, "sticky_probability": 0.5, "frame_stack": 2},
    "CartPole-v1": {},
    "Acrobot-v1": {"max_episode_steps": 9},
    "MountainCar-v0": {"max_episode_steps": 7},
    "MiniGrid-Empty-Random-5x5-v0": {"max_steps": 6},
    "crafter": {"length": 11, "area": 9, "size": 18},
}
OWN = [name for name in CASES if not name.startswith("MiniGrid")]
RESTORABLE = [name for name in OWN if name != "crafter"]
NUM_ENVS = 4


def made(name, seed=3, num_envs=NUM_ENVS):
    options = dict(CASES[name])
    if name == "MontezumaRevenge":
        options["num_workers"] = 1
    return make(name, num_envs, seed, **options)


def actions_of(envs, steps, seed=0):
    n = int(envs.single_action_space.n)
    return np.random.default_rng(seed).integers(0, n, size=(steps, envs.num_envs))


def trace(envs, actions):
    """All that a run returns, as comparable bytes."""
    outputs = []
    for action in actions:
        observation, reward, terminated, truncated, info = envs.step(action)
        outputs.append(
            (
                observation.tobytes(),
                reward.tobytes(),
                terminated.tobytes(),
                truncated.tobytes(),
                sorted((key, np.asarray(value).tobytes()) for key, value in info.items()),
            )
        )
    return outputs


@pytest.fixture(params=CASES)
def envs(request):
    envs = made(request.param)
    yield envs
    envs.close()


def test_spaces_hold_what_is_returned(envs):
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert envs.num_envs == NUM_ENVS
    observation, _ = envs.reset()
    assert envs.observation_space.contains(observation)
    for action in actions_of(envs, 20):
        assert envs.action_space.contains(action)
        observation, reward, terminated, truncated, _ = envs.step(action)
        assert envs.observation_space.contains(observation)
        assert reward.shape == terminated.shape == truncated.shape == (NUM_ENVS,)
        assert terminated.dtype == truncated.dtype == bool


def test_an_ended_episode_resets_in_the_next_step(envs):
    envs.reset()
    ended = np.zeros(NUM_ENVS, bool)
    resets = 0
    for action in actions_of(envs, 60):
        _, reward, terminated, truncated, _ = envs.step(action)
        assert (reward[ended] == 0).all()
        assert not (terminated | truncated)[ended].any()
        assert not (terminated & truncated).any()
        ended = terminated | truncated
        resets += ended.sum()
    assert resets > NUM_ENVS


@pytest.mark.parametrize("name", CASES)
def test_a_reset_step_ignores_its_action(name):
    envs, other = made(name), made(name)
    envs.reset()
    other.reset()
    n = int(envs.single_action_space.n)
    ended = np.zeros(NUM_ENVS, bool)
    for action in actions_of(envs, 60):
        observation, _, terminated, truncated, _ = envs.step(action)
        changed = np.where(ended, (action + 1) % n, action)
        assert np.array_equal(observation, other.step(changed)[0])
        ended = terminated | truncated
    envs.close()
    other.close()


@pytest.mark.parametrize("name", CASES)
def test_the_same_seed_gives_the_same_run(name):
    first, second, other = made(name), made(name), made(name, seed=4)
    actions = actions_of(first, 40)
    starts = [envs.reset()[0] for envs in (first, second, other)]
    assert np.array_equal(starts[0], starts[1])
    runs = [trace(envs, actions) for envs in (first, second, other)]
    assert runs[0] == runs[1]
    if name not in ("deep-sea", "noisy-tv"):  # nothing random, or only where the agent stands
        assert runs[0] != runs[2]
    # A seed given to reset begins that run again, reset without one goes on with the generators.
    again, _ = first.reset(seed=3)
    assert np.array_equal(again, starts[0])
    assert trace(first, actions) == runs[0]
    for envs in (first, second, other):
        envs.close()


@pytest.mark.parametrize("name", RESTORABLE)
def test_a_loaded_state_goes_on_to_the_last_bit(name):
    envs, loaded = made(name), made(name, seed=99)
    assert is_restorable(envs)
    actions = actions_of(envs, 63)
    envs.reset()
    trace(envs, actions[:23])
    state = copy.deepcopy(envs.state_dict())
    rest = trace(envs, actions[23:])
    loaded.load_state_dict(state)
    assert trace(loaded, actions[23:]) == rest
    # The state is a copy: the steps since then have not changed it.
    envs.load_state_dict(state)
    assert trace(envs, actions[23:]) == rest
    envs.close()
    loaded.close()


@pytest.mark.parametrize("name", RESTORABLE)
def test_a_state_of_another_kind_is_refused(name):
    envs, fewer = made(name), made(name, num_envs=2)
    fewer.reset()
    envs.reset()
    with pytest.raises(ValueError, match="state"):
        envs.load_state_dict(fewer.state_dict())
    other = made("noisy-tv" if name == "deep-sea" else "deep-sea")
    with pytest.raises(ValueError, match="state must be that of"):
        envs.load_state_dict(other.state_dict())
    envs.close()
    fewer.close()


@pytest.mark.parametrize("name", OWN)
def test_wrong_calls_are_named(name):
    envs = made(name)
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        envs.step(np.zeros(NUM_ENVS, np.int64))
    envs.reset()
    n = int(envs.single_action_space.n)
    with pytest.raises(ValueError, match=rf"actions must have shape \({NUM_ENVS},\), got \(3,\)"):
        envs.step(np.zeros(3, np.int64))
    with pytest.raises(TypeError, match="integers, got dtype float64"):
        envs.step(np.zeros(NUM_ENVS))
    for wrong in (-1, n):
        with pytest.raises(ValueError, match=rf"\[0, {n - 1}\], got {wrong}"):
            envs.step(np.array([0, 0, wrong, 0]))
    with pytest.raises(ValueError, match="no options"):
        envs.reset(options={"reset_mask": None})
    envs.step(np.zeros(NUM_ENVS, np.int32))  # nothing was damaged
    envs.close()


@pytest.mark.parametrize("name", OWN)
def test_observations_are_the_callers_own(name):
    envs = made(name)
    observation, info = envs.reset()
    copies = observation.copy(), {key: value.copy() for key, value in info.items()}
    for action in actions_of(envs, 10):
        envs.step(action)
    assert np.array_equal(observation, copies[0])
    assert all(np.array_equal(info[key], copies[1][key]) for key in info)
    envs.close()
