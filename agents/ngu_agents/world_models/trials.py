"""Which controller plays in which environment, and what each came to.

Shapes: E environments, P candidates, R rollouts, N weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float


class Trials:
    """Whole episodes of candidates, each in the next environment that begins one.

    An environment with nothing left to try plays a spare controller until all is tried.

    Args:
        num_envs: environments E.
        size: weights N of a controller.

    Attributes:
        weights: of the controller that plays in each environment, [E, N].
    """

    def __init__(self, num_envs: int, size: int) -> None:
        self.weights = np.zeros((num_envs, size))
        self._spare = np.zeros(size)
        self._candidates = np.zeros((0, size))
        self._totals = np.zeros((0, 1))
        self._waiting: list[int] = []
        self._trial = np.full(num_envs, -1)
        self._return = np.zeros(num_envs)
        # The episodes in progress were begun by somebody else.
        self._whole = np.zeros(num_envs, dtype=bool)
        self._spare_returns: list[float] = []

    @property
    def finished(self) -> bool:
        """Whether all episodes of all candidates are over."""
        return not np.isnan(self._totals).any()

    @property
    def fitness(self) -> Float[np.ndarray, " P"]:
        """Mean return of each candidate."""
        return self._totals.mean(axis=1)

    def start(
        self,
        candidates: Float[np.ndarray, "P N"],
        rollouts: int,
        spare: Float[np.ndarray, " N"],
    ) -> None:
        """Try others from now on; episodes in progress go on as they are.

        Args:
            candidates: weights of each.
            rollouts: episodes R of each.
            spare: weights of what plays where there is nothing to try.
        """
        self._candidates, self._spare = candidates, spare
        self._totals = np.full((len(candidates), rollouts), np.nan)
        self._waiting = list(range(self._totals.size))

    def begin(self, where: Bool[np.ndarray, " E"]) -> None:
        """Episodes begin; what was tried there and is not over is tried again later."""
        lost = self._trial[where & (self._trial >= 0)]
        self._waiting = sorted([*lost.tolist(), *self._waiting])
        for env in np.flatnonzero(where).tolist():
            self._trial[env] = self._waiting.pop(0) if self._waiting else -1
            candidate = self._trial[env] % max(1, len(self._candidates))
            tried = self._trial[env] >= 0
            self.weights[env] = self._candidates[candidate] if tried else self._spare
        self._return[where] = 0.0
        self._whole |= where

    def observe(self, reward: Float[np.ndarray, " E"], done: Bool[np.ndarray, " E"]) -> None:
        """Take what a step of each environment was paid, and where it ended an episode."""
        self._return += reward
        for env in np.flatnonzero(done).tolist():
            trial, total = int(self._trial[env]), float(self._return[env])
            if trial >= 0:
                rollout, candidate = divmod(trial, len(self._candidates))
                self._totals[candidate, rollout] = total
            elif self._whole[env]:
                self._spare_returns.append(total)
            self._trial[env], self._whole[env] = -1, False

    def take_spare_returns(self) -> list[float]:
        """Returns of the spare controller's whole episodes since the last call."""
        taken, self._spare_returns = self._spare_returns, []
        return taken

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned.

        Raises:
            ValueError: it is of other environments or controllers.
        """
        if state["weights"].shape != self.weights.shape:
            raise ValueError(
                f"controllers must play with weights {list(self.weights.shape)}, "
                f"got {list(state['weights'].shape)}"
            )
        vars(self).update(state)
