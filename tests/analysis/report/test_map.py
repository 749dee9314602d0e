"""The states that are shown, and the planes that they lie in."""

import numpy as np

from ngu.analysis.estimate import NotMeasured
from ngu.analysis.report.states_map import choose, neighbour_plane, principal_plane


def test_few_states_are_all_shown_and_many_evenly():
    rng = np.random.default_rng(0)
    assert choose(5, 10, rng).tolist() == [0, 1, 2, 3, 4]
    rows = choose(100_000, 1_000, rng)
    assert len(np.unique(rows)) == 1_000
    assert (np.diff(rows) > 0).all()
    assert abs(rows.mean() - 50_000) < 3_000


def test_the_principal_plane_is_that_of_the_largest_variance():
    rng = np.random.default_rng(0)
    points = np.zeros((400, 5), np.float32)
    points[:, 3], points[:, 1] = rng.normal(scale=5, size=400), rng.normal(scale=2, size=400)
    plane = principal_plane(points, np.arange(0, 400, 2))
    for column, dimension in ((0, 3), (1, 1)):
        correlation = np.corrcoef(plane[:, column], points[::2, dimension])[0, 1]
        assert abs(correlation) > 0.99
    assert principal_plane(points[:, :1], np.arange(3)).shape == (3, 2)


def test_neighbours_stay_together():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.eye(6, dtype=np.float32) * 20, 25, axis=0)
    points = (clusters + rng.normal(size=clusters.shape)).astype(np.float32)
    plane = neighbour_plane(points, seed=0)
    distances = np.linalg.norm(plane[:, None] - plane, axis=-1) + np.eye(150) * 1e9
    assert (distances.argmin(1) // 25 == np.arange(150) // 25).mean() > 0.95


def test_what_has_no_neighbours_says_so():
    assert isinstance(neighbour_plane(np.ones((500, 3), np.float32), 0), NotMeasured)
    assert isinstance(neighbour_plane(np.eye(20, dtype=np.float32), 0), NotMeasured)
