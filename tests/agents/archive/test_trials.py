import copy

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from ngu_agents.archive.agent import ArchiveAgent
from ngu_agents.archive.config import ArchiveConfig
from ngu_agents.archive.returning import ReturningEnvs
from ngu_agents.archive.trials import Trials, controlled
from ngu_agents.loop import Loop
from ngu_envs import make
from ngu_envs.vectorized import VectorizedEnv

SIZE = 40


class Field(VectorizedEnv):
    """A bright agent, a brighter stranger that goes its own way, and noise in the first row.

    Each action goes a step to another side; in the last ten columns the agent falls and cannot do
    anything about it. On the ground there it dies.
    """

    def __init__(self, num_envs, seed=0):
        space = Box(0, 255, (1, SIZE, SIZE), np.uint8)
        super().__init__(num_envs, seed, space, Discrete(4), None, max_steps=10_000)
        self.place = np.zeros((num_envs, 2), np.int64)
        self._time = np.zeros(num_envs, np.int64)

    @property
    def repeatable(self):
        return True

    def _arrays(self):
        return {**super()._arrays(), "place": self.place, "time": self._time}

    def _begin(self, where):
        self.place[where] = 20, 10
        self._time[where] = 0

    def _advance(self, actions, where):
        sides = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]])
        falling = self.place[:, 1] >= 30
        step = np.where(falling[:, None], [2, 0], sides[actions])
        ahead = np.clip(self.place + step, 2, SIZE - 1)
        self.place[where] = ahead[where]
        self._time += where
        died = where & falling & (self.place[:, 0] == SIZE - 1)
        return np.zeros(len(where), np.float32), died

    def _observe(self):
        pictures = np.zeros((self.num_envs, 1, SIZE, SIZE), np.uint8)
        rows = np.arange(self.num_envs)
        pictures[rows, 0, 1, self._time % SIZE] = 255
        pictures[:, 0, 0] = (self._time[:, None] * (7 + np.arange(SIZE))) % 256
        pictures[rows, 0, self.place[:, 0], self.place[:, 1]] = 100
        return pictures


class Street(Field):
    """Screens without an end to the left and to the right, alike but for where a hut is."""

    def __init__(self, num_envs, seed=0):
        super().__init__(num_envs, seed)
        self.screen = np.zeros(num_envs, np.int64)

    def _arrays(self):
        return {**super()._arrays(), "screen": self.screen}

    def _begin(self, where):
        super()._begin(where)
        self.screen[where] = 0

    def _advance(self, actions, where):
        sides = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]])
        ahead = self.place + sides[actions]
        self.screen += np.where(where, ahead[:, 1] // SIZE, 0)
        ahead = np.stack((np.clip(ahead[:, 0], 2, SIZE - 1), ahead[:, 1] % SIZE), axis=1)
        self.place[where] = ahead[where]
        self._time += where
        return np.zeros(len(where), np.float32), np.zeros(len(where), bool)

    def _observe(self):
        pictures = super()._observe()
        for picture, screen in zip(pictures[:, 0], self.screen.tolist(), strict=True):
            left = screen * 11 % (SIZE - 8)
            picture[2:8, left : left + 8] += 50
        return pictures


class Stream(Street):
    """Carries to the right, in one of four rows; every other screen is darker."""

    def _advance(self, actions, where):
        self.place[where, 0] = 20 + actions[where]
        return super()._advance(np.zeros_like(actions), where)

    def _observe(self):
        pictures = super()._observe()
        pictures[self.screen % 2 == 0, 0, 2:] += 50
        return pictures


class Wages(Street):
    """Pays every few steps."""

    def _advance(self, actions, where):
        _, died = super()._advance(actions, where)
        return (where & (self._time % 7 == 0)).astype(np.float32), died


class Streets(Street):
    """Two of them, one behind the other: with a door on the first screen."""

    def __init__(self, num_envs, seed=0):
        super().__init__(num_envs, seed)
        self.behind = np.zeros(num_envs, dtype=bool)

    def _arrays(self):
        return {**super()._arrays(), "behind": self.behind}

    def _begin(self, where):
        super()._begin(where)
        self.behind[where] = False

    def _advance(self, actions, where):
        came = super()._advance(actions, where)
        row, column = self.place.T
        through = where & (self.screen == 0) & (abs(row - 20) == 1) & (abs(column - 20) < 16)
        self.behind ^= through
        self.place[through, 0] = 20
        return came

    def _observe(self):
        pictures = super()._observe()
        pictures[self.behind, 0, SIZE // 2 :] += 50
        return pictures


def explored(num_envs=4, steps=600, seed=0, world=Field, **config):
    config = ArchiveConfig(cells="controlled", explore_steps=30, **config)
    field = world(num_envs)
    envs = ReturningEnvs(field, config=config, seed=seed)
    agent = ArchiveAgent(
        envs.single_action_space, num_envs, repeat_probability=config.repeat_probability, seed=seed
    )
    loop = Loop(agent, envs)
    loop.begin()
    return field, envs, loop, [progress for progress, _ in zip(loop, range(steps), strict=False)]


def areas_of(name):
    """Row and column of the area in which a cell's name has its agent."""
    return np.frombuffer(name[-6:-2], np.int16)


def test_the_agent_is_where_the_pictures_differ():
    one, other = np.zeros((2, 4, 20, 20), np.uint8)
    other[1, 3, 5:8] = 1
    other[2] = 1
    one[3, 9, 18] = one[3, 11, 19] = 1
    one[3, 10, 19] = 2
    places, seen = controlled(one, other)
    assert seen.tolist() == [False, True, False, True]
    expected = [[0.5, 0.5], [3.5 / 20, 6.5 / 20], [0.5, 0.5], [10.5 / 20, 19.5 / 20]]
    np.testing.assert_allclose(places, expected, rtol=1e-6)


def test_what_differs_all_over_the_picture_is_not_the_agent():
    one, other = np.zeros((2, 1, 20, 20), np.uint8)
    one[0, 3, 2:6] = other[0, 15, 12:16] = 1
    places, seen = controlled(one, other)
    assert not seen.any()
    np.testing.assert_array_equal(places, [[0.5, 0.5]])


def test_it_is_seen_among_what_moves_by_itself():
    field = Field(3)
    field.reset(seed=0)
    trials = Trials(field, every=1, seed=0)
    everywhere, lives = np.ones(3, bool), np.zeros(3, np.int64)
    for _ in range(50):
        before = field.place.copy()
        actions = np.random.default_rng(0).integers(4, size=3)
        trial = trials(actions, everywhere, lives)
        np.testing.assert_array_equal(field.place, before)
        assert trial.lived.all()
        observation, *_ = field.step(actions)
        places, seen = trials.compare(trial, observation, everywhere)
        falling = before[:, 1] >= 30
        np.testing.assert_array_equal(seen, ~falling)
        assert (abs(places * SIZE - 0.5 - before)[seen] <= 1).all()


def test_another_action_is_tried_every_few_steps_and_counts_as_a_step():
    *_, seen = explored(steps=200, trial_steps=3)
    tried = np.array([progress.info["tried"] for progress in seen])
    stepped = np.array([progress.stepped for progress in seen])
    due = np.arange(1, len(seen) + 1) % 3 == 0
    np.testing.assert_array_equal(tried, due[:, None] & stepped)
    assert seen[-1].steps == tried.sum() + stepped.sum()


def test_cells_hold_the_states_that_the_agent_is_seen_in():
    config = {"cell_width": 1, "cell_height": 1, "cell_levels": 2, "place_areas": 10}
    _, envs, _, _ = explored(num_envs=8, steps=1500, **config)
    everywhere = np.ones(1, bool)
    other = Field(1)
    other.reset()
    cells = set()
    for cell in range(1, len(envs.archive)):
        other.restore(everywhere, [envs.archive.snapshots[cell]])
        (row, column), (name_row, name_column) = other.place[0], areas_of(envs.archive._names[cell])
        # The pixels that differ are those before it and beside it.
        assert abs(row / 4 - 0.5 - name_row) <= 0.75
        assert abs(column / 4 - 0.5 - name_column) <= 0.75
        assert column < 30
        cells.add((name_row, name_column))
    assert len(cells) == len(envs.archive) - 1
    assert len(cells) >= 60  # of 80 areas
    assert not any(areas_of(name)[1] >= 8 for name in envs.archive._names)


def test_no_exploration_ends_before_a_state_with_what_it_gained_has_joined():
    _, envs, loop, _ = explored(num_envs=1, steps=0, world=Wages)
    archive, ends = envs.archive, 0
    for _, progress in zip(range(3000), loop, strict=False):
        if progress.step.truncated[0]:
            assert archive.score.max() == archive.highest
            ends += 1
    assert ends > 30


def test_screens_that_look_alike_are_told_apart():
    config = {"cell_width": 1, "cell_height": 1, "cell_levels": 2, "place_areas": 4}
    _, envs, _, _ = explored(num_envs=8, steps=1500, world=Street, **config)
    other = Street(1)
    other.reset()
    found = envs.archive.embeddings(np.arange(len(envs.archive)))
    screens = set()
    for cell, (_, column, scene) in enumerate(found):
        other.restore(np.ones(1, bool), [envs.archive.snapshots[cell]])
        true = other.screen[0] + (other.place[0, 1] + 0.5) / SIZE
        # The pixels that differ are one beside it.
        assert abs(column - true) <= 1.5 / SIZE
        assert abs(areas_of(envs.archive._names[cell])[1] - 4 * true) <= 1 + 4 * 1.5 / SIZE
        assert scene == 0
        screens.add(int(other.screen[0]))
    assert len(screens) >= 3


def test_what_lies_behind_a_door_is_another_place():
    config = {"cell_width": 1, "cell_height": 1, "cell_levels": 2, "place_areas": 4}
    _, envs, _, _ = explored(num_envs=8, steps=1500, seed=2, world=Streets, **config)
    other = Streets(1)
    other.reset()
    streets = {}
    for cell, (_, column, scene) in enumerate(
        envs.archive.embeddings(np.arange(len(envs.archive)))
    ):
        other.restore(np.ones(1, bool), [envs.archive.snapshots[cell]])
        if other.screen[0]:
            assert np.floor(column) == other.screen[0]
            streets.setdefault((int(column // 1), int(scene)), set()).add(bool(other.behind[0]))
    assert all(len(street) == 1 for street in streets.values())
    assert {street for found in streets.values() for street in found} == {False, True}


def test_who_has_come_to_another_picture_is_seen_there():
    stream, envs, loop, _ = explored(num_envs=8, steps=1, world=Stream, trial_steps=4)
    unseen, screens = [], set()
    for _ in zip(loop, range(300), strict=False):
        unseen.append(envs._whereabouts._bearings.state_dict()["unseen"].max())
        screens.update(stream.screen.tolist())
    assert len(screens) >= 3
    assert max(unseen) <= 4


def test_where_an_episode_begins_is_found_out_though_nothing_happens_at_once():
    street = Street(6)
    street.reset(seed=0)
    before, advance = street.place.copy(), street._advance

    def asleep(actions, where):
        street._time += where & (street._time < 4)
        return advance(actions, where & (street._time >= 4))

    street._advance = asleep
    places = Trials(street, every=4, seed=0).beginnings()
    np.testing.assert_array_equal(street.place, before)
    assert (abs(places * SIZE - 0.5 - before) <= 1).all()


def test_going_on_from_a_saved_state_is_going_on():
    _, envs, loop, _ = explored(steps=150, trial_steps=4)
    state = copy.deepcopy((envs.state_dict(), loop.agent.save(None), loop.state_dict()))
    rest = [progress for progress, _ in zip(loop, range(100), strict=False)]
    _, other_envs, other, _ = explored(steps=10, trial_steps=4, seed=9)
    other_envs.load_state_dict(state[0])
    assert other.agent.load(None, state[1])
    other.load_state_dict(state[2])
    for progress, mine in zip(other, rest, strict=False):
        assert progress.steps == mine.steps
        np.testing.assert_array_equal(progress.step.observation, mine.step.observation)
        np.testing.assert_array_equal(progress.info["tried"], mine.info["tried"])


def test_a_trial_that_cost_a_life_shows_nothing():
    field = Field(1)
    field.reset(seed=0)
    field.place[:] = SIZE - 2, 35
    trials = Trials(field, every=1, seed=0)
    trial = trials(np.array([1]), np.ones(1, bool), np.zeros(1))
    assert not trial.lived.any()
    np.testing.assert_array_equal(field.place, [[SIZE - 2, 35]])


def test_grids_are_not_tried():
    config = ArchiveConfig(cells="controlled")
    envs = ReturningEnvs(make("deep-sea", 2, 0), config=config, seed=0)
    assert envs._whereabouts is None


@pytest.mark.parametrize("setting", ["trial_steps", "place_areas"])
def test_settings_out_of_bounds(setting):
    with pytest.raises(ValueError, match=f"{setting} must"):
        ArchiveConfig(**{setting: 0})


def test_a_single_action():
    field = Field(1)
    field.single_action_space = Discrete(1)
    with pytest.raises(ValueError, match=r"of 2 actions or more, got Discrete\(1\)"):
        Trials(field, every=1, seed=0)


@pytest.mark.parametrize(("probability", "longer"), [(0.0, False), (1.0, True)])
def test_steps_along_known_ways_come_before_those_of_an_exploration(probability, longer):
    _, _, loop, _ = explored(world=Street, follow_probability=probability, steps=300)
    lengths, since = [], np.zeros(4, int)
    for _, progress in zip(range(600), loop, strict=False):
        since += 1
        lengths += since[progress.step.truncated].tolist()
        since[progress.step.truncated] = 0
    assert (max(lengths) > 31) == longer
