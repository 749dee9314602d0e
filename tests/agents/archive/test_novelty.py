import math

import numpy as np
import pytest

from ngu_agents.archive import novelty
from ngu_agents.archive.novelty import Familiarity, Known, Visited, VisitSample


def slow_novelty(visited, visits, embedding, score, most, piece):
    """Algorithm 1 of Never Give Up over the visits of these scores and as early, in float64."""
    pairs = [np.sum((a - b) ** 2) for a in visited for b in visited]
    mean = sum(pairs) / len(pairs)
    total = 0.0
    for other, its_score, its_slice in zip(visited, *visits, strict=True):
        if score <= its_score <= most and its_slice <= piece:
            distance = np.sum((other - embedding) ** 2) / mean
            apart = max(distance - novelty._CLUSTER_DISTANCE, 0.0)
            total += novelty._EPSILON / (apart + novelty._EPSILON)
    return 1 / (math.sqrt(total) + 1)


def test_it_is_algorithm_1_among_the_visits_of_its_score_and_above_and_as_early():
    generator = np.random.default_rng(0)
    visited = generator.normal(size=(40, 5)).astype(np.float32)
    visited_scores = generator.choice([0.0, 100.0], 40)
    visited_slices = generator.integers(3, size=40)
    cells = np.concatenate((visited[:3], generator.normal(size=(300, 5)))).astype(np.float32)
    scores = generator.choice([-50.0, 0.0, 100.0, 500.0], 303)
    slices = generator.integers(3, size=303)
    visits = visited_scores, visited_slices
    found = Visited(Known(visited, *visits)).novelty_of(Known(cells, scores, slices))
    for novelties, most in zip(found, (np.full(303, np.inf), scores), strict=True):
        expected = [
            slow_novelty(visited.astype(float), visits, cell.astype(float), *about)
            for cell, *about in zip(cells, scores, most, slices, strict=True)
        ]
        np.testing.assert_allclose(novelties, expected, rtol=1e-3)
    assert (found[:, scores == 500] == 1).all()
    assert (found[1, scores == -50] == 1).all()
    assert (found[0, scores == -50] < 1).all()


def test_where_all_visits_were_the_same():
    visited = np.ones((9, 2), np.float32)
    cells = np.array([[1, 1], [1, 2]], np.float32)
    slices = np.zeros(9, np.int64)
    known = Known(visited, np.zeros(9), slices)
    found = Visited(known).novelty_of(Known(cells, np.zeros(2), slices[:2]))
    np.testing.assert_allclose(found, [[1 / 4, 1.0]] * 2)


def test_what_is_near_can_be_told():
    visits = np.zeros(3), np.zeros(3, np.int64)
    known = Known(np.array([[0, 0], [0, 0.49], [0, 3]], np.float32), *visits)
    found, _ = Visited(known, near=0.5).novelty_of(known)
    assert found == pytest.approx([1 / (math.sqrt(2) + 1)] * 2 + [1 / 2], rel=1e-3)


@pytest.mark.parametrize("at_once", [1, 7])
def test_every_visit_has_the_same_chance(at_once, monkeypatch):
    monkeypatch.setattr(novelty, "_SAMPLE", 512)
    kept = np.zeros(2048)
    for seed in range(40):
        sample = VisitSample(np.random.default_rng(seed))
        for part in np.array_split(np.arange(2048), 2048 // at_once):
            sample.add(part, part * 2.0, part + 1)
        assert sample.count == 2048
        assert len(np.unique(sample.cells)) == 512
        np.testing.assert_array_equal(sample.scores, sample.cells * 2.0)
        np.testing.assert_array_equal(sample.lengths, sample.cells + 1)
        kept[sample.cells] += 1
    shares = kept.reshape(8, -1).sum(1) / kept.sum()
    np.testing.assert_allclose(shares, 1 / 8, atol=0.008)  # its standard deviation is .002


def test_few_visits_are_all_kept():
    sample = VisitSample(np.random.default_rng(0))
    sample.add(np.array([4, 2, 4]), np.array([0.0, 1.0, 1.0]), np.arange(3))
    assert sample.cells.tolist() == [4, 2, 4]
    sample.regroup(np.array([0, 0, 1, 1, 1]))
    assert sample.cells.tolist() == [1, 1, 1]


def crowded(near, count, monkeypatch, most=4096):
    """How many of `count` cells at one place are near each, and near one far away."""
    monkeypatch.setattr(novelty, "_SAMPLE", most)
    embeddings = np.zeros((count + 1, 4), np.float32)
    embeddings[-1] = 5.0
    known = Known(embeddings, np.zeros(count + 1), np.zeros(count + 1, np.int64))
    familiarity = Familiarity(near, np.random.default_rng(0))
    assert familiarity.of(known)[1].tolist() == [1.0] * (count + 1)
    familiarity.refresh(known, known)
    return familiarity.of(known)[1]


def test_cells_at_one_place_are_a_crowd(monkeypatch):
    np.testing.assert_allclose(crowded(0.5, 60, monkeypatch), [60.0] * 60 + [1.0], rtol=1e-2)
    np.testing.assert_allclose(crowded(0.5, 60, monkeypatch, most=20)[:60], 60.0, atol=4)
    assert (crowded(None, 60, monkeypatch) == 1).all()
