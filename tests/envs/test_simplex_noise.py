import numpy as np
from opensimplex import OpenSimplex

from ngu_envs.simplex_noise import SimplexNoise


def test_noise_is_that_of_opensimplex():
    generator = np.random.default_rng(0)
    anywhere = generator.uniform(-300, 300, (1500, 3))
    # Many of these lie on the borders of the lattice's cells, where two corners are as close.
    regular = generator.integers(-60, 60, (1500, 3)) / generator.choice([1, 2, 3, 5, 7], (1500, 1))
    points = np.concatenate([anywhere, regular])
    noise = SimplexNoise(points)
    for seed in (0, 2**31 - 2):
        theirs = OpenSimplex(seed)
        expected = [theirs.noise3(*point) for point in points.tolist()]
        np.testing.assert_allclose(noise.values(theirs._perm), expected, rtol=0, atol=1e-12)
