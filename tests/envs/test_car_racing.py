import warnings

import gymnasium
import numpy as np
import pytest

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
