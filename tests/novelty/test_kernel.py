import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ngu import episodic_novelty, lifelong_modulator

ATARI = {"epsilon": 1e-4, "cluster_distance": 0.008, "pseudo_count": 0.001, "max_similarity": 8.0}


def test_two_neighbours_by_hand():
    # d_n = max(2 / 2 - .5, 0) = .5 and max(.5 / 2 - .5, 0) = 0; K = .5 / 1 and 1;
    # s = sqrt(1.5) + 1.
    got = episodic_novelty(
        torch.tensor([[0.5, 2.0, torch.inf]]),
        2.0,
        epsilon=0.5,
        cluster_distance=0.5,
        pseudo_count=1.0,
        max_similarity=8.0,
    )
    assert got.tolist() == pytest.approx([1 / (math.sqrt(1.5) + 1)])


def test_scale_of_the_paper():
    # Ten neighbours at the mean distance, eps 1e-4: about 31; at no distance: 1 / (sqrt 10 + c).
    far = episodic_novelty(torch.full((10,), 3.0), 3.0, **ATARI)
    assert float(far) == pytest.approx(1 / (math.sqrt(10 * 1e-4 / (0.992 + 1e-4)) + 0.001))
    assert 30 < float(far) < 32
    same = episodic_novelty(torch.zeros(10), 3.0, **ATARI)
    assert float(same) == pytest.approx(1 / (math.sqrt(10) + 0.001))


def test_no_neighbour_is_worth_the_inverse_pseudo_count():
    got = episodic_novelty(torch.full((2, 10), torch.inf), 1.0, **ATARI)
    assert got.tolist() == pytest.approx([1000.0, 1000.0])


def test_mean_of_zero():
    distances = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, torch.inf]])
    got = episodic_novelty(distances, 0.0, **ATARI)
    assert got.tolist() == pytest.approx([1 / (math.sqrt(2) + 0.001), 1 / 1.001, 1 / 1.001])


def test_too_similar_earns_nothing():
    kernel = {**ATARI, "max_similarity": 2.0}
    got = episodic_novelty(torch.tensor([[0.0] * 4, [0.0] * 3 + [torch.inf]]), 1.0, **kernel)
    assert got.tolist() == pytest.approx([0.0, 1 / (math.sqrt(3) + 0.001)])


@given(
    st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=12),
    st.floats(1e-3, 1e3),
    st.floats(1e-4, 1e-1),
)
def test_equals_the_reference(reference, distances, mean, epsilon):
    kernel = {**ATARI, "epsilon": epsilon}
    got = episodic_novelty(torch.tensor(sorted(distances), dtype=torch.float64), mean, **kernel)
    assert float(got) == pytest.approx(reference.novelty(distances, mean, **kernel), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaling_all_distances_changes_nothing(scale):
    distances = torch.rand((5, 10), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        episodic_novelty(distances * scale, distances.mean() * scale, **ATARI),
        episodic_novelty(distances, distances.mean(), **ATARI),
        rtol=1e-5,
        atol=0,
    )


def test_modulator_by_hand():
    error = torch.tensor([0.0, 2.0, 3.0, 5.0, 100.0])
    got = lifelong_modulator(error, 2.0, 1.5, maximum=5.0)
    assert got.tolist() == pytest.approx([1.0, 1.0, 1 + 1 / 1.5, 3.0, 5.0])
    mean, std = torch.tensor(2.0, dtype=torch.float64), torch.tensor(1.5, dtype=torch.float64)
    as_tensors = lifelong_modulator(error, mean, std, maximum=5.0)
    assert as_tensors.dtype == torch.float32
    assert as_tensors.tolist() == pytest.approx(got.tolist())


def test_modulator_without_a_deviation_is_one():
    got = lifelong_modulator(torch.tensor([2.0, 7.0]), 2.0, 0.0, maximum=5.0)
    assert got.tolist() == [1.0, 1.0]
