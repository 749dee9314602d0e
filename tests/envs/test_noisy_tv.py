import numpy as np

from ngu_envs import make

UP, DOWN, LEFT, RIGHT = range(4)


def test_noise_is_shown_in_the_far_corner_only():
    envs = make("noisy-tv", 2, 0)
    screen = envs.unwrapped.screen
    observation, _ = envs.reset()
    # Through the left doorway of the middle wall, then through the lower one, to row 9, column 9.
    path = [DOWN, RIGHT, *[DOWN] * 6, *[RIGHT] * 6, DOWN, RIGHT]
    pictures = [observation[0]]
    for action in path:
        observation, reward, terminated, truncated, _ = envs.step(np.array([action, UP]))
        assert not reward.any()
        assert not (terminated | truncated).any()
        pictures.append(observation[0])
        assert np.array_equal(observation[1], pictures[0])  # bumps at the wall, stays
    agents = [tuple(np.argwhere((p == 255).all(0) & ~screen)[0].tolist()) for p in pictures]
    assert agents[0] == (1, 1)
    assert agents[-1] == (9, 9)
    dark = [picture[:, screen] for picture in pictures[:-1]]
    assert all((pixels == dark[0]).all() for pixels in dark)
    noise = [pictures[-1][:, screen]]
    for action in (DOWN, RIGHT, DOWN):
        noise.append(envs.step(np.array([action, UP]))[0][0][:, screen])
    assert len({pixels.tobytes() for pixels in [dark[0], *noise]}) == 5
    left = envs.step(np.array([LEFT, UP]))[0][0]
    assert (left[:, screen] == dark[0]).all()


def test_coverage_of_a_walk():
    envs = make("noisy-tv", 1, 0)
    assert envs.unwrapped.free_cells == 68
    envs.reset()
    shares = [float(envs.step(np.array([a]))[4]["coverage"][0]) for a in (RIGHT, LEFT, UP, DOWN)]
    assert np.allclose(shares, np.array([2, 2, 2, 3]) / 68)


def test_time_limit_truncates():
    envs = make("noisy-tv", 1, 0, max_steps=3)
    envs.reset()
    ends = [bool(envs.step(np.array([UP]))[3][0]) for _ in range(8)]
    assert ends == [False, False, True, False, False, False, True, False]
