from typing import Any

import numpy as np
import pytest
import torch

from ngu_agents.archive.attempt import Attempt, Piece
from ngu_agents.archive.cells import DownscaledCells
from ngu_agents.archive.demonstrated import joined
from ngu_agents.archive.guide import Guide, Memory
from ngu_agents.archive.lineages import Segment
from ngu_agents.archive.returning import Trajectory
from ngu_agents.archive.splitting import Splitting, SplittingConfig
from ngu_agents.archive.visits import Visits
from ngu_agents.archive.ways import Beginning, KnownWays, played
from ngu_agents.archive.ways import shortest as shortest_way
from ngu_envs import make
from tests.agents.archive.slippery import CONFIG, DOOR, SIDE, Slippery, cells_of, chains, way


def split(seed: int = 0, config: SplittingConfig = CONFIG, **changes: Any) -> Splitting:
    envs = Slippery(6)
    splitting = Splitting(envs, cells_of(envs), way()._replace(**changes), config=config, seed=seed)
    taken = 0
    while not splitting.over:
        taken += splitting.step()
    assert taken % 6 == 0
    return splitting


def test_a_way_that_chance_breaks_is_demonstrated_many_times():
    known = way()
    assert known.score == 11
    assert len(known.actions) == 2 * (SIDE - 1)
    envs = Slippery(300)
    envs.reset()
    score = np.zeros(300)
    over = np.zeros(300, bool)
    for action in known.actions:
        _, reward, terminated, _, _ = envs.step(np.full(300, action))
        score += np.where(over, 0, reward)
        over |= terminated
    assert (score == 11).mean() < 0.1  # as it is, it fails

    shown = split().demonstrated()
    ways = chains(shown)
    assert len(ways) >= CONFIG.states
    assert len({shown.action[chain].tobytes() for chain in ways}) > 1
    for chain in ways:
        assert shown.reward[chain].sum() == 11
        places = np.array([np.argwhere(shown.frames[step, 0])[0] for step in chain])
        assert places[0].tolist() == [0, 0]
        assert np.abs(np.diff(places, axis=0)).sum(1).max() == 1  # one step after the other
        assert np.argwhere(shown.frames[chain[-1] + 1, 0])[0].tolist() == list(DOOR)
    steps = shown.action >= 0
    np.testing.assert_array_equal(shown.previous[~steps], np.flatnonzero(~steps) - 1)
    assert shown.action[steps].max() < 4


class Knowing(Guide):
    """Goes down the stairs, wherever it is; notes what it is asked to keep in mind."""

    def __init__(self) -> None:
        self.kept: list[Memory] = []
        self.recalled: list[Memory | None] = []

    def act(self, observation: np.ndarray) -> np.ndarray:
        row, column = np.argwhere(observation[:, 0])[:, 1:].T
        return np.where(row > column, 0, 1)

    def observe(self, actions: np.ndarray, reward: np.ndarray) -> None:
        pass

    def memory(self, env: int) -> Memory:
        self.kept.append(Memory(torch.zeros(2, 1), 0, float(len(self.kept))))
        return self.kept[-1]

    def recall(self, env: int, memory: Memory | None) -> None:
        self.recalled.append(memory)


def test_a_policy_that_knows_the_way_takes_part():
    guide, envs = Knowing(), Slippery(6)
    guided = Splitting(envs, cells_of(envs), way(), config=CONFIG, seed=0, guide=guide)
    taken = 0
    while not guided.over:
        taken += guided.step()
    alone = Splitting(envs, cells_of(envs), way(), config=CONFIG, seed=0)
    while not alone.over:
        taken -= alone.step()
    assert taken < 0  # fewer steps than without it
    assert len(guide.kept) == sum(map(len, guided._filled[1:]))
    assert {memory.reward for memory in guide.recalled if memory} <= set(range(len(guide.kept)))
    assert None in guide.recalled
    for chain in chains(guided.demonstrated()):
        assert guided.demonstrated().reward[chain].sum() == 11


def test_ways_begin_in_further_states_as_well():
    envs = Slippery(6)
    envs.reset()
    for _ in range(2):
        envs.step(np.ones(6, np.int64))  # down, not to the right
    further = [Beginning(one, 0.0) for one in envs.snapshots(np.ones(6, dtype=bool))]
    many = SplittingConfig(states=24, spacing=4)
    splitting = Splitting(envs, cells_of(envs), way(), config=many, seed=0, beginnings=further)
    while not splitting.over:
        splitting.step()
    shown = splitting.demonstrated()
    first = {tuple(np.argwhere(shown.frames[chain[0], 0])[0].tolist()) for chain in chains(shown)}
    assert (2, 0) in first
    assert (0, 0) in first


class Stuck(Knowing):
    """Goes down to the second stair, and up and down from there."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        row, column = np.argwhere(observation[:, 0])[:, 1:].T
        return np.where(row > column, 0, np.where(row < 2, 1, 3))


def test_states_that_a_policy_came_to_join_the_levels_that_it_reached():
    guide, envs = Stuck(), Slippery(6)
    cells = cells_of(envs)
    visits = Visits(envs, cells, guide)
    for _ in range(40):
        visits.step()
    lives = visits.lives
    many = SplittingConfig(states=48, spacing=4)
    splitting = Splitting(envs, cells, way(), config=many, seed=0, guide=guide, lives=lives)
    while not splitting.over:
        splitting.step()
    *before, last = splitting._filled
    joined_later = [[one for one in level if not one.piece.actions] for level in before]
    assert joined_later[0]
    assert joined_later[1]
    assert not joined_later[-1]  # no further than it got
    assert all(segment.piece.actions for segment in last)
    came = {id(visit.snapshot): (life, visit.place) for life in lives for visit in life.visits}
    for segment in joined_later[1]:
        life, place = came[id(segment.snapshot)]
        left = [splitting._left(name, 0.0) for name in life.names[: place + 1]]
        assert min(left) <= splitting._left_at[0]
        assert len(segment.piece.frames) == 1
    shown = splitting.demonstrated()
    unseen = np.flatnonzero((shown.previous < 0) & (shown.action < 0))
    assert len(unseen)
    for number in unseen:  # a frame before the state that the policy came to
        for follower in np.flatnonzero(shown.previous == number):
            assert shown.action[follower] >= 0
            places = [np.argwhere(shown.frames[step, 0])[0] for step in (number, follower)]
            assert np.abs(np.diff(places, axis=0)).sum() <= 1
    # All that is demonstrated led on.
    followed = set(shown.previous[shown.action >= 0].tolist())
    steps_end = np.flatnonzero((shown.action[:-1] >= 0) & (shown.action[1:] < 0))
    for number in {*unseen.tolist(), *steps_end.tolist()}:
        assert shown.terminated[number] or number in followed
    ways = chains(shown)
    begun = [chain for chain in ways if shown.action[chain[0]] >= 0]
    assert 0 < len(begun) < len(ways)
    fewest = min(map(len, begun))
    assert fewest >= 2 * (SIDE - 1) > min(map(len, ways))
    for whole in (splitting.shortest(), shortest_way(shown, cells, 11.0)):
        assert whole is not None
        assert len(whole.actions) == fewest
        assert whole.names[0] == way().names[0]


def test_each_state_has_its_turns_before_those_that_lead_on_have_more():
    splitting = split()
    leads, fails, last = (Segment(0, Piece([]), 0.0, b"", b"") for _ in range(3))
    origins = [leads, fails, last]
    leads.wins = leads.tries = 1
    drawn = [splitting._drawn(origins) for _ in range(4)]
    assert sorted(drawn[:2]) == [1, 2]
    assert sorted(drawn[2:]) == [1, 2]
    assert [origin.tries for origin in origins] == [1, 2, 2]
    for _ in range(100):
        splitting._drawn(origins)
        leads.wins = leads.tries  # it always leads on
    assert leads.tries > 2 * max(fails.tries, last.tries) > 6


def test_an_attempt_waits_and_then_does_what_the_way_does_where_nothing_is_known():
    attempt = Attempt(0, 0.0, np.zeros(1), guided=False, way=bytes([5, 6, 7]), waiting=(2, 3))
    generator, known = np.random.default_rng(1), KnownWays()
    taken = [attempt.act(b"new", known, range(2, 9), generator) for _ in range(6)]
    assert taken == [2, 2, 2, 5, 6, 7]
    known.add([b"known"], [0.0], bytes([8]), 4, generator)
    attempt = Attempt(0, 0.0, np.zeros(1), guided=False, way=bytes([5] * 100), waiting=(2, 0))
    taken = [attempt.act(b"known", known, range(2, 9), generator) for _ in range(60)]
    assert {5, 8} <= set(taken)
    assert taken.count(8) > 5


def test_the_same_seed_splits_the_same():
    one, two, other = (split(seed).demonstrated() for seed in (3, 3, 4))
    for mine, same in zip(one, two, strict=True):
        np.testing.assert_array_equal(mine, same)
    assert one.action.tobytes() != other.action.tobytes()


def known_names(splitting: Splitting) -> list[list[bytes]]:
    """The cells that were gone through, as they were named on the way."""
    return [one.piece.names for segments in splitting._filled for one in segments]


def test_the_shortest_way_is_a_way():
    splitting = split()
    shortest = splitting.shortest()
    assert shortest is not None
    assert shortest.score == 11
    assert len(shortest.names) == len(shortest.scores) == len(shortest.actions) >= 2 * (SIDE - 1)
    assert shortest.scores[0] == 0
    shown = splitting.demonstrated()
    assert len(shortest.actions) == min(map(len, chains(shown)))
    cells = cells_of(Slippery(1))
    same = shortest_way(shown, cells, 11.0)
    assert same is not None
    assert len(same.actions) == len(shortest.actions)
    assert (same.score, same.scores[0]) == (11, 0)
    assert shortest_way(shown, cells, 12.0) is None
    moved = shortest_way(shown, cells, 11.0, first_action=5)
    assert moved is not None
    assert moved.actions == bytes(action + 5 for action in same.actions)
    assert same.names[0] == way().names[0]
    assert set(same.names) <= {name for names in known_names(splitting) for name in names}
    with pytest.raises(RuntimeError, match="nothing left to reach"):
        splitting.step()


def test_a_score_that_is_out_of_reach_ends_in_dead_ends():
    splitting = split(config=SplittingConfig(states=2, spacing=2), score=12.0)
    assert splitting.given_up
    assert splitting.dead_ends > 20
    assert splitting.level < splitting.levels
    assert splitting.shortest() is None
    shown = splitting.demonstrated()
    assert len(shown.action)  # what was reached, but for the last levels
    assert shown.frames.shape == (len(shown.action), 1, SIDE, SIDE)
    assert splitting._misleading  # cells of states that nothing led on from


def test_a_misleading_cell_tells_the_most_steps():
    splitting = split()
    known = splitting._known
    fewest = {name: known.left(name, 11.0) for name in known._left}
    name = next(name for name in fewest if known.left(name, 11.0, most=True) > fewest[name])
    assert splitting._left(name, 11.0) == fewest[name]
    splitting._misleading.add(name)
    assert splitting._left(name, 11.0) == known.left(name, 11.0, most=True)


def test_a_dead_end_is_left_behind():
    """In a deep sea one step to the left cannot be made up for, and here it cannot be seen."""
    size = 12
    envs = make("deep-sea", 4, 0, size=size)
    envs.reset()
    root = envs.snapshots(np.array([True, False, False, False]))[0]
    cells = DownscaledCells(envs.single_observation_space, width=1, height=1, levels=2)
    right = bytes(int(envs.unwrapped.right_action[i, i]) for i in range(size))
    one = make("deep-sea", 1, 0, size=size)
    known = played(one, cells, Trajectory(root, right, 0.99))
    assert known.score == pytest.approx(0.99)
    splitting = Splitting(envs, cells, known, config=SplittingConfig(states=8, spacing=3), seed=0)
    while not splitting.over:
        splitting.step()
    shown = splitting.demonstrated()
    for chain in chains(shown):
        assert shown.reward[chain].sum() == pytest.approx(0.99)
        assert bytes(shown.action[chain].astype(np.uint8)) == right


def test_a_trajectory_of_something_else_is_noticed():
    envs = Slippery(1, chance=0.0)
    envs.reset()
    root = envs.snapshots(np.array([True]))[0]
    with pytest.raises(ValueError, match="its score was 5, played once more it is 1"):
        played(envs, cells_of(envs), Trajectory(root, bytes([1, 0] * (SIDE // 2)), 5.0))


def test_known_ways():
    known, generator = KnownWays(), np.random.default_rng(0)
    assert known.left(b"a", 5.0) == np.inf
    assert known.draw(b"a", 5.0, generator) is None
    known.add([b"a", b"b", b"a"], [0.0, 0.0, 2.0], b"xyz", 10, generator)
    assert known.left(b"b", 0.0) == 12
    assert known.left(b"a", 0.0) == 13
    assert known.left(b"a", 1.0) == 13
    assert known.left(b"a", 2.0) == 11
    assert known.left(b"a", -1.0) == np.inf
    assert known.left(b"a", 1.0, most=True) == 13
    assert known.left(b"a", -1.0, most=True) == np.inf
    known.add([b"c", b"b"], [0.0, 0.0], b"vw", 90, generator)
    assert known.left(b"b", 0.0) == 12
    assert known.left(b"b", 0.0, most=True) == 91
    assert known.draw(b"a", 3.0, generator) == (b"xyz", 2)
    assert known.draw(b"a", 1.0, generator) == (b"xyz", 0)


def test_parts_are_joined():
    one = split(0).demonstrated()
    whole = joined([one, one])
    count = len(one.action)
    np.testing.assert_array_equal(whole.previous[:count], one.previous)
    later = whole.previous[count:]
    np.testing.assert_array_equal(later, np.where(one.previous < 0, -1, one.previous + count))
    np.testing.assert_array_equal(whole.frames[count:], one.frames)
