import copy

import numpy as np
import pytest

from ngu_agents.archive import reach
from ngu_agents.archive.reach import Pairs, Passed, Reach


def embedded(places, seed=0):
    """Two rooms of 20 places that look almost the same, and a lamp that flickers in both."""
    room, place = np.divmod(places, 20)
    lamp = np.random.default_rng(seed).integers(2, size=len(places))
    return np.stack((place / 20, lamp, 0.1 * room), axis=1).astype(np.float32)


def walked(seed, count=4000):
    """Pairs of explorations that stay in one room."""
    generator = np.random.default_rng(seed)
    room = generator.integers(2, size=count)
    earlier = generator.integers(20, size=count)
    later = np.clip(earlier + generator.integers(-6, 7, size=count), 0, 19)
    return Pairs(embedded(20 * room + earlier, seed), embedded(20 * room + later, seed + 100))


def distances(reach, embeddings, others):
    return np.linalg.norm(reach(embedded(embeddings)) - reach(embedded(others)), axis=1)


def learned(seed=0, rounds=8):
    reach = Reach(seed)
    for number in range(rounds):
        reach.add(walked(number))
        reach.learn()
    return reach


def test_what_an_exploration_leads_to_is_near():
    reach = learned()
    places = np.repeat(np.arange(4, 16), 30)
    beside = distances(reach, places, places + 4)
    elsewhere = distances(reach, places, places + 20)  # in a picture that is .1 apart
    across = distances(reach, places, (places + 10) % 20)
    assert np.median(elsewhere) > 2 * np.median(beside)
    assert np.median(across) > 2 * np.median(beside)
    # Whether the lamp is on makes the largest difference in the picture, and none here.
    on, off = reach(np.array([[0.5, 0, 0], [0.5, 1, 0]], np.float32))
    assert np.linalg.norm(on - off) < np.median(beside)


def test_without_enough_pairs_states_are_as_they_came():
    reach = Reach(0)
    reach.learn()
    reach.add(Pairs(*(part[:255] for part in walked(0))))
    reach.learn()
    states = embedded(np.arange(40))
    np.testing.assert_array_equal(reach(states), states)
    reach.add(Pairs(*(part[:1] for part in walked(1))))
    reach.learn()
    assert reach(states).shape == (40, 16)
    reach.forget()
    np.testing.assert_array_equal(reach(states), states)


def test_what_is_not_new_is_not_learned_twice():
    reach = learned(rounds=1)
    before = reach(embedded(np.arange(40)))
    reach.learn()
    np.testing.assert_array_equal(reach(embedded(np.arange(40))), before)


def test_going_on_from_what_was_saved_is_going_on():
    one, other = learned(rounds=2), Reach(5)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for each in (one, other):
        each.add(walked(9))
        each.learn()
    states = embedded(np.arange(40))
    np.testing.assert_array_equal(one(states), other(states))


def test_of_more_pairs_than_fit_some_are_the_newest(monkeypatch):
    monkeypatch.setattr(reach, "_PAIRS", 100)
    remembering = Reach(0)
    for number in range(3):
        remembering.add(Pairs(*np.full((2, 100, 1), number, np.float32)))
    kept = remembering.state_dict()["pairs"]
    assert kept.shape == (100, 2, 1)
    # Of 100 places drawn with replacement 63 are another one.
    assert np.bincount(kept[:, 0, 0].astype(int)) == pytest.approx([13.4, 23.3, 63.4], abs=10)


def test_each_state_that_was_passed_has_the_same_chance():
    passed = Passed(4000, 0)
    where = np.ones(4000, bool)
    for step in range(10):
        pairs = passed(np.full((4000, 1), step, np.float32), where)
        assert (pairs.later == step).all()
        assert (pairs.earlier < step).all()
        share = len(pairs.later) / 4000
        assert share == pytest.approx(0.25 if step else 0, abs=0.03)
    counts = np.bincount(pairs.earlier[:, 0].astype(int), minlength=9)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 9, atol=0.04)


def test_no_pair_is_of_two_explorations():
    passed = Passed(500, 0)
    first, second = np.arange(500) % 2 == 0, np.arange(500) % 2 == 1
    everywhere = first | second
    passed(np.zeros((500, 1), np.float32), everywhere)
    passed.forget(first)
    pairs = passed(np.ones((500, 1), np.float32), everywhere)
    assert 0 < len(pairs.later) < 0.4 * 250
    assert not passed(np.ones((500, 1), np.float32), np.zeros(500, bool)).later.size
    again = passed(np.full((500, 1), 2, np.float32), first)
    assert (again.earlier == 1).all()
    assert len(again.later) > 20
