"""Which sequences can be drawn from a replay, and how likely each one is.

Source: Schaul et al., "Prioritized Experience Replay", https://arxiv.org/abs/1511.05952, section
3.3 and 3.4 (proportional priorities, importance weights).

Sequences start in all E environments at once; starts are numbered 0, 1, 2, ... for ever, and those
that can be drawn are a range of these numbers that moves up as the ring turns. The sequence of
start n in environment e has the id n E + e, which is never used again.
"""

from typing import Any, NamedTuple

import numpy as np

from ngu_agents.sum_tree import SumTree


class Drawn(NamedTuple):
    """Sequences that were drawn, each array [B]."""

    numbers: np.ndarray
    """Numbers of their starts."""
    envs: np.ndarray
    """Their environments."""
    ids: np.ndarray
    """Their ids."""
    importance_weight: np.ndarray
    """(1 / (N p))^importance_exponent, the largest of the batch scaled to 1."""


class SequenceIndex:
    """The range of starts and the priorities of their sequences.

    Args:
        capacity: The most starts that can be drawn from at once.
        num_envs: E.
        priority_exponent: Sequences are drawn in proportion to priority to this power.
        importance_exponent: Power of the importance weights.
    """

    def __init__(
        self, capacity: int, num_envs: int, *, priority_exponent: float, importance_exponent: float
    ) -> None:
        self.oldest = 0
        """Number of the oldest start that can be drawn."""
        self.end = 0
        """Number that the next start will have."""
        self._capacity = capacity
        self._num_envs = num_envs
        self._priority_exponent = priority_exponent
        self._importance_exponent = importance_exponent
        self._max_priority = 1.0
        self._tree = SumTree(capacity * num_envs)

    def __len__(self) -> int:
        return (self.end - self.oldest) * self._num_envs

    def append(self) -> None:
        """Adds the next start, with the largest priority seen so far."""
        newest = self._max_priority**self._priority_exponent
        self._set_start(self.end, newest)
        self.end += 1

    def drop_oldest(self) -> None:
        """Takes out the oldest start."""
        self._set_start(self.oldest, 0.0)
        self.oldest += 1

    def draw(self, size: int, generator: np.random.Generator) -> Drawn:
        """Draws sequences, with replacement.

        Raises:
            ValueError: If `size` is below 1 or there is nothing to draw.
        """
        leaves = self._tree.sample(size, generator)
        rows, envs = np.divmod(leaves, self._num_envs)
        numbers = self.oldest + (rows - self.oldest) % self._capacity
        probability = self._tree.get(leaves) / self._tree.total
        weight = (len(self) * probability) ** -self._importance_exponent
        return Drawn(
            numbers=numbers,
            envs=envs,
            ids=numbers * self._num_envs + envs,
            importance_weight=(weight / weight.max()).astype(np.float32),
        )

    def update(self, ids: np.ndarray, priorities: np.ndarray) -> None:
        """Sets priorities [B] by ids [B]; sequences that can no longer be drawn are skipped.

        Raises:
            ValueError: If a priority is negative or not finite, the shapes differ, or an id was
                never handed out.
        """
        if ids.shape != priorities.shape:
            raise ValueError(
                f"priorities must have the shape of ids, {ids.shape}, got {priorities.shape}"
            )
        if not (np.isfinite(priorities).all() and (priorities >= 0).all()):
            raise ValueError(f"priorities must be finite and at least 0, got {priorities}")
        numbers, envs = np.divmod(ids, self._num_envs)
        if ids.size and not (ids.min() >= 0 and numbers.max() < self.end):
            raise ValueError(f"ids must come from a sample, got {ids.min()} to {ids.max()}")
        alive = numbers >= self.oldest
        if not alive.any():
            return
        kept = priorities[alive].astype(np.float64)
        leaves = numbers[alive] % self._capacity * self._num_envs + envs[alive]
        self._tree.set(leaves, kept**self._priority_exponent)
        self._max_priority = max(self._max_priority, float(kept.max()))

    def state_dict(self) -> dict[str, Any]:
        """The range and all priorities."""
        return {
            "oldest": self.oldest,
            "end": self.end,
            "max_priority": self._max_priority,
            "leaves": self._tree.leaves,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` returned.

        Raises:
            ValueError: If it is that of an index of another size; nothing is changed then.
        """
        self._tree.load_leaves(state["leaves"])
        self.oldest, self.end = state["oldest"], state["end"]
        self._max_priority = state["max_priority"]

    def _set_start(self, number: int, leaf: float) -> None:
        leaves = number % self._capacity * self._num_envs + np.arange(self._num_envs)
        self._tree.set(leaves, np.full(self._num_envs, leaf))
