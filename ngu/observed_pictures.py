"""Observations as pictures for people."""

from __future__ import annotations

import gymnasium
import numpy as np
from jaxtyping import UInt8

from ngu.spaces import ObservationSpec


def picture_of(
    observation: np.ndarray, space: gymnasium.spaces.Box
) -> UInt8[np.ndarray, "height width 3"]:
    """An observation with three axes, its largest value white; other than 3 channels as the last.

    Args:
        observation: of one environment.
        space: its space.
    """
    scale = 255 / float(space.high.max())
    if ObservationSpec(space).channel_axis == 2:
        observation = observation.transpose(2, 0, 1)
    channels = observation if len(observation) == 3 else observation[[-1] * 3]
    return np.rint(channels.transpose(1, 2, 0) * scale).astype(np.uint8)
