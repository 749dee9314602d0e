"""Observations gathered from a ring in which each frame is stored once, stacks rebuilt.

A stack of S frames at a step is that step's frame and the S-1 before it, newest last; before an
episode's first frame stands that frame again, or zeros.

Shapes: L slots, E environments, T observations of B sequences, S frames.
"""

import numpy as np
from jaxtyping import Bool, Int, Shaped


def gather_observations(
    frames: Shaped[np.ndarray, " L E *frame"],
    first: Bool[np.ndarray, "L E"],
    slots: Int[np.ndarray, "T B"],
    envs: Int[np.ndarray, " B"],
    *,
    stack: int,
    pad_with_zeros: bool,
) -> Shaped[np.ndarray, "..."]:
    """Copies observations out of the ring.

    Args:
        frames: The ring.
        first: Where a frame is the first of an episode.
        slots: Wanted slots, counted from the beginning of time (slot t lies in row t mod L).
        envs: Environment of each sequence.
        stack: S; 1 gathers the frames as they are, without a stack axis.
        pad_with_zeros: Whether zeros stand before an episode's first frame.

    Returns:
        Observations [T, B, *frame], or [T, B, S, *frame] with a stack.
    """
    length, num_envs = first.shape
    padded = np.zeros(slots.shape, np.bool_)
    if stack > 1:
        ages, paddings = [np.zeros_like(slots)], [padded]
        for age in range(1, stack):
            padded = padded | first[(slots - age + 1) % length, envs]
            ages.append(np.where(padded, ages[-1], age))
            paddings.append(padded)
        slots = slots[..., None] - np.stack(ages[::-1], axis=-1)
        padded = np.stack(paddings[::-1], axis=-1)
        envs = envs[:, None]
    rows = slots % length * num_envs + envs
    out = np.empty((*rows.shape, *frames.shape[2:]), frames.dtype)
    # Without mode="clip", take would gather into a second buffer first.
    np.take(frames.reshape(-1, *frames.shape[2:]), rows, axis=0, out=out, mode="clip")
    if pad_with_zeros:
        out[padded] = 0
    return out
