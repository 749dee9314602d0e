"""Why a state is paid what it is paid: every number between its neighbours and its reward."""

from __future__ import annotations

from typing import Any, NamedTuple


class Explanation(NamedTuple):
    """How NGU's reward of one state in each environment comes about, E environments, K neighbours.

    Arrays or tensors, as the observations were. In environments that were not asked for, distances
    are infinite, steps -1 and everything else 0.
    """

    step: Any
    """The state's own step, int64 [E]: how many states its memory was given before it. 0 is the one
    that the memory began with; where a memory lasts over several episodes it counts on."""
    neighbours: Any
    """Steps of its nearest neighbours, int64 [E, K], the nearest first; -1 where there is none."""
    squared_distances: Any
    """d^2 to them, float32 [E, K], infinite where there is none."""
    normalised_distances: Any
    """d_n = d^2 / d_m^2, float32 [E, K]; ``cluster_distance`` is not yet subtracted."""
    kernel: Any
    """Their kernel values K, float32 [E, K], from 1, the same, to 0."""
    similarity: Any
    """s = sqrt(sum K) + c, float32 [E]."""
    episodic_novelty: Any
    """1 / s, or 0 above ``max_similarity``, float32 [E]."""
    lifelong_error: Any
    """The error of random network distillation, float32 [E]."""
    lifelong_modulator: Any
    """The factor that it gives, float32 [E]."""
    reward: Any
    """Their product, float32 [E]."""
