import math

import numpy as np
import pytest

from ngu.analysis.picture_quality import WEIGHTS, ms_ssim, psnr


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_psnr_by_hand():
    pictures = np.zeros((2, 16, 16, 1), np.uint8)
    decoded = pictures.copy()
    decoded[1] = 5
    assert psnr(pictures, decoded).tolist() == [
        math.inf,
        pytest.approx(10 * math.log10(255**2 / 25)),
    ]


def test_equal_pictures_are_alike_and_others_less_the_more_they_differ():
    pictures = noise((1, 96, 80, 3))
    assert ms_ssim(pictures, pictures).tolist() == [pytest.approx(1)]
    found = []
    for amount in (5, 20, 80):
        other = np.clip(
            pictures + np.random.default_rng(1).normal(0, amount, pictures.shape), 0, 255
        )
        found.append(ms_ssim(pictures, other.astype(np.uint8))[0])
    assert found == sorted(found, reverse=True)
    assert 0 < found[2] < found[0] < 1


def test_flat_pictures_by_hand():
    # Nothing but luminance differs, which counts at the coarsest scale only.
    pictures, decoded = (
        np.full((1, 64, 64, 1), 100, np.uint8),
        np.full((1, 64, 64, 1), 50, np.uint8),
    )
    constant = (0.01 * 255) ** 2
    luminance = (2 * 100 * 50 + constant) / (100**2 + 50**2 + constant)
    assert ms_ssim(pictures, decoded)[0] == pytest.approx(luminance ** WEIGHTS[-1], rel=1e-6)


def test_equals_a_plain_reference():
    first, second = noise((1, 48, 32, 1)), noise((1, 48, 32, 1), seed=1)
    second = (0.7 * first + 0.3 * second).astype(np.uint8)
    assert ms_ssim(first, second)[0] == pytest.approx(
        reference(first[0, :, :, 0], second[0, :, :, 0])
    )


def reference(first, second):
    """MS-SSIM of two grey pictures, window by window."""
    first, second = first.astype(float), second.astype(float)
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        sizes = [min(11, side) for side in first.shape]
        bells = [np.exp(-((np.arange(n) - (n - 1) / 2) ** 2) / 4.5) for n in sizes]
        window = np.outer(*bells) / np.outer(*bells).sum()
        terms = []
        for row, column in np.ndindex(
            *(s - n + 1 for s, n in zip(first.shape, sizes, strict=True))
        ):
            at = np.s_[row : row + sizes[0], column : column + sizes[1]]
            x, y = first[at], second[at]
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            var_x = (window * (x - mean_x) ** 2).sum()
            var_y = (window * (y - mean_y) ** 2).sum()
            both = (window * (x - mean_x) * (y - mean_y)).sum()
            term = (2 * both + 58.5225) / (var_x + var_y + 58.5225)
            if scale == 4:
                term *= (2 * mean_x * mean_y + 6.5025) / (mean_x**2 + mean_y**2 + 6.5025)
            terms.append(term)
        product *= max(np.mean(terms), 0) ** weight
        rows, columns = (side // 2 for side in first.shape)
        first = first[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean((1, 3))
        second = second[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean((1, 3))
    return product


def test_small_pictures_get_a_sentence():
    with pytest.raises(ValueError, match="at least 16 pixels high and wide, got 12 x 40"):
        ms_ssim(noise((1, 12, 40, 3)), noise((1, 12, 40, 3)))
