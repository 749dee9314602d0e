import crafter
import numpy as np
import pytest

from ngu_envs import is_restorable, make
from ngu_envs.crafter_game import CrafterGame

NOOP, DO, SLEEP = 0, 5, 6
SMALL = {"area": 16, "size": 18}


def run(envs, steps, seed=0):
    """Observations, rewards, terminations, truncations and achievements of random actions."""
    actions = np.random.default_rng(seed).integers(0, 17, (steps, envs.num_envs))
    answers = [envs.step(action) for action in actions]
    told = [np.stack([answer[i] for answer in answers]) for i in range(4)]
    return (*told, np.stack([info["achievements"] for *_, info in answers]))


@pytest.mark.parametrize("seed", [3, 8])
def test_worlds_are_those_of_the_package(seed):
    """Bit by bit, the random numbers that are drawn next included."""
    theirs = crafter.Env(area=(24, 24), seed=seed)
    ours = CrafterGame(area=24, size=64, reward=True, length=10_000, seed=seed)
    for _ in range(2):
        assert np.array_equal(theirs.reset(), ours.reset())
        for name in ("_mat_map", "_obj_map"):
            assert np.array_equal(getattr(theirs._world, name), getattr(ours._world, name))
        for action in (NOOP, DO, 1, 2, 3, 4, SLEEP, DO, 7):  # the next step draws from a set
            expected, reward, over, _ = theirs.step(action)
            picture, paid, ends, _ = ours.step(action)
            assert np.array_equal(picture, expected)
            assert (paid, ends) == (reward, over)


def test_pictures_of_the_whole_world():
    envs = make("crafter", 1, 0)
    observation, info = envs.reset()
    assert observation.shape == (1, 64, 64, 3)
    assert envs.single_action_space.n == 17
    assert info["achievements"].shape == (1, 22)
    assert envs.metadata["progress"] == "achievements"
    assert len(set(envs.metadata["achievements"])) == 22
    assert not is_restorable(envs)


def test_it_tells_the_cell_that_the_player_is_in():
    envs = make("crafter", 2, 0, **SMALL)
    _, info = envs.reset()
    ways = {1: (0, -1), 2: (0, 1), 3: (-1, 0), 4: (1, 0)}  # left, right, up, down
    moved = dict.fromkeys(ways, 0)
    for action in np.random.default_rng(0).integers(1, 5, 60).tolist():
        before = np.stack([info["row"], info["column"]], axis=1)
        _, _, terminated, truncated, info = envs.step(np.full(2, action))
        after = np.stack([info["row"], info["column"]], axis=1)
        assert not (terminated | truncated).any()
        assert after.min() >= 0
        assert after.max() < SMALL["area"]
        for step in (after - before).tolist():  # not into water, trees and stone
            assert tuple(step) in ((0, 0), ways[action])
            moved[action] += any(step)
    assert all(moved.values())


def test_which_creature_disappears_does_not_hang_on_memory_addresses():
    games = [CrafterGame(area=16, size=18, reward=True, length=10_000, seed=1) for _ in range(2)]
    chosen = []
    for game, backwards in zip(games, (False, True), strict=True):
        game.reset()
        chunk = (0, 12, 0, 12)
        cells = [(x, y) for x in range(12) for y in range(12)]
        for cell in cells:
            game._world[cell] = "sand"  # no creature belongs there
        cows = [crafter.objects.Cow(game._world, cell) for cell in cells[:20]]
        for one in list(game._world.objects):
            if one is not game._player:
                game._world.remove(one)
        for cow in cows:
            game._world.add(cow)
        game._player.pos = np.array([15, 15])
        for _ in range(40):
            game._balance_chunk(chunk, cows[::-1] if backwards else cows)
            cows = [cow for cow in cows if not cow.removed]
        chosen.append([tuple(cow.pos) for cow in cows])
    assert chosen[0] == chosen[1]
    assert 0 < len(chosen[0]) < 20


def test_each_environment_has_episodes_of_its_own_and_global_chance_is_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002  # that is what must not change
    envs, again = make("crafter", 2, 7, **SMALL), make("crafter", 2, 7, **SMALL)
    first, _ = envs.reset()
    assert not np.array_equal(first[0], first[1])
    again.reset()
    for ours, theirs in zip(run(envs, 150), run(again, 150), strict=True):
        assert np.array_equal(ours, theirs)
    second, _ = envs.reset()
    assert not np.array_equal(first, second)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002  # what must not change


def test_death_terminates_and_the_limit_truncates():
    envs = make("crafter", 2, 0, length=6, **SMALL)
    envs.reset()
    envs.unwrapped._games[0]._player.health = 0
    first, second = envs.step(np.zeros(2, int)), envs.step(np.zeros(2, int))
    assert first[2].tolist() == [True, False]
    assert not first[3].any()
    assert first[1][0] == pytest.approx(-0.9)
    assert not (second[2] | second[3]).any()
    assert second[1][0] == 0
    ends = [envs.step(np.zeros(2, int))[3].tolist() for _ in range(6)]
    # Environment 0 is two steps behind: the one that died, and the one that began anew.
    assert ends == [[False, False]] * 3 + [[False, True], [False, False], [True, False]]


def test_achievements_are_told_until_the_episode_is_over():
    envs = make("crafter", 1, 0, length=4, **SMALL)
    envs.reset()
    game = envs.unwrapped._games[0]
    game._player.inventory["sapling"] = 1
    x, y = game._player.pos
    game._world[x, y + 1] = "grass"  # where it faces
    place_plant = envs.metadata["achievements"].index("place_plant")
    _, reward, _, _, info = envs.step(np.array([10]))
    assert reward[0] == 1
    assert np.flatnonzero(info["achievements"][0]).tolist() == [place_plant]
    for _ in range(3):
        _, reward, _, truncated, info = envs.step(np.array([NOOP]))
        assert reward[0] == 0
        assert np.flatnonzero(info["achievements"][0]).tolist() == [place_plant]
    assert truncated[0]
    *_, info = envs.step(np.array([NOOP]))
    assert not info["achievements"].any()


def test_without_reward_all_else_is_the_same():
    paid, unpaid = make("crafter", 2, 5, **SMALL), make("crafter", 2, 5, reward=False, **SMALL)
    paid.reset()
    unpaid.reset()
    expected, found = run(paid, 150), run(unpaid, 150)
    assert expected[1].any()
    assert not found[1].any()
    for i in (0, 2, 3, 4):
        assert np.array_equal(expected[i], found[i])
