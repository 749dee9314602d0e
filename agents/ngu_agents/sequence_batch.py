"""What the replay hands out: arrays, sequences time-major, ready for `torch.from_numpy`.

Shapes: B sequences, T steps (burn-in included), H recurrent units.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped


@dataclass(frozen=True)
class SequenceBatch:
    """Sequences in time order, copied out of the replay: T steps, burn-in included.

    Index t of each array belongs to observation x_t and action a_t; a reward at index t is the
    one that a_t brought.
    """

    action: Shaped[np.ndarray, " T B *action"]
    """a_t."""
    behaviour_probability: Float[np.ndarray, "T B"]
    """The probability with which a_t was taken."""
    reward_ext: Float[np.ndarray, "T B"]
    """Extrinsic reward that a_t brought."""
    reward_int: Float[np.ndarray, "T B"]
    """Intrinsic reward that a_t brought."""
    terminated: Bool[np.ndarray, "T B"]
    """a_t ended the episode for good."""
    truncated: Bool[np.ndarray, "T B"]
    """a_t was the last before a limit."""
    valid: Bool[np.ndarray, "T B"]
    """a_t was a transition, not a reset: False where x_{t+1} does not follow from x_t."""
    observation: Shaped[np.ndarray, " T+1 B *shape"]
    """x_t as the environment gave it, stacks included."""
    first: Bool[np.ndarray, "T+1 B"]
    """x_t is the first of an episode: the recurrent state starts anew."""
    action_tm1: Shaped[np.ndarray, " T+1 B *action"]
    """The action that led to x_t, 0 at first observations."""
    reward_ext_tm1: Float[np.ndarray, "T+1 B"]
    """The extrinsic reward that came with x_t, 0 at first observations."""
    reward_int_tm1: Float[np.ndarray, "T+1 B"]
    """The intrinsic reward that came with x_t, 0 at first observations."""
    policy: Int[np.ndarray, "T+1 B"]
    """The policy that acted on x_t; it may change where an episode begins."""
    recurrent_state: Float[np.ndarray, "2 B H"]
    """State of the recurrent network (h and c) before x_0."""
    ids: Int[np.ndarray, " B"]
    """Names of the sequences, for `update_priorities`."""
    importance_weight: Float[np.ndarray, " B"]
    """Weights that undo the drawing's bias, the largest 1."""
    demonstrated: Bool[np.ndarray, " B"]
    """The sequence is one of a demonstration."""


def joined(parts: Sequence[SequenceBatch]) -> SequenceBatch:
    """The sequences of several batches in one."""
    if len(parts) == 1:
        return parts[0]
    of_sequences = ("ids", "importance_weight", "demonstrated")
    return SequenceBatch(
        **{
            field.name: np.concatenate(
                [getattr(part, field.name) for part in parts],
                axis=0 if field.name in of_sequences else 1,
            )
            for field in fields(SequenceBatch)
        }
    )


class Transitions(NamedTuple):
    """Single steps, in no order; no one of them is a reset."""

    observation_tm1: Shaped[np.ndarray, " B *shape"]
    """x_t-1."""
    action_tm1: Shaped[np.ndarray, " B *action"]
    """a_t-1, taken on it."""
    observation_t: Shaped[np.ndarray, " B *shape"]
    """x_t, which it led to."""
