"""What a latent's dimensions tell, with answers that are known."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from ngu.analysis.latents import (
    Relation,
    SeenPictures,
    dimensions,
    effects,
    image_statistics,
    rank_correlation,
    see,
)
from ngu.world.vae import ConvVAE, VAEConfig, kl_divergence

SHAPE = (16, 16, 3)


@pytest.fixture
def vae():
    return ConvVAE(SHAPE, VAEConfig(latent_dim=4, filters=2))


def some_pictures(count=6, shape=SHAPE):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def silence(vae, dimension):
    """A dimension's posterior is the prior for every picture."""
    with torch.no_grad():
        for row in (dimension, dimension + vae.config.latent_dim):
            vae.moments.weight[row] = 0
            vae.moments.bias[row] = 0


def test_rank_correlation():
    values = np.array([[1.0, 3.0, 7.0], [2.0, 2.0, 7.0], [30.0, 1.0, 7.0], [40.0, 0.0, 7.0]])
    found = rank_correlation(values, np.array([5, 6, 7, 80]))
    np.testing.assert_allclose(found, [1, -1, 0])
    draws = np.random.default_rng(0)
    tied = draws.integers(0, 4, 50)
    values = draws.standard_normal((50, 2)) + tied[:, None] * [0.5, -0.1]
    expected = [spearmanr(column, tied).statistic for column in values.T]
    np.testing.assert_allclose(rank_correlation(values, tied), expected)


def test_pictures_are_seen_as_the_autoencoder_sees_them(vae, monkeypatch):
    monkeypatch.setattr("ngu.analysis.latents._AT_ONCE", 4)
    pictures = some_pictures()
    seen = see(vae, pictures)
    posterior = vae.encode(torch.from_numpy(pictures))
    np.testing.assert_allclose(seen.means, posterior.mean.detach(), atol=1e-6)
    np.testing.assert_allclose(seen.kl, kl_divergence(posterior).mean(0).detach(), rtol=1e-5)


def test_none_are_seen(vae):
    seen = see(vae, some_pictures(0))
    assert seen.means.shape == (0, 4)
    distances, rows = seen.nearest(np.zeros(4, np.float32), 3)
    assert len(distances) == len(rows) == 0
    found = dimensions(vae, seen, {})
    assert {dimension.kl for dimension in found} == {None}
    told = [dimension.effect for dimension in found]
    assert told == sorted(told, reverse=True)


def test_the_nearest():
    means = np.random.default_rng(0).standard_normal((30, 4), dtype=np.float32)
    seen = SeenPictures(some_pictures(30), means, np.zeros(4, np.float32))
    distances, rows = seen.nearest(means[7] + np.float32(0.01), 5)
    exact = np.linalg.norm(means - means[7] - np.float32(0.01), axis=1)
    assert rows.tolist() == np.argsort(exact)[:5].tolist()
    assert rows[0] == 7
    np.testing.assert_allclose(distances, np.sort(exact)[:5], rtol=1e-3)
    assert len(seen.nearest(means[0], 40)[1]) == 30


def test_what_tells_most_comes_first(vae):
    silence(vae, 2)
    pictures = some_pictures(40)
    seen = see(vae, pictures)
    known = {"twin": -(seen.means[:, 1] ** 3), "chance": np.arange(40), "room": np.full(40, 3)}
    found = dimensions(vae, seen, known)
    by_index = {dimension.index: dimension for dimension in found}
    assert [dimension.kl for dimension in found] == pytest.approx(sorted(seen.kl, reverse=True))
    assert found[-1].index == 2
    assert (found[-1].kl, found[-1].active, found[-1].relation) == (pytest.approx(0), False, None)
    assert by_index[1].relation == Relation("twin", pytest.approx(-1))
    assert dimensions(vae, seen, {"room": known["room"]})[0].relation is None


def test_the_effect_of_a_dimension(vae):
    with torch.no_grad():
        vae.decoder.first.weight[:, 3] = 0
    found = effects(vae)
    assert found[3] == 0
    low, high = (vae.decode(x * torch.eye(4)[:1]).numpy().astype(float) for x in (-1, 1))
    assert found[0] == pytest.approx(np.abs(high - low).mean())
    assert found[0] > 0


@pytest.mark.parametrize("axes", [(1, 2, 3), (3, 1, 2)])
def test_statistics_of_pictures_by_hand(axes):
    """Black, but for the right half in pure red; and all white."""
    pictures = np.zeros((2, 16, 20, 3), np.uint8)
    pictures[0, :, 10:, 0] = 255
    pictures[1] = 255
    found = image_statistics(np.ascontiguousarray(pictures.transpose(0, *axes)))
    third = 1 / 3
    expected = {
        "brightness": [third / 2, 1],
        "contrast": [third / 2, 0],
        "brighter on the right": [third, 0],
        "brighter below": [0, 0],
        "red": [third, 0],
        "green": [-third / 2, 0],
        "blue": [-third / 2, 0],
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)
    assert "red" not in image_statistics(pictures[..., 0])
