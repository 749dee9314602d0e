import gymnasium as gym
import numpy as np
import pytest

from ngu_agents.archive.archive import Archive
from ngu_agents.archive.clock import Reached
from ngu_agents.archive.latent import LatentCells, _cover, name_of
from ngu_agents.archive.trajectories import NO_PARENT

SPACES = (gym.spaces.Box(0, 1, (1, 6, 6), np.uint8), gym.spaces.Discrete(4, start=2))


def walks(num_envs, steps, seed=0):
    """A point that four actions move over a 6 x 6 grid, beside one that jumps as it likes."""
    generator = np.random.default_rng(seed)
    moves = np.array([[-1, 0], [1, 0], [0, -1], [0, 1]])
    place = generator.integers(6, size=(num_envs, 2))
    pictures, actions = [], []
    for _ in range(steps + 1):
        picture = np.zeros((num_envs, 1, 6, 6), np.uint8)
        picture[np.arange(num_envs), 0, place[:, 0], place[:, 1]] = 1
        pictures.append(picture)
        action = generator.integers(4, size=num_envs)
        actions.append(action + 2)
        place = np.clip(place + moves[action], 0, 5)
    return pictures, actions


def cells_after(steps, *, seed=0, growth=5.0, regroup_steps=10**9):
    cells = LatentCells(*SPACES, growth=growth, regroup_steps=regroup_steps, seed=seed)
    go_on(cells, 0, steps)
    return cells


def go_on(cells, first, last):
    everywhere = np.ones(8, bool)
    pictures, actions = walks(8, last)
    names = []
    for step in range(first, last):
        cells.observe(pictures[step], actions[step], pictures[step + 1], everywhere)
        names.append(cells(pictures[step + 1], everywhere).names)
        if cells.regrouping_due:
            cells.regroup()
    return names


def test_all_is_one_cell_until_distances_are_known():
    cells = cells_after(127)
    assert cells._squared_radius is None
    assert cells._centres.ntotal == 1
    go_on(cells, 127, 300)
    assert cells._squared_radius is not None
    assert 1 < cells._centres.ntotal <= 36


def test_a_state_has_the_same_name_every_time():
    cells = cells_after(400)
    pictures, _ = walks(8, 30, seed=5)
    everywhere = np.ones(8, bool)
    first = [cells(picture, everywhere).names for picture in pictures]
    assert first == [cells(picture, everywhere).names for picture in pictures]
    assert len({name for names in first for name in names}) > 5


def test_only_what_is_asked_for_is_named():
    cells = cells_after(400)
    where = np.arange(8) < 2
    names = cells(walks(8, 1)[0][0], where).names
    assert [bool(name) for name in names] == where.tolist()
    before = cells._centres.ntotal
    assert cells(walks(8, 1)[0][0], np.zeros(8, bool)).names == [b""] * 8
    assert cells._centres.ntotal == before


@pytest.mark.parametrize(("growth", "rises"), [(0.01, True), (1000.0, False)])
def test_the_radius_follows_the_number_of_cells(growth, rises):
    cells = cells_after(620, growth=growth)  # the first adjustment comes after 5,000 steps
    before = cells._squared_radius
    go_on(cells, 620, 630)
    assert (cells._squared_radius > before) == rises


def test_a_cover_by_hand():
    points = np.zeros((5, 32), np.float32)
    points[:, 0] = [0.0, 1.0, 3.0, 4.2, 1.9]
    groups, firsts = _cover(points, 2.25)  # 1.5 apart
    assert firsts.tolist() == [0, 2]
    assert groups.tolist() == [0, 0, 1, 1, 1]


def test_grouping_anew_leaves_as_many_as_the_growth_asks_for():
    cells = cells_after(600, growth=2.5)
    assert cells._centres.ntotal > 14
    cells.regroup()
    assert 10 <= cells._centres.ntotal <= 14  # 2.5 for each of 4.8 thousand steps


def test_grouping_anew_keeps_apart_what_is_far():
    cells = cells_after(600)
    before = cells._centres.ntotal
    pictures = list(cells._pictures)
    groups, names, embeddings = cells.regroup()
    assert names == [name_of(centre) for centre in range(len(embeddings))]
    assert groups.shape == (before,)
    assert set(groups.tolist()) == set(range(cells._centres.ntotal))
    assert len(cells._pictures) == cells._centres.ntotal <= before
    # Each new cell keeps the picture of the first old one in it, and names it.
    firsts = [pictures[groups.tolist().index(group)] for group in range(cells._centres.ntotal)]
    assert firsts == cells._pictures


def test_grouping_comes_after_twice_as_many_steps_each_time():
    cells = LatentCells(*SPACES, growth=5.0, regroup_steps=1000, seed=0)
    everywhere = np.ones(8, bool)
    pictures, actions = walks(8, 600)
    due = []
    for step in range(600):
        cells.observe(pictures[step], actions[step], pictures[step + 1], everywhere)
        cells(pictures[step + 1], everywhere)
        if cells.regrouping_due:
            due.append(8 * (step + 1))
            cells.regroup()
    assert due == [1024, 2000, 4000]  # at 1,000 the distances were not known yet


@pytest.mark.parametrize("at", [100, 300])
def test_loaded_it_goes_on_with_the_same_names(at):
    cells = cells_after(at, regroup_steps=1500)
    other = LatentCells(*SPACES, growth=5.0, regroup_steps=7, seed=3)
    other.load_state_dict(cells.state_dict())
    assert go_on(other, at, 500) == go_on(cells, at, 500)
    assert other._squared_radius == cells._squared_radius


def test_of_cells_that_fall_together_the_best_state_stays():
    archive = Archive(memory=10**6)
    root = archive.trajectories.add(NO_PARENT, b"")
    reached = [(1.0, 5), (3.0, 9), (3.0, 8), (0.0, 1)]
    for cell, (score, length) in enumerate(reached):
        node = archive.trajectories.add(root, bytes([cell]))
        place = np.array([cell], np.float32)
        archive.put(name_of(cell), bytes([cell]), Reached(score, length, node), place)
        times = cell + 1
        archive.visit(np.full(times, cell), np.full(times, score), np.full(times, length))
    cells = archive.regroup(
        np.array([0, 0, 0, 1]), [name_of(0), name_of(1)], np.eye(2, 1, dtype=np.float32)
    )
    assert cells.tolist() == [0, 0, 0, 1]
    assert len(archive) == 2
    assert archive[0][:2] == (3.0, 8)
    assert archive.snapshots[0] == bytes([2])
    assert archive.trajectories.actions_to(archive[0].node) == bytes([2])
    assert archive[1][:2] == (0.0, 1)
    assert archive.visits.tolist() == [1 + 2 + 3, 4]
    drawn = np.bincount(archive.choose(3000, np.random.default_rng(0)))
    # By visits, and in one draw of four the one with the higher score.
    share = 6**-0.5 / (6**-0.5 + 0.5)
    assert abs(drawn[0] / 3000 - (0.75 * share + 0.25)) < 0.02
