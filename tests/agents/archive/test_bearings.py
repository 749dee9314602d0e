import numpy as np
import pytest

from ngu_agents.archive.bearings import Bearings
from ngu_agents.archive.cells import Named
from ngu_agents.archive.trials import Controlled

PICTURE = np.zeros((1, 8, 8), np.uint8)


def seen_at(bearings, place, *, after=4, cut=False, picture=None):
    """The position of a single agent that is seen so many steps later; None where not known."""
    bearings.unseen += after - 1
    bearings.step(PICTURE, PICTURE + 9 * cut, np.ones(1, bool))
    controlled = Controlled(np.array([place], np.float32), np.ones(1, bool))
    known = bearings.follow(controlled, PICTURE if picture is None else picture)
    return bearings.positions[0].tolist() if known[0] else None


@pytest.mark.parametrize(
    ("before", "then", "screen"),
    [
        ((0.5, 0.5), (0.45, 0.6), (0, 0)),
        ((0.5, 0.95), (0.5, 0.05), (0, 1)),
        ((0.5, 0.05), (0.5, 0.95), (0, -1)),
        ((0.85, 0.5), (0.3, 0.5), (1, 0)),
        ((0.3, 0.5), (0.85, 0.5), (-1, 0)),
    ],
)
def test_who_leaves_a_screen_comes_in_on_the_other_side_of_the_next(before, then, screen):
    bearings = Bearings(PICTURE, areas=10)
    bearings.put(np.ones(1, bool), np.array([before], np.float32) + 7, PICTURE)
    at_once = seen_at(bearings, then, cut=any(screen))
    assert (at_once is None) == any(screen)
    # Then it is on the other screen for sure.
    assert seen_at(bearings, then) == pytest.approx(
        [7 + s + t for s, t in zip(screen, then, strict=True)]
    )


def test_what_nobody_can_have_done_was_not_the_agent():
    bearings = Bearings(PICTURE, areas=10)
    assert seen_at(bearings, (0.5, 0.9)) is None
    assert bearings.positions.tolist() == [[0.5, 0.5]]
    # It has had the time to get there by now.
    assert seen_at(bearings, (0.5, 0.9), after=8) == pytest.approx([0.5, 0.9])


def test_whose_picture_never_changed_at_once_has_stayed():
    bearings = Bearings(PICTURE, areas=10)
    assert seen_at(bearings, (0.5, 0.6), after=40) == pytest.approx([0.5, 0.6])
    assert seen_at(bearings, (0.5, 0.05), after=40) == pytest.approx([0.5, 0.05])


@pytest.mark.parametrize(("after", "cut"), [(40, True), (4, False)])
def test_who_may_have_come_from_either_side_is_lost(after, cut):
    bearings = Bearings(PICTURE, areas=10)
    bearings.put(np.ones(1, bool), np.array([[0.5, 0.9]], np.float32), PICTURE)
    assert seen_at(bearings, (0.5, 0.1), after=after, cut=cut) is None
    assert seen_at(bearings, (0.5, 0.1)) is None, "it must not be found again before it goes back"
    bearings.put(np.ones(1, bool), np.array([[2.5, 3.5]], np.float32), PICTURE)
    assert seen_at(bearings, (0.5, 0.6)) == pytest.approx([2.5, 3.6])


def test_a_picture_that_flickers_does_not_matter_soon_after():
    bearings = Bearings(PICTURE, areas=10)
    assert seen_at(bearings, (0.5, 0.6), cut=True) == pytest.approx([0.5, 0.6])


def test_nobody_has_stayed_in_another_picture():
    other = PICTURE.copy()
    other[:, :2] = 9
    bearings = Bearings(PICTURE, areas=10)
    assert seen_at(bearings, (0.5, 0.6), picture=other) is None
    assert seen_at(bearings, (0.5, 0.6)) == pytest.approx([0.5, 0.6])
    bearings.put(np.ones(1, bool), np.array([[0.5, 0.95]], np.float32), PICTURE)
    leaving = seen_at(bearings, (0.5, 0.05), cut=True, picture=other)
    assert leaving is None, "it is about to leave"
    assert seen_at(bearings, (0.5, 0.1), picture=other) == pytest.approx([0.5, 1.1])


def test_only_who_is_seen_is_followed():
    bearings = Bearings(np.repeat(PICTURE, 3, 0), areas=10)
    where = np.array([True, False, True])
    bearings.put(where, np.array([[0.5, 0.25], [1.5, 0.75]], np.float32), bearings.pictures)
    bearings.unseen += 4
    places = np.full((3, 2), 0.5, np.float32)
    places[:, 1] = 0.3, 0.4, 0.7
    known = bearings.follow(Controlled(places, np.array([True, False, True])), bearings.pictures)
    assert known.tolist() == [True, False, True]
    np.testing.assert_allclose(bearings.positions, [[0.5, 0.3], [0.5, 0.5], [1.5, 0.7]])
    assert bearings.unseen.tolist() == [0, 4, 0]


def test_the_same_picture_on_two_screens_is_two_cells():
    bearings = Bearings(np.repeat(PICTURE, 3, 0), areas=4)
    places = np.array([[0.5, 0.5], [0.5, 1.5], [0.6, 0.6]], np.float32)
    bearings.put(np.ones(3, bool), places, bearings.pictures)
    names, embeddings = bearings.placed(Named([b"same"] * 3, np.zeros((3, 7), np.float32)))
    assert names[0] == names[2] != names[1]
    np.testing.assert_array_equal(embeddings, places)
