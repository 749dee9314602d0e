import numpy as np
import pytest

from ngu_agents.archive import clock
from ngu_agents.archive.archive import Archive
from ngu_agents.archive.clock import Reached
from ngu_agents.archive.config import ArchiveConfig, ArchiveNGUConfig, ReturningConfig
from ngu_agents.archive.snapshots import SnapshotStore
from ngu_agents.archive.trajectories import NO_PARENT, Trajectories


@pytest.fixture(autouse=True)
def eight_levels(monkeypatch):
    monkeypatch.setattr(clock, "_LEVELS", 8)


def archive_of(*cells, power=0.0):
    archive = Archive(memory=1000, novelty_power=power)
    root = archive.trajectories.add(NO_PARENT, b"")
    for place, (name, score, length) in enumerate(cells):
        at = np.array([place, 0], np.float32)
        archive.put(name, name * 2, Reached(score, length, root), at)
    return archive


def visit(archive, *cells):
    cells = np.array(cells)
    archive.visit(cells, archive.score[cells], archive.length[cells])


def test_trajectories_lead_back_to_their_root():
    tree = Trajectories()
    roots = [tree.add(NO_PARENT, b""), tree.add(NO_PARENT, b"")]
    trunk = tree.add(roots[1], b"\x01\x02")
    left, right = tree.add(trunk, b"\x03"), tree.add(trunk, b"\x04\x05")
    tree.came_to(right, 7)
    assert tree.actions_to(left) == b"\x01\x02\x03"
    way = tree.way_to(right)
    assert way.nodes.tolist() == [roots[1], trunk, right]
    assert way.lengths.tolist() == [0, 2, 4]
    assert way.cells.tolist() == [-1, -1, 7]
    assert tree.actions_to(right) == b"\x01\x02\x04\x05"
    assert tree.way_to(roots[0]).nodes.tolist() == [roots[0]]
    assert tree.actions_to(roots[0]) == b""
    tree.regroup(np.array([0] * 7 + [3]))
    assert tree.way_to(right).cells.tolist() == [-1, -1, 3]


def test_only_what_leads_to_something_is_kept():
    tree = Trajectories()
    root = tree.add(NO_PARENT, b"")
    dropped = tree.add(root, b"\x01")
    trunk = tree.add(root, b"\x02")
    leaf = tree.add(trunk, b"\x03\x04")
    tree.came_to(trunk, 5)
    numbers = tree.keep(np.array([leaf, leaf])).tolist()
    assert len(tree) == 3
    assert numbers[dropped] == -1
    loaded = Trajectories()
    loaded.load_state_dict(tree.state_dict())
    for each in (tree, loaded):
        way = each.way_to(numbers[leaf])
        assert way.nodes.tolist() == [numbers[root], numbers[trunk], numbers[leaf]]
        assert way.cells.tolist() == [-1, 5, -1]
        assert each.actions_to(numbers[leaf]) == b"\x02\x03\x04"


def test_score_first_then_steps():
    archive = archive_of((b"a", 100.0, 50))
    assert archive.improves(b"new", 0.0, 900)
    assert archive.improves(b"a", 101.0, 900)
    assert archive.improves(b"a", 100.0, 49)
    assert not archive.improves(b"a", 100.0, 50)
    assert not archive.improves(b"a", 99.0, 1)


def in_time(*cells, power=0.0):
    archive = archive_of(*cells, power=power)
    assert archive.time_ran_out(800)  # slices of 100 steps
    assert not archive.time_ran_out(1)
    visit(archive, *range(len(cells)))
    return archive


def put(archive, name, score, length):
    archive.put(name, b"", Reached(score, length, 0), np.zeros(2, np.float32))
    cell = archive.find(name, score, length)
    visit(archive, cell)
    return cell


def test_what_is_reached_early_stays_beside_a_higher_score():
    archive = in_time((b"a", 50.0, 350))  # levels of 4 points
    assert archive.improves(b"a", 20.0, 349)  # less, but earlier
    assert not archive.improves(b"a", 20.0, 350)
    assert archive.improves(b"a", 48.0, 349)  # of the same level
    assert not archive.improves(b"a", 51.9, 351)
    assert archive.improves(b"a", 51.9, 350)
    assert archive.improves(b"a", 52.0, 799)
    early, late = put(archive, b"a", 20.0, 250), put(archive, b"a", 60.0, 500)
    assert [early, late] == [1, 2]
    assert archive.find(b"a", 17.0, 700) == early
    assert archive.find(b"a", 17.0, 249) is None
    assert archive.find(b"a", 50.0, 100) == archive.find(b"a", 51.9, 700) == 0
    assert archive.find(b"a", 54.0, 499) is archive.find(b"a", 70.0, 700) is None
    assert archive.find(b"a", 54.0, 500) == archive.find(b"a", 61.9, 900) == late
    assert archive.best == (60.0, 500, 0)


def test_the_highest_score_is_remembered_where_a_faster_way_took_its_place():
    archive = in_time((b"a", 51.0, 350), (b"b", 0.0, 0))
    put(archive, b"a", 49.0, 300)
    assert archive[0] == (49.0, 300, 0)
    archive.note(Reached(50.5, 20, 0))
    for one in (archive, Archive(memory=99)):
        one.load_state_dict(archive.state_dict())
        assert one.best == (51.0, 350, 0)
        assert one.highest == 51.0


def test_levels_widen_with_the_highest_score():
    archive = in_time((b"a", 47.0, 350), (b"b", 50.0, 0))
    put(archive, b"a", 33.0, 300)
    put(archive, b"a", -2.0, 200)
    assert archive.find(b"a", 47.0, 400) == 0
    put(archive, b"b", 128.0, 500)  # levels of 16 points: 33 and 47 fall together
    assert archive.find(b"a", 47.0, 400) == 2
    assert archive.find(b"a", 15.0, 400) == archive.find(b"a", -15.0, 100) == 3
    drawn = np.bincount(archive.choose(4000, np.random.default_rng(0)), minlength=5)
    assert (drawn > 0).tolist() == [False, True, True, True, True]


def test_where_nothing_was_gained_each_score_is_a_level():
    archive = in_time((b"a", -5.0, 350))
    assert archive.improves(b"a", -4.0, 800)
    assert archive.improves(b"a", -6.0, 349)
    assert not archive.improves(b"a", -6.0, 350)


def test_what_is_reached_with_less_and_no_earlier_is_drawn_no_more():
    archive = in_time((b"a", 10.0, 150), (b"b", 50.0, 800))
    for score, length in ((20.0, 250), (30.0, 350), (40.0, 450)):
        put(archive, b"a", score, length)
    assert put(archive, b"a", 30.0, 149) == 3  # makes those of 10 and 20 needless
    drawn = np.bincount(archive.choose(4000, np.random.default_rng(0)), minlength=5)
    assert (drawn > 0).tolist() == [False, True, False, True, True]
    assert put(archive, b"a", 50.0, 99) == 4  # takes the place of one of two
    for one in (archive, Archive(memory=99)):
        one.load_state_dict(archive.state_dict())
        assert one.find(b"a", 50.0, 500) == 4
        assert one.find(b"a", 60.0, 500) is None
        drawn = np.bincount(one.choose(4000, np.random.default_rng(0)), minlength=5)
        assert (drawn > 0).tolist() == [False, True, False, False, True]


def test_what_has_more_time_left_is_drawn_more():
    archive = in_time((b"a", 50.0, 99), (b"b", 50.0, 100), (b"c", 50.0, 699), (b"d", 50.0, 900))
    drawn = np.bincount(archive.choose(18000, np.random.default_rng(0)))
    np.testing.assert_allclose(drawn, [8000, 7000, 2000, 1000], atol=150)


def test_visits_that_came_later_leave_a_cell_new():
    archive = in_time((b"a", 50.0, 350), power=1.0)
    for _ in range(300):
        visit(archive, 0)
    early, same = put(archive, b"a", 20.0, 250), put(archive, b"b", 20.0, 350)
    archive.visit(np.array([early]), np.array([0.0]), np.array([0]))
    assert archive.novelty[early] > 5 * archive.novelty[same]


def test_a_key_that_others_have_spent_is_not_forgotten():
    archive = archive_of((b"spent", 400.0, 9), power=4.0)
    archive.put(b"key", b"", Reached(100.0, 9, 0), np.array([0, 0], np.float32))
    for place in range(10):
        archive.put(b"%d" % place, b"", Reached(400.0, 9, 0), np.array([place + 5, 0], np.float32))
    visit(archive, *[0] * 999, *range(1, 12))
    archive._familiarity.refresh_at = 0.0
    visit(archive, 0)
    drawn = np.bincount(archive.choose(4000, np.random.default_rng(0)))
    # In the first half the ten that are new alone; in the second they and the key.
    np.testing.assert_allclose(drawn, [0, 182, *[382] * 10], atol=80)


def test_while_time_does_not_count_small_rewards_open_no_new_world():
    archive = archive_of((b"a", 6400.0, 1), power=1.0)
    archive.put(b"b", b"", Reached(100.0, 1, 0), np.zeros(2, np.float32))
    archive.put(b"c", b"", Reached(110.0, 1, 0), np.zeros(2, np.float32))
    archive.put(b"d", b"", Reached(200.0, 1, 0), np.zeros(2, np.float32))
    visit(archive, 0, *[1] * 100, 2, 3)
    archive._familiarity.refresh_at = 0.0
    visit(archive, 0)
    assert archive.novelty_at_score[1] == archive.novelty_at_score[2] < archive.novelty_at_score[3]


def test_names_that_fall_together_keep_what_is_early():
    archive = in_time((b"a", 48.0, 350), (b"b", 40.0, 150), (b"c", 50.0, 399), (b"d", 1.0, 550))
    visit(archive, 0, 0, 2)
    cells = archive.regroup(np.array([1, 1, 1, 0]), [b"x", b"y"], np.zeros((2, 2), np.float32))
    assert cells.tolist() == [2, 1, 2, 0]
    assert [archive[cell][:2] for cell in range(3)] == [(1.0, 550), (40.0, 150), (48.0, 350)]
    assert archive.visits.tolist() == [1, 1, 5]
    assert archive.find(b"y", 40.0, 300) == 1
    assert archive.find(b"y", 45.0, 400) == archive.find(b"y", 50.0, 700) == 2
    assert archive.find(b"y", 45.0, 300) is archive.find(b"y", 52.0, 700) is None
    assert archive.best == (50.0, 399, 0)
    assert archive.snapshots[1] == b"bb"


def test_the_best_cell():
    archive = archive_of((b"a", 1.0, 9), (b"b", 3.0, 8), (b"c", 3.0, 7), (b"d", 2.0, 1))
    assert archive.best == archive[2] == (3.0, 7, 0)
    archive.note(Reached(3.0, 7, 0))  # no better
    assert archive.best is not archive._noted
    for worse in (Reached(5.0, 40, 0), Reached(5.0, 41, 0), Reached(4.0, 1, 0)):
        archive.note(worse)
    assert archive.best == (5.0, 40, 0)


def test_the_first_with_a_score():
    archive = archive_of((b"a", 1.0, 9), (b"b", 3.0, 8), (b"c", 4.0, 8), (b"d", 2.0, 7))
    archive.note(Reached(5.0, 8, 0))
    assert archive.first_with(1.5) == (2.0, 7, 0)
    assert archive.first_with(2.5) == (5.0, 8, 0)  # of equal ones the best
    with pytest.raises(ValueError, match=r"the highest score is 5, none is 5\.5 or more"):
        archive.first_with(5.5)


def test_cells_are_drawn_by_rarity():
    archive = archive_of((b"a", 0.0, 0), (b"b", 0.0, 0), (b"c", 0.0, 0))
    for cell, visits in enumerate((1, 4, 16)):
        visit(archive, *[cell] * visits)
    drawn = archive.choose(7000, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(drawn), [4000, 2000, 1000], atol=100)


def test_one_draw_in_four_is_the_highest_of_some():
    archive = archive_of((b"a", 300.0, 0), (b"b", -1.0, 0), (b"c", 400.0, 0), (b"d", 400.0, 0))
    for cell, visits in enumerate((1, 1, 4, 10**6)):
        visit(archive, *[cell] * visits)
    drawn = np.bincount(archive.choose(10_000, np.random.default_rng(0)), minlength=4) / 10_000
    # By visits .4, .4, .2 and hardly ever; the third is among 64 always, the last is as high.
    np.testing.assert_allclose(drawn, [0.3, 0.3, 0.15 + 0.25, 0], atol=0.02)


def test_while_nothing_was_gained_a_loss_is_nothing_new():
    archive = archive_of((b"a", 0.0, 0), (b"far", -5.0, 0), power=1.0)
    archive.put(b"b", b"", Reached(-3.0, 0, 0), np.array([0, 0], np.float32))
    visit(archive, *[0] * 400, 1, 2)
    at_a, far, at_b = archive.novelty_at_score
    assert at_b == at_a < far


def test_once_time_counts_one_draw_in_two_is_the_highest_of_up_to_a_thousand():
    archive = archive_of((b"a", 300.0, 0), (b"b", 400.0, 0))
    archive.time_ran_out(8000)
    visit(archive, 0, *[1] * 4096)
    drawn = np.bincount(archive.choose(20_000, np.random.default_rng(0))) / 20_000
    # By visits the higher one is one of 65; each power of two of cells is as likely, and of n
    # cells, drawn in as many strata, it is one with a chance of n / 65.
    sizes = np.arange(1, 1024)
    among = np.minimum(sizes / 65, 1) @ np.log2(1 + 1 / sizes) / 10
    np.testing.assert_allclose(drawn[1], (1 / 65 + among) / 2, atol=0.01)


def test_a_loss_that_is_small_beside_a_level_seldom_loses_a_tournament():
    # Levels are 4 wide.
    archive = archive_of((b"a", 400.0, 0), (b"b", 399.0, 0), (b"c", 395.0, 0))
    visit(archive, 0, 1, 2)
    drawn = np.bincount(archive.choose(20_000, np.random.default_rng(0))) / 20_000
    # By rarity a third each; the highest two differ in one tournament of four, the last in all.
    np.testing.assert_allclose(drawn, 0.25 + np.array([0.25 * 5 / 8, 0.25 * 3 / 8, 0]), atol=0.01)


def test_cells_near_many_visits_are_drawn_less():
    archive = archive_of((b"a", 0.0, 0), (b"b", 0.0, 0), (b"c", 0.0, 0), power=1.0)
    for _ in range(400):
        visit(archive, 0, 1)
    visit(archive, *[2] * 400)  # so that all are equally rare
    archive.put(b"d", b"", Reached(0.0, 0, 0), np.array([1, 1e-3], np.float32))
    archive.put(b"e", b"", Reached(0.0, 0, 0), np.array([100, 0], np.float32))
    visit(archive, 3, 4)
    drawn = np.bincount(archive.choose(10_000, np.random.default_rng(0)), minlength=5)
    near, far = drawn[3], drawn[4]
    assert far > 5 * near > 0
    np.testing.assert_allclose(archive.novelty[3], archive.novelty[1], rtol=0.02)


def test_a_new_score_makes_a_place_new():
    archive = archive_of((b"a", 0.0, 0), (b"b", 0.0, 0), power=1.0)
    for _ in range(300):
        visit(archive, 0, 1)
    assert archive.novelty.max() < 0.1
    archive.put(b"a", b"", Reached(100.0, 9, 0), np.zeros(2, np.float32))
    visit(archive, 0)
    assert archive.novelty[0] > 5 * archive.novelty[1]


@pytest.mark.parametrize("power", [0.0, 3.0])
def test_it_grows_and_comes_back(power):
    archive = archive_of(
        *((bytes(divmod(i, 256)), float(i % 7), i) for i in range(3000)), power=power
    )
    visit(archive, *range(3000))
    other = Archive(memory=500, novelty_power=power)  # most of it goes to the disk there
    other.load_state_dict(archive.state_dict())
    assert other.snapshots.nbytes <= 500
    assert [other.snapshots[i] for i in range(3000)] == [archive.snapshots[i] for i in range(3000)]
    assert other.find(bytes(divmod(2999, 256)), 0.0, 2999) == 2999
    for one in (archive, other):
        visit(one, *range(0, 3000, 7))
    for column in ("score", "length", "node", "visits", "novelty"):
        np.testing.assert_array_equal(getattr(other, column), getattr(archive, column))
    draws = [one.choose(50, np.random.default_rng(3)) for one in (archive, other)]
    np.testing.assert_array_equal(*draws)


def test_snapshots_beyond_the_limit_lie_on_disk(tmp_path):
    store = SnapshotStore(10, str(tmp_path))
    for cell, snapshot in enumerate((b"aaaa", b"bbbb", b"cccc", b"dddd")):
        store[cell] = snapshot
    assert store.nbytes == 8
    store[0] = b"a" * 9  # no longer fits beside the other
    store[2] = b"cc"
    assert [store[cell] for cell in range(4)] == [b"a" * 9, b"bbbb", b"cc", b"dddd"]
    assert store.nbytes == 6
    store[0] = b"aa"
    assert store[0] == b"aa"
    assert list(tmp_path.iterdir()) == []  # it ends with the process, whatever ends that


def test_a_disk_without_space_is_named(tmp_path, monkeypatch):
    store = SnapshotStore(2, str(tmp_path))
    store[0] = b"aa"
    store[1] = b"bb"
    assert store._spill is not None
    store._spill.execute("PRAGMA max_page_count = 2")
    with pytest.raises(OSError, match=f"cannot be written to {tmp_path}: database or disk is full"):
        store[2] = bytes(100_000)
    assert [store[0], store[1]] == [b"aa", b"bb"]
    assert len(store) == 2


def test_a_folder_that_is_not_there():
    with pytest.raises(ValueError, match="spill_folder must be a folder that exists, got '/no/"):
        SnapshotStore(1, "/no/such/folder")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"novelty_power": -1.0}, "novelty_power must be at least 0, got -1"),
        ({"novelty_power": 0.0, "nearness": "steps"}, "needs a novelty_power above 0, got 0"),
        (
            {"cells": "controlled", "nearness": "steps"},
            "needs cells 'downscaled' or 'latent', got 'controlled'",
        ),
        ({"latent_growth": 0.0}, "latent_growth must be above 0, got 0"),
        ({"latent_regroup_steps": 0}, "latent_regroup_steps must be at least 1"),
        ({"cell_width": 0}, "cell_width must be at least 1, got 0"),
        ({"explore_steps": 0}, "explore_steps must be at least 1"),
        ({"cell_levels": 1}, "cell_levels must lie in"),
        ({"repeat_probability": 1.0}, "repeat_probability must lie in"),
        ({"follow_probability": 1.5}, "follow_probability must lie in .0, 1., got 1.5"),
        ({"memory_gb": float("nan")}, "memory_gb must be above 0, got nan"),
    ],
)
def test_settings_out_of_range(setting, says):
    with pytest.raises(ValueError, match=says):
        ArchiveConfig(**setting)


def test_who_learns_from_its_own_actions_follows_no_known_ways():
    with pytest.raises(ValueError, match="follow_probability must be 0, got"):
        ArchiveNGUConfig(archive=ReturningConfig(follow_probability=0.5))
