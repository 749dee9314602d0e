import os
import signal
import warnings

import gymnasium
import numpy as np
import pytest

from ngu.parsing import parse
from ngu_envs import make

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # as an error it ends the interpreter
    from ngu_envs.car_racing import CarRacing


@pytest.mark.parametrize("options", [{}, {"domain_randomize": True}])
def test_pictures_and_rewards_are_gymnasiums(options):
    theirs = gymnasium.make("CarRacing-v3", **options)
    ours = make("CarRacing-v3", num_envs=1, seed=3, **options)
    assert isinstance(ours.unwrapped.envs[0].unwrapped, CarRacing)
    actions = np.random.default_rng(0).uniform([-1, 0, -1], [1, 1, 0.3], (2, 8, 3)).clip(-1, 1)
    actions[..., 2] = actions[..., 2].clip(0)
    seen, _ = ours.reset()
    expected, _ = theirs.reset(seed=3)
    for track in range(2):
        np.testing.assert_array_equal(seen[0], expected)
        for step in range(80):
            action = actions[track, step // 10].astype(np.float32)
            seen, reward, *_ = ours.step(action[None])
            expected, paid, *_ = theirs.step(action)
            np.testing.assert_array_equal(seen[0], expected)
            assert reward[0] == paid
        seen, _ = ours.reset()
        expected, _ = theirs.reset()
    ours.close()
    theirs.close()


def test_an_episode_ends_when_no_new_road_comes_for_long():
    envs = make("CarRacing-v3", num_envs=1, seed=3, patience=20)
    envs.reset()
    last_paid, ended = 0, 0
    for step in range(1, 200):
        gas = 1.0 if step < 60 else 0.0  # then it brakes, and stands
        *_, reward, terminated, truncated, _ = envs.step(np.array([[0.0, gas, 1.0 - gas]]))
        last_paid = step if reward[0] > 0 else last_paid
        if truncated[0]:
            ended = step
            break
        assert not terminated[0]
    assert last_paid > 20
    assert ended == last_paid + 20
    envs.close()


def test_the_preset_asks_for_patience():
    settings, _, _ = parse(["--agent", "world-models", "--env", "CarRacing-v3"], "ngu.train")
    assert settings.options == {"patience": 100}


def test_patience_is_at_least_one_step():
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        make("CarRacing-v3", num_envs=1, seed=0, patience=0)


def test_processes_step_like_one_and_do_not_see_interrupts(monkeypatch):
    played = []
    for cores in ({0}, {0, 1}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: cores)
        envs = make("CarRacing-v3", num_envs=2, seed=5, max_episode_steps=3)
        processes = getattr(envs.unwrapped, "processes", [])
        assert len(processes) == (2 if len(cores) == 2 else 0)
        steps = [envs.reset()[0]]
        for process in processes:
            os.kill(process.pid, signal.SIGINT)
        for _ in range(6):
            steps.extend(envs.step(np.array([[0.3, 0.5, 0.0], [-0.3, 0.8, 0.0]]))[:4])
        envs.close()
        assert not any(process.is_alive() for process in processes)
        played.append(steps)
    for alone, apart in zip(*played, strict=True):
        np.testing.assert_array_equal(alone, apart)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
