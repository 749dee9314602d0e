"""What scores and steps count as: levels, and slices once time has been seen to run out.

In levels, what is kept for the best trade of score against steps stays few (Laumanns et al.,
"Combining convergence and diversity in evolutionary multiobjective optimization", 2002, section 4).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

# So many slices of time.
_SLICES = 8
# So many levels of score up to the highest, or up to twice as many; and while time does not count.
_LEVELS, _LEVELS_WITHOUT_TIME = 32, 64
_ENDLESS = 1 << 62


class Reached(NamedTuple):
    """A state, and the way there."""

    score: float
    """Sum of rewards on the way."""
    length: int
    """Steps on the way."""
    node: int
    """Of the trajectory."""

    def improves(self, other: Reached | None) -> bool:
        """Whether its score is higher, or equal and its way shorter; any improves on none."""
        return other is None or (self.score, -self.length) > (other.score, -other.length)


class Clock:
    """Time and the scores reached in it; until time runs out all is in one slice.

    Attributes:
        highest: score so far.
        level_width: of a level of score; 0 while nothing was gained, and each score is a level.
    """

    def __init__(self) -> None:
        self.highest = -math.inf
        self._slice_steps = _ENDLESS
        self.level_width = 0.0

    @property
    def counts(self) -> bool:
        """Whether time has been seen to run out."""
        return self._slice_steps < _ENDLESS

    def ran_out(self, length: int) -> None:
        """Take note that an episode ended after so many steps for want of time."""
        self._slice_steps = -(-length // _SLICES)
        self._divide()

    def reached(self, score: float) -> bool:
        """Take note of a score; whether the levels have changed by it."""
        self.highest = max(self.highest, score)
        if self.highest < max(2 * self._levels * self.level_width, math.ulp(0.0)):
            return False
        self._divide()
        return True

    @property
    def _levels(self) -> int:
        return _LEVELS if self.counts else _LEVELS_WITHOUT_TIME

    def _divide(self) -> None:
        if self.highest > 0:
            # By powers of two: wider levels are whole ones of before put together.
            self.level_width = 2.0 ** math.floor(math.log2(self.highest / self._levels))

    def level(self, scores: Any) -> Any:
        """The levels that scores lie in; small losses count as nothing, as small gains do."""
        return np.trunc(scores / self.level_width) if self.level_width else scores

    def improves(self, one: Reached, other: Reached | None) -> bool:
        """Whether a cell's state is the better one.

        While time does not count as :meth:`Reached.improves` says; then of a higher level, in fewer
        steps, or with a higher score, in this order.
        """
        if other is None or not self.counts:
            return one.improves(other)
        worth, before = (
            (self.level(state.score), -state.length, state.score) for state in (one, other)
        )
        return bool(worth > before)

    def slice_of(self, lengths: Any) -> Any:
        """The slices of time that steps lie in; 0 while time does not count."""
        return lengths // self._slice_steps

    def slices_left(self, lengths: np.ndarray) -> np.ndarray:
        """Slices of time from these steps on, 1 at least; as many for all while none counts."""
        return np.maximum(_SLICES - self.slice_of(lengths), 1)

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        return {
            "highest": self.highest,
            "slice_steps": self._slice_steps,
            "level_width": self.level_width,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.highest = state["highest"]
        self._slice_steps = state["slice_steps"]
        self.level_width = state["level_width"]
