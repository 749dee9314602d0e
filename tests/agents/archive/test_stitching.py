import numpy as np
import pytest

from ngu_agents.archive.archive import Archive
from ngu_agents.archive.clock import Reached
from ngu_agents.archive.stitching import Stitching
from ngu_agents.archive.trajectories import NO_PARENT

ONE = np.ones(1, bool)
OWN = np.array([9])
# Forty steps from each of three places to the next one.
PIECES = bytes([1]) * 40, bytes([2]) * 40, bytes([3]) * 40
FIRST, SECOND, THIRD = 0, 1, 2


def put(archive, name, node, place, length, score=0.0):
    position = np.array([0.5, place, 0], np.float32)
    archive.put(name, b"", Reached(score, length, node), position)
    cell = archive.find(name, score, length)
    archive.visit(np.array([cell]), np.array([score]), np.array([length]))
    return cell


def archive_of_a_way(*, timed=True, power=0.0):
    """Three cells on a way."""
    archive = Archive(memory=1000, novelty_power=power, near=1 / 8)
    if timed:
        archive.time_ran_out(1000)
    node = archive.trajectories.add(NO_PARENT, b"")
    for place, piece in enumerate(PIECES):
        node = archive.trajectories.add(node, piece)
        put(archive, bytes([place]), node, place + 0.5, 40 * (place + 1))
    return archive


def reach(archive, name, place, length, score=0.0):
    """One more cell, or the same one sooner, by a way of its own."""
    tree = archive.trajectories
    node = tree.add(tree.add(NO_PARENT, b""), bytes([7]) * length)
    return put(archive, name, node, place, length, score)


def following(archive, probability=1.0, seed=0):
    return Stitching(archive, 1, probability=probability, seed=seed)


def begun(archive, cell, tries=60):
    """Where explorations from a cell began, and what they did then before they were their own."""
    stitching = following(archive)
    found = set()
    for _ in range(tries):
        first = stitching.begin(0, cell)
        done = bytearray()
        while True:
            actions, follows = stitching.act(OWN, ONE)
            if not follows[0]:
                break
            done.append(int(actions[0]))
        assert actions.tolist() == OWN.tolist()
        found.add((first, bytes(done)))
    return found


def test_a_way_is_taken_from_where_a_cell_on_it_was_reached_sooner():
    archive = archive_of_a_way()
    assert reach(archive, bytes([FIRST]), 0.5, 10) == FIRST
    assert begun(archive, THIRD) == {(THIRD, b""), (FIRST, PIECES[1] + PIECES[2])}


def test_of_cells_that_save_about_as_much_the_last_is_taken():
    archive = archive_of_a_way()
    reach(archive, bytes([FIRST]), 0.5, 10)
    reach(archive, bytes([SECOND]), 1.5, 55)
    assert begun(archive, THIRD) == {(THIRD, b""), (SECOND, PIECES[2])}


def test_a_few_steps_are_not_worth_it():
    archive = archive_of_a_way()
    reach(archive, bytes([FIRST]), 0.5, 25)
    assert begun(archive, THIRD) == {(THIRD, b"")}


def test_while_time_does_not_count_nothing_is_done_sooner():
    archive = archive_of_a_way(timed=False)
    reach(archive, bytes([FIRST]), 0.5, 10)
    assert begun(archive, THIRD) == {(THIRD, b"")}


@pytest.mark.parametrize("timed", [False, True])
def test_who_comes_by_with_something_new_goes_on_as_others_did(timed):
    archive = archive_of_a_way(timed=timed)
    cell = reach(archive, b"with a key", 1.52, 500, 100.0)
    assert begun(archive, cell) == {(cell, PIECES[2])}
    other = reach(archive, b"with a key, before", 0.48, 500, 100.0)
    assert begun(archive, other) == {(other, PIECES[1]), (other, PIECES[1] + PIECES[2])}
    off = reach(archive, b"elsewhere", 1.6, 500, 100.0)
    assert begun(archive, off) == {(off, b"")}


def test_of_ways_on_the_one_to_the_newest_place_is_taken():
    archive = archive_of_a_way(power=4.0)
    cell = reach(archive, b"with a key", 0.5, 500, 100.0)
    for known, times, then in ((THIRD, 2, PIECES[1]), (SECOND, 40, PIECES[1] + PIECES[2])):
        for score, length in ((100.0, 2000), (0.0, 500)):
            # Who came later, or without the key, does not count.
            archive.visit(np.array([known] * 99), np.full(99, score), np.full(99, length))
        archive._familiarity.refresh_at = 0.0
        archive.visit(np.array([known] * times), np.full(times, 100.0), np.full(times, 400))
        assert begun(archive, cell) == {(cell, then)}


def test_nobody_goes_on_as_it_did_itself():
    archive = archive_of_a_way()
    assert begun(archive, FIRST) == {(FIRST, b"")}


def test_no_way_is_followed_where_none_is_asked_for():
    archive = archive_of_a_way()
    cell = reach(archive, b"with a key", 1.5, 500, 100.0)
    stitching = following(archive, probability=0.0)
    for _ in range(60):
        assert stitching.begin(0, cell) == cell
        assert not stitching.act(OWN, ONE)[1].any()


def on_the_way(archive, cell):
    """On to the third cell."""
    stitching = following(archive)
    while stitching.state_dict()["actions"][0].size < 80:
        stitching.begin(0, cell)
    return stitching


def test_who_strays_is_left_to_itself():
    archive = archive_of_a_way()
    cell = reach(archive, b"with a key", 0.5, 500, 100.0)
    near, far = (np.array([[0.5, place, 0]], np.float32) for place in (1.6, 1.9))
    for passed, place, goes_on in (
        (39, far, True),
        (40, near, True),
        (40, far, False),
        (44, far, False),
    ):
        stitching = on_the_way(archive, cell)
        stitching.act(OWN, ONE)
        stitching.look(np.array([[0.5, 0.5, 0]], np.float32), ONE)
        for _ in range(passed):
            assert stitching.act(OWN, ONE)[1][0]
        stitching.look(place, ~ONE)
        stitching.look(place, ONE)
        assert stitching.act(OWN, ONE)[1][0] == goes_on, passed
        assert not stitching.act(OWN, ~ONE)[1].any()


def test_who_is_dropped_follows_no_way_any_more():
    archive = archive_of_a_way()
    stitching = on_the_way(archive, reach(archive, b"with a key", 0.5, 500, 100.0))
    stitching.drop(~ONE)
    assert stitching.act(OWN, ONE)[1][0]
    stitching.drop(ONE)
    assert not stitching.act(OWN, ONE)[1][0]


def test_ways_last():
    archive = archive_of_a_way()
    cell = reach(archive, b"with a key", 0.5, 500, 100.0)
    stitching, other = on_the_way(archive, cell), following(archive, seed=1)
    other.load_state_dict(stitching.state_dict())
    for step in range(100):
        (actions, follows), (others, also) = (each.act(OWN, ONE) for each in (stitching, other))
        assert (actions, follows) == (others, also)
        for each in (stitching, other):
            each.look(np.array([[0.5, 9.5 if step == 60 else 1.5, 0]], np.float32), ONE)
    assert [stitching.begin(0, cell) for _ in range(9)] == [other.begin(0, cell) for _ in range(9)]
