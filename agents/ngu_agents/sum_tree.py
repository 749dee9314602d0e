"""A sum tree: draws indices in proportion to their priorities in logarithmic time.

Source: Schaul et al., "Prioritized Experience Replay", https://arxiv.org/abs/1511.05952,
appendix B.2.1.
"""

import numpy as np
from jaxtyping import Float, Int


class SumTree:
    """Priorities [capacity] under a binary tree of their sums, in float64.

    Every inner node is computed anew from its two children whenever one of them changes, so
    rounding never piles up, and the leaves alone determine the whole tree, bit for bit.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self._depth = (capacity - 1).bit_length()
        # Node 1 is the root, 2i and 2i+1 are the children of i, leaf j is node `_first` + j.
        self._first = 1 << self._depth
        self._nodes = np.zeros(2 * self._first, dtype=np.float64)

    @property
    def total(self) -> float:
        """Sum of all priorities."""
        return float(self._nodes[1])

    @property
    def leaves(self) -> Float[np.ndarray, " capacity"]:
        """A copy of all priorities."""
        return self._nodes[self._first : self._first + self.capacity].copy()

    def get(self, indices: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Priorities at `indices`.

        Raises:
            IndexError: If an index lies outside the tree.
        """
        self._check_indices(indices)
        return self._nodes[self._first + indices]

    def set(self, indices: Int[np.ndarray, " B"], priorities: Float[np.ndarray, " B"]) -> None:
        """Sets priorities; of an index given twice the last one holds.

        Raises:
            IndexError: If an index lies outside the tree.
            ValueError: If a priority is negative or not finite.
        """
        self._check_indices(indices)
        if not (np.isfinite(priorities).all() and (priorities >= 0).all()):
            raise ValueError("priorities must be finite and at least 0")
        nodes = self._first + indices
        self._nodes[nodes] = priorities
        for _ in range(self._depth):
            nodes = nodes >> 1
            left = nodes << 1
            self._nodes[nodes] = self._nodes[left] + self._nodes[left + 1]

    def sample(self, size: int, generator: np.random.Generator) -> Int[np.ndarray, " B"]:
        """Draws one index from each of `size` equal shares of the total (stratified).

        Args:
            size: How many indices to draw, with replacement.
            generator: Where the random numbers come from.

        Returns:
            Indices in rising order; one of priority 0 is never drawn.

        Raises:
            ValueError: If `size` is below 1 or all priorities are 0.
        """
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        if self.total <= 0:
            raise ValueError("nothing can be drawn: all priorities are 0")
        mass = (np.arange(size) + generator.random(size)) * (self.total / size)
        nodes = np.ones(size, dtype=np.int64)
        for _ in range(self._depth):
            left = nodes << 1
            left_sum = self._nodes[left]
            # Rounding may push the mass past the last positive leaf; an empty branch is closed.
            right = (mass >= left_sum) & (self._nodes[left + 1] > 0)
            mass = np.where(right, mass - left_sum, mass)
            nodes = left + right
        return nodes - self._first

    def load_leaves(self, leaves: Float[np.ndarray, "..."]) -> None:
        """Replaces all priorities by those of another tree's `leaves`.

        Raises:
            ValueError: If the shape is not [capacity] or a priority is negative or not finite.
        """
        if leaves.shape != (self.capacity,):
            raise ValueError(f"leaves must have shape ({self.capacity},), got {leaves.shape}")
        self.set(np.arange(self.capacity), leaves)

    def _check_indices(self, indices: np.ndarray) -> None:
        if indices.size and not (indices.min() >= 0 and indices.max() < self.capacity):
            raise IndexError(
                f"indices must lie in [0, {self.capacity}), got {indices.min()} to {indices.max()}"
            )
