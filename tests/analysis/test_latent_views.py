"""What is shown for a latent: the pictures that the autoencoder decodes, in the sliders' order."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from ngu.analysis.latent_views import LatentViews
from ngu.analysis.latents import dimensions, see
from ngu.world.vae import ConvVAE, VAEConfig


@pytest.fixture(params=[(16, 16, 3), (1, 17, 16), (16, 16)])
def vae(request):
    return ConvVAE(request.param, VAEConfig(latent_dim=3, filters=2))


@pytest.fixture
def pictures(vae):
    draws = np.random.default_rng(0)
    return draws.integers(0, 256, (20, *vae.observation_shape), dtype=np.uint8)


@pytest.fixture
def views(vae, pictures):
    seen = see(vae, pictures)
    found = dimensions(vae, seen, {})
    return LatentViews(vae, seen, found, generator=np.random.default_rng(1))


def shown(source):
    """The picture in a data URL, or in HTML that holds one."""
    encoded = re.search(r"data:image/png;base64,([^\"]+)", source)[1]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        return np.array(image)


def coloured(picture):
    """A picture of one channel, wherever it is, or of three, as it is shown."""
    if picture.ndim == 3 and picture.shape[2] == 3:
        return picture
    return np.repeat(picture.reshape(*picture.shape[-2:], 1), 3, axis=2)


@torch.no_grad()
def decoded(vae, latent):
    return coloured(vae.decode(torch.from_numpy(latent[None]))[0].numpy())


def test_values_are_those_of_the_sliders(vae, views):
    order = [dimension.index for dimension in views.dimensions]
    latent = np.zeros(3, np.float32)
    latent[order] = values = [0.5, -1.0, 2.0]
    np.testing.assert_array_equal(shown(views.picture(*values)), decoded(vae, latent))
    strip = views.strip(1, *values)
    assert [tile["caption"] for tile in strip][::5] == ["-3.0", "0", "+3.0"]
    for tile, step in ((strip[0], -3.0), (strip[5], 0.0), (strip[10], 3.0)):
        latent[order[1]] = step
        np.testing.assert_array_equal(shown(tile["picture"]), decoded(vae, latent))


def test_a_recorded_picture_is_its_own_nearest(views, pictures):
    values = views.of_frames(4, 4, 0.0)
    _, nearest, rows = views.around(0, *values)
    assert rows[0] == 4
    assert len(rows) == 12
    assert [tile["title"] for tile in nearest] == [f"frame {row}" for row in rows]
    distances = [float(tile["caption"]) for tile in nearest]
    assert distances[0] < 0.02  # sliders have two digits
    assert distances == sorted(distances)
    np.testing.assert_array_equal(shown(nearest[0]["picture"]), coloured(pictures[4]))
    np.testing.assert_array_equal(shown(views.beginning(4)), coloured(pictures[4]))


def test_from_one_picture_to_another(vae, views, pictures):
    means = vae.encode(torch.from_numpy(pictures)).mean.detach().numpy()
    order = [dimension.index for dimension in views.dimensions]
    for share in (0.0, 0.3, 1.0):
        expected = (1 - share) * means[2] + share * means[9]
        np.testing.assert_allclose(views.of_frames(2, 9, share), expected[order], atol=0.0051)


def test_all_pictures_lie_within_the_sliders(vae, pictures):
    seen = see(vae, pictures)
    seen.means[3, 1] = -4.2
    found = dimensions(vae, seen, {})
    assert LatentViews(vae, seen, found, generator=np.random.default_rng(0)).limit == 5


def test_what_is_offered(views):
    rows = views.offered()
    assert rows == sorted(set(rows))
    assert len(rows) == 12
    assert rows != views.offered()
    marked = [tile["caption"] for tile in views.sheet(rows, rows[3]) if tile["mark"] == "chosen"]
    assert marked == [str(rows[3])]


def test_draws_of_the_prior(views):
    drawn = np.array([views.of_prior() for _ in range(2000)])
    np.testing.assert_allclose(drawn.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(drawn.std(0), 1, atol=0.1)


def test_without_recorded_pictures(vae):
    seen = see(vae, np.empty((0, *vae.observation_shape), np.uint8))
    found = dimensions(vae, seen, {})
    views = LatentViews(vae, seen, found, generator=np.random.default_rng(0))
    strip, nearest, rows = views.around(0, *views.of_prior())
    assert (len(strip), nearest, rows, views.offered()) == (11, [], [], [])
    assert "no frame" in views.beginning(None)
