"""Why a state was new: by hand, against all distances, and as it was recorded."""

import numpy as np
import pytest

from ngu.analysis.data import EmbeddingData, Neighbours
from ngu.analysis.report.explain import explain


def of(embeddings, **fields):
    return EmbeddingData(embeddings=np.asarray(embeddings, np.float32), **fields)


def test_neighbours_are_earlier_states_of_the_same_episode():
    data = of(
        [[0.0], [3.0], [1.0], [1.0], [9.0], [8.0]],
        episodes=np.array([7, 7, 7, 7, 2, 2]),
        steps=np.array([0, 1, 2, 3, 0, 1]),
    )
    found = explain(data, np.array([0, 3, 5]), k=2)
    assert found.rows.tolist() == [[-1, -1], [2, 0], [4, -1]]
    assert found.steps.tolist() == [[-1, -1], [2, 0], [0, -1]]
    assert found.squared_distance.tolist() == [[np.inf, np.inf], [0, 1], [1, np.inf]]
    # The mean over the distances that there are is 2/3: d_n = 0, 3/2 and 3/2.
    far = 1e-4 / (1.5 - 0.008 + 1e-4)
    np.testing.assert_allclose(found.kernel, [[0, 0], [1, far], [far, 0]], rtol=1e-5)
    novelty = [np.nan, 1 / (np.sqrt(1 + far) + 1e-3), 1 / (np.sqrt(far) + 1e-3)]
    np.testing.assert_allclose(found.novelty, novelty, rtol=1e-5)


def test_the_nearest_are_those_of_all_distances_far_from_zero_too():
    rng = np.random.default_rng(0)
    data = of(1000 + rng.normal(size=(300, 8)))
    found = explain(data, np.array([40, 150, 299]), k=5)
    exact = data.embeddings.astype(np.float64)
    for i, state in enumerate([40, 150, 299]):
        distances = np.square(exact[:state] - exact[state]).sum(1)
        assert found.rows[i].tolist() == np.argsort(distances)[:5].tolist()
        np.testing.assert_allclose(found.squared_distance[i], np.sort(distances)[:5], rtol=1e-4)


def test_what_was_recorded_is_shown_as_it_is():
    """Also where rows are not all there: step 1 of episode 4 was not drawn."""
    data = of(
        np.zeros((4, 2)),
        episodes=np.array([4, 4, 9, 9]),
        steps=np.array([0, 2, 0, 1]),
        figures={"episodic_novelty": np.array([0, 5, 0, 7], np.float32)},
        neighbours=Neighbours(
            step=np.array([[-1, -1], [1, 0], [-1, -1], [0, -1]]),
            squared_distance=np.array(
                [[np.inf, np.inf], [2, 3], [np.inf, np.inf], [4, np.inf]], np.float32
            ),
            kernel=np.array([[0, 0], [0.5, 0.25], [0, 0], [0.125, 0]], np.float32),
        ),
    )
    found = explain(data, np.array([0, 1, 3]))
    assert found.rows.tolist() == [[-1, -1], [-1, 0], [2, -1]]
    assert found.steps.tolist() == [[-1, -1], [1, 0], [0, -1]]
    assert found.kernel.tolist() == [[0, 0], [0.5, 0.25], [0.125, 0]]
    np.testing.assert_array_equal(found.novelty, [np.nan, 5, 7])


def test_constant_embeddings_are_repeats():
    found = explain(of(np.ones((30, 3))), np.array([29]), k=4)
    assert found.kernel.tolist() == [[1, 1, 1, 1]]
    assert found.novelty[0] == pytest.approx(1 / (2 + 1e-3))
