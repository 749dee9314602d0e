"""How near a decoded picture is to what was coded: PSNR, and MS-SSIM, which looks for structure.

Sources: SSIM, Wang et al. (IEEE Transactions on Image Processing 13, 2004); MS-SSIM, Wang,
Simoncelli and Bovik (Asilomar 2003), whose window (11 x 11, a Gaussian of 1.5 pixels), constants
(.01, .03) and weights of five scales these are. Colours count as pictures of their own, of which
the mean is taken.

Shapes: B pictures of H x W pixels and C colours.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor
from torch.nn import functional

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, from the finest on (Wang et al. 2003, section 3.2)."""
_WINDOW = 11
_SIGMA = 1.5
_CONSTANTS = ((0.01 * 255) ** 2, (0.03 * 255) ** 2)
_SMALLEST = 2 ** (len(WEIGHTS) - 1)


def psnr(
    pictures: UInt8[np.ndarray, "B H W C"], decoded: UInt8[np.ndarray, "B H W C"]
) -> Float64[np.ndarray, " B"]:
    """10 log10(255^2 / mean squared error) of each picture in dB; infinite where they are equal."""
    error = np.square(pictures.astype(np.float64) - decoded).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / error)


def ms_ssim(
    pictures: UInt8[np.ndarray, "B H W C"], decoded: UInt8[np.ndarray, "B H W C"]
) -> Float64[np.ndarray, " B"]:
    """MS-SSIM of each picture, from 0 to 1 for equal ones (equation 7).

    Between scales pictures are halved by means of 2 x 2 pixels. Where a scale has less than 11
    pixels in height or width, the window is cut to it and weighed anew.

    Raises:
        ValueError: a side is too short to be halved four times.
    """
    if min(pictures.shape[1:3]) < _SMALLEST:
        raise ValueError(
            f"pictures must be at least {_SMALLEST} pixels high and wide, got "
            f"{pictures.shape[1]} x {pictures.shape[2]}"
        )
    first, second = (
        torch.from_numpy(np.ascontiguousarray(each)).permute(0, 3, 1, 2).double()
        for each in (pictures, decoded)
    )
    product = torch.ones(first.shape[:2], dtype=torch.float64)
    for scale, weight in enumerate(WEIGHTS):
        luminance, structure = _similarity(first, second)
        if scale == len(WEIGHTS) - 1:
            structure = luminance * structure
        mean = structure.mean(dim=(2, 3)).clamp_min(0)
        product = product * mean**weight
        first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
    return product.mean(1).numpy()


def _similarity(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity of luminance, and of contrast and structure, at each place of the window."""
    mean_1, mean_2 = _blurred(first), _blurred(second)
    variance_1 = _blurred(first.square()) - mean_1.square()
    variance_2 = _blurred(second.square()) - mean_2.square()
    covariance = _blurred(first * second) - mean_1 * mean_2
    small, large = _CONSTANTS
    luminance = (2 * mean_1 * mean_2 + small) / (mean_1.square() + mean_2.square() + small)
    return luminance, (2 * covariance + large) / (variance_1 + variance_2 + large)


def _blurred(pictures: Tensor) -> Tensor:
    """Weighted means over the window, where all of it is within the picture."""
    channels, height, width = pictures.shape[1:]
    for axis, length in ((2, height), (3, width)):
        size = min(_WINDOW, length)
        place = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
        kernel = torch.exp(-place.square() / (2 * _SIGMA**2))
        shape = [1, 1, 1, 1]
        shape[axis] = size
        weight = (kernel / kernel.sum()).view(shape).expand(channels, 1, *shape[2:])
        pictures = functional.conv2d(pictures, weight, groups=channels)
    return pictures
