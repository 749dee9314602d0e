import math

import numpy as np
import pytest

from ngu.analysis.estimate import NotMeasured
from ngu.analysis.latent_information import latent_information


def posteriors(rows, covariance, std, seed=0):
    """Of pictures whose latents' means are Gaussian."""
    normal = np.random.default_rng(seed).normal(size=(rows, len(covariance)))
    means = (normal @ np.linalg.cholesky(covariance).T).astype(np.float32)
    return means, np.full_like(means, std)


def test_divergence_and_active_units_by_hand():
    means = np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32)
    stds = np.array([[0.5, 1.0], [0.5, 1.0]], np.float32)
    got = latent_information(means, stds)
    nats = (1 + 0.25 - math.log(0.25) - 1) / 2
    assert got.divergence_bits.tolist() == pytest.approx([nats / math.log(2), 0])
    assert got.total_divergence_bits.value == pytest.approx(nats / math.log(2))
    assert got.mean_variance.tolist() == [1, 0]
    assert got.active.tolist() == [True, False]


def test_the_split_of_a_gaussian_latent():
    # q(z) is N(0, C + s^2): its three parts are known.
    std, covariance = 0.5, np.array([[0.75, 0.6, 0], [0.6, 0.75, 0], [0, 0, 0.1]])
    aggregate = covariance + std**2 * np.eye(3)
    variance = np.diag(aggregate)
    index = (np.linalg.slogdet(aggregate)[1] - 3 * math.log(std**2)) / 2
    total = -math.log(1 - 0.6**2) / 2
    dimension = ((variance - np.log(variance) - 1) / 2).sum()
    split = latent_information(*posteriors(20_000, covariance, std, seed=1)).split
    for estimate, nats in (
        (split.index_code_bits, index),
        (split.total_correlation_bits, total),
        (split.dimension_bits, dimension),
        (split.divergence_bits, index + total + dimension),
    ):
        assert estimate.value == pytest.approx(nats / math.log(2), abs=0.1)
        assert estimate.low < nats / math.log(2) < estimate.high
    assert split.components == 5_000


def test_the_parts_add_up_to_the_divergence():
    generator = np.random.default_rng(0)
    means = generator.normal(size=(300, 7)).astype(np.float32)
    stds = generator.uniform(0.05, 2, size=(300, 7)).astype(np.float32)
    got = latent_information(means, stds)
    split = got.split
    parts = (split.index_code_bits, split.total_correlation_bits, split.dimension_bits)
    assert sum(part.value for part in parts) == pytest.approx(split.divergence_bits.value)
    assert split.divergence_bits.value == pytest.approx(got.total_divergence_bits.value, abs=0.6)


def test_posteriors_apart_from_each_other_are_not_split():
    # They tell of 64 pictures which it is, all 6 bits; what they would of more is not known.
    means = np.arange(64, dtype=np.float32)[:, None]
    split = latent_information(means, np.full_like(means, 1e-3)).split
    assert isinstance(split.index_code_bits, NotMeasured)
    assert split.index_code_bits == split.total_correlation_bits
    assert split.index_code_bits.reason.endswith(
        "64 of them can tell up to 6.0 bits of which picture it is, and it is 6.0"
    )


def test_nothing_is_invented():
    got = latent_information(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
    assert got.split == NotMeasured("there is only one picture")
    assert got.active.tolist() == [False, False]


@pytest.mark.parametrize(
    ("means", "stds", "message"),
    [
        (np.ones((0, 2)), np.ones((0, 2)), "at least one picture"),
        (np.ones((3, 2)), np.zeros((3, 2)), "stds must be above 0, the least is 0.0"),
    ],
)
def test_what_are_no_posteriors(means, stds, message):
    with pytest.raises(ValueError, match=message):
        latent_information(means, stds)
