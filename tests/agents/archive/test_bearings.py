from itertools import pairwise

import numpy as np
import pytest

from ngu_agents.archive.bearings import Bearings
from ngu_agents.archive.cells import Named
from ngu_agents.archive.trials import Controlled

ONE = np.ones(1, bool)
PICTURE = np.zeros((1, 8, 8), np.uint8)
OTHER, THIRD = PICTURE.copy(), PICTURE.copy()
OTHER[:, :2], THIRD[:, 4:6] = 9, 9


def begun(*place):
    """The bearings of an agent that begins at this place."""
    bearings = Bearings(1, areas=10)
    bearings.begin(ONE, np.array([place or (0.5, 0.5)], np.float32), PICTURE)
    return bearings


def seen_at(bearings, place, *, after=4, cut=False, picture=PICTURE, before=PICTURE):
    """The position of a single agent that is seen so many steps later; None where not known."""
    for _ in range(after - 1):
        bearings.step(before, before, ONE)
    bearings.step(before, before + np.uint8(9 * cut), ONE)
    known = bearings.follow(Controlled(np.array([place], np.float32), ONE), picture)
    return pytest.approx(bearings.positions[0].tolist()) if known[0] else None


def stays(bearings, *columns, changes=0):
    """An agent stays for 240 steps in each of these columns; so often the picture changes."""
    for column in columns:
        bearings.put(ONE, np.array([[0.5, column, 0]], np.float32))
        for look in range(60):
            seen_at(bearings, (0.5, column % 1), cut=look < changes)


def scene(bearings):
    return int(bearings.positions[0, 2])


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
    bearings = begun(*before)
    at_once = seen_at(bearings, then, cut=any(screen))
    assert (at_once is None) == any(screen)
    # Then it is on the other screen for sure.
    assert seen_at(bearings, then) == [s + t for s, t in zip(screen, then, strict=True)] + [0]


def test_what_nobody_can_have_done_was_not_the_agent():
    bearings = begun()
    assert seen_at(bearings, (0.5, 0.9)) is None
    assert bearings.positions.tolist() == [[0.5, 0.5, 0]]
    # It has had the time to get there by now.
    assert seen_at(bearings, (0.5, 0.9), after=8) == [0.5, 0.9, 0]


def test_whose_picture_never_changed_at_once_has_stayed():
    bearings = begun()
    assert seen_at(bearings, (0.5, 0.6), after=40) == [0.5, 0.6, 0]
    assert seen_at(bearings, (0.5, 0.05), after=40) == [0.5, 0.05, 0]


@pytest.mark.parametrize(
    ("after", "cut", "picture"),
    [(40, True, PICTURE), (4, False, PICTURE), (4, False, OTHER), (20, True, OTHER)],
)
def test_who_may_have_come_from_either_side_is_lost(after, cut, picture):
    bearings = begun(0.5, 0.9)
    assert seen_at(bearings, (0.5, 0.1), after=after, cut=cut, picture=picture) is None
    assert seen_at(bearings, (0.5, 0.1)) is None, "it must not be found again before it goes back"
    bearings.put(ONE, np.array([[0.5, 0.8, 0]], np.float32))
    assert seen_at(bearings, (0.5, 0.7)) == [0.5, 0.7, 0]


def test_an_unknown_picture_is_on_no_screen_that_nobody_has_seen_if_the_agent_may_have_stayed():
    bearings = begun(0.5, 0.9)
    assert seen_at(bearings, (0.5, 0.5), after=16, cut=True, picture=OTHER) is None
    assert seen_at(bearings, (0.5, 0.5), picture=OTHER) is None, "it is lost"


def test_a_known_picture_tells_from_which_side():
    bearings = begun(0.5, 0.95)
    seen_at(bearings, (0.5, 0.05), cut=True, picture=OTHER)
    assert bearings.positions[0] == pytest.approx([0.5, 1.05, 0])
    for picture, place in ((OTHER, 1.9), (PICTURE, 0.95), (PICTURE, 0.1), (OTHER, 1.05)):
        seen_at(bearings, (0.5, place % 1), after=40, cut=True, picture=picture)
        assert bearings.positions[0] == pytest.approx([0.5, place, 0])
    assert seen_at(bearings, (0.5, 0.5), after=40, cut=True, picture=THIRD) is None
    assert seen_at(bearings, (0.5, 0.5), picture=OTHER) is None, "it is lost"


def test_of_two_screens_that_look_the_same_one_change_tells_that_the_agent_left():
    bearings = begun(0.5, 0.95)
    seen_at(bearings, (0.5, 0.05), cut=True)
    seen_at(bearings, (0.5, 0.5), after=20)
    assert bearings.positions[0] == pytest.approx([0.5, 1.5, 0])
    before = bearings.positions.copy()
    assert seen_at(bearings, (0.5, 0.7), after=40, cut=True) is None
    assert bearings.state_dict()["lost"].all(), "who knows whether it changes so all the time"
    stays(bearings, 0.5, 1.5)
    bearings.put(ONE, before)
    seen_at(bearings, (0.5, 0.7), after=40, cut=True)
    assert bearings.positions[0] == pytest.approx([0.5, 0.7, 0])
    # It may have come back, or not.
    for before, after in pairwise((PICTURE, PICTURE, PICTURE, OTHER, THIRD, THIRD)):
        bearings.step(before, after, ONE)
    assert bearings.state_dict()["cuts"].tolist() == [1], "it may take two steps"
    assert seen_at(bearings, (0.5, 0.5), after=40, cut=True) is None
    assert seen_at(bearings, (0.5, 0.5)) is None, "it is lost"


def test_of_two_screens_that_look_the_same_a_small_change_tells_nothing():
    large = np.zeros((1, 100, 100), np.uint8)
    for changed, known in ((110, None), (100, [0.5, 0.7, 0])):
        bearings = Bearings(1, areas=10)
        bearings.begin(ONE, np.array([(0.5, 0.95)], np.float32), large)
        seen_at(bearings, (0.5, 0.05), cut=True, picture=large, before=large)
        seen_at(bearings, (0.5, 0.95), cut=True, picture=large, before=large)
        small = large.copy()
        small.flat[:changed] = 1
        bearings.step(large, large, ONE)
        bearings.step(large, large, ONE)
        bearings.step(large, small, ONE)
        assert seen_at(bearings, (0.5, 0.7), after=40, picture=large, before=large) == known


@pytest.mark.parametrize(
    ("changes", "column", "tells"), [(1, 0.5, True), (2, 0.5, False), (1, 0.9, False)]
)
def test_a_change_tells_nothing_if_there_are_many_or_the_agent_has_not_moved(
    changes, column, tells
):
    bearings = begun(0.5, 0.95)
    seen_at(bearings, (0.5, 0.05), cut=True)
    stays(bearings, 0.95, changes=changes)
    seen_at(bearings, (0.5, column), after=40, cut=True)
    assert bearings.state_dict()["lost"][0] != tells
    assert not tells or bearings.positions[0, 1] == pytest.approx(1 + column)


def test_a_change_tells_nothing_where_the_other_screen_looks_less_alike():
    bearings = begun(0.5, 0.95)
    other = PICTURE.copy()
    other[0, 0] = 9
    seen_at(bearings, (0.5, 0.05), cut=True, picture=other)
    stays(bearings, 0.95)
    # Two of its eight pixels tell nothing, with three it is about as much alike.
    for pixels, column in ((2, None), (3, 1.5)):
        bearings.put(ONE, np.array([[0.5, 0.95, 0]], np.float32))
        between = PICTURE.copy()
        between[0, 0, :pixels] = 9
        seen_at(bearings, (0.5, 0.5), after=40, cut=True, picture=between)
        lost = bool(bearings.state_dict()["lost"][0])
        assert lost == (column is None)
        assert lost or bearings.positions[0, 1] == pytest.approx(column)


def test_what_flickers_is_no_change_of_screens():
    bearings = begun()
    flickering = [PICTURE.copy() for _ in range(10)]
    for step, picture in enumerate(flickering):
        picture[0, :, :4] = step % 2
    for before, after in pairwise(flickering):
        bearings.step(before, after, ONE)
    assert bearings.state_dict()["cuts"].tolist() == [0]
    bearings.step(flickering[-1], flickering[0] + np.uint8(5), ONE)
    assert bearings.state_dict()["cuts"].tolist() == [1]
    bearings.put(ONE, bearings.positions.copy())
    bearings.step(flickering[0], flickering[-1] + np.uint8(5), ONE)
    assert bearings.state_dict()["cuts"].tolist() == [0], "what stood still is not known"


def test_a_picture_that_flickers_does_not_matter_soon_after():
    assert seen_at(begun(), (0.5, 0.6), cut=True) == [0.5, 0.6, 0]


def test_behind_a_door_is_another_scene():
    bearings = begun(0.5, 0.95)
    seen_at(bearings, (0.5, 0.05), cut=True, picture=OTHER)
    seen_at(bearings, (0.5, 0.95), cut=True, picture=THIRD)
    assert bearings.positions[0] == pytest.approx([0.5, 0.95, 1])
    flickering = THIRD.copy()
    flickering[0, 2] = 1
    assert seen_at(bearings, (0.5, 0.9), picture=flickering) == [0.5, 0.9, 1]
    seen_at(bearings, (0.5, 0.05), cut=True, picture=OTHER)
    assert scene(bearings) == 0
    seen_at(bearings, (0.5, 0.95), cut=True)
    assert scene(bearings) == 0


def test_where_floors_come_and_go_is_the_same_scene():
    bearings = begun(0.5, 0.95)
    assert seen_at(bearings, (0.5, 0.95), picture=OTHER) == [0.5, 0.95, 0]
    seen_at(bearings, (0.5, 0.05), cut=True, picture=OTHER)
    seen_at(bearings, (0.5, 0.95), cut=True, picture=THIRD)
    assert scene(bearings) == 2
    behind = bearings.positions.copy()
    assert seen_at(bearings, (0.5, 0.95)) is None, "it was not known that they are the same"
    assert scene(bearings) == 0
    bearings.put(ONE, behind)
    assert seen_at(bearings, (0.5, 0.9), picture=THIRD) is None
    assert seen_at(bearings, (0.5, 0.9), picture=THIRD) == [0.5, 0.9, 0]


def test_of_a_screen_no_more_than_sixteen_pictures_are_told_apart():
    bearings = begun(0.5, 0.95)
    for shade in range(40):
        there = PICTURE + np.uint8(shade + 1)
        if shade == 39:
            there[0, :4], there[0, 4:] = 100, 3
        seen_at(bearings, (0.5, 0.05), cut=True, picture=there)
        assert bearings.positions[0, 1] == pytest.approx(1.05)
        assert scene(bearings) == shade if shade < 16 else scene(bearings) < 16
        seen_at(bearings, (0.5, 0.95), cut=True)
        assert bearings.positions[0, 1] == pytest.approx(0.95)
    seen_at(bearings, (0.5, 0.05), cut=True, picture=there)
    assert scene(bearings) == 2, "the nearest counts"


def test_only_who_is_seen_is_followed():
    pictures = np.repeat(PICTURE, 3, 0)
    bearings = Bearings(3, areas=10)
    everywhere = np.ones(3, bool)
    bearings.begin(everywhere, np.array([[0.5, 0.5]] * 3, np.float32), pictures)
    where = np.array([True, False, True])
    bearings.put(where, np.array([[0.5, 0.25, 0], [0.5, 0.75, 0]], np.float32))
    for _ in range(4):
        bearings.step(pictures, pictures, everywhere)
    places = np.full((3, 2), 0.5, np.float32)
    places[:, 1] = 0.3, 0.4, 0.7
    known = bearings.follow(Controlled(places, where), pictures)
    assert known.tolist() == [True, False, True]
    np.testing.assert_allclose(bearings.positions, [[0.5, 0.3, 0], [0.5, 0.5, 0], [0.5, 0.7, 0]])
    assert bearings.state_dict()["unseen"].tolist() == [0, 4, 0]


def test_the_same_picture_on_two_screens_is_two_cells():
    bearings = Bearings(4, areas=4)
    positions = [[0.5, 0.5, 0], [0.5, 1.5, 0], [0.6, 0.6, 0], [0.5, 0.5, 1]]
    bearings.put(np.ones(4, bool), np.array(positions, np.float32))
    names, embeddings = bearings.placed(Named([b"same"] * 4, np.zeros((4, 7), np.float32)))
    assert names[0] == names[2]
    assert len(set(names)) == 3
    np.testing.assert_allclose(embeddings, positions)


def test_scenes_last():
    bearings = begun(0.5, 0.95)
    seen_at(bearings, (0.5, 0.9), picture=OTHER)
    seen_at(bearings, (0.5, 0.05), cut=True, picture=THIRD)
    for before, after in pairwise((PICTURE, PICTURE, PICTURE, OTHER)):
        bearings.step(before, after, ONE)
    other = Bearings(1, areas=10)
    other.load_state_dict(bearings.state_dict())
    for name, values in bearings.state_dict().items():
        for value, also in zip(values, other.state_dict()[name], strict=True):
            np.testing.assert_array_equal(value, also)
    assert other.state_dict()["cuts"].tolist() == [1]
    for picture, place in ((OTHER, 0.9), (THIRD, 1.1), (PICTURE, 0.9)):
        for each in (bearings, other):
            seen_at(each, (0.5, place % 1), after=40, cut=True, picture=picture)
        np.testing.assert_array_equal(other.positions, bearings.positions)
        assert bearings.positions[0, 1] == pytest.approx(place)
