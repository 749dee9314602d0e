"""Whitening: distances that count each direction of an embedding by how far states lie apart in it.

Source: Mahalanobis, "On the generalised distance in statistics" (1936); the factorisation is the
pivoted one of a positive semi-definite matrix, Golub and Van Loan, Matrix Computations, section
4.2.8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ngu.novelty.memory import EpisodicMemory

LEAST_SHARE = 0.01
"""Least share of a dimension's variance by which what the others do not tell of it is divided."""
SAMPLES_PER_DIMENSION = 10
"""Embeddings, for each of their dimensions, before which they are compared as they are."""

# A standard deviation below this share of the mean is float32's rounding.
_ROUNDING = 1e-6
# So is a share of the variance that the dimensions taken before leave unexplained.
_EXPLAINED = 1e-6


class RunningCovariance:
    """Mean and covariance of all embeddings seen, in float64; beyond a window old ones fade.

    Args:
        dim: Width of an embedding, D.
        device: Where it is kept.
        window: Embeddings that it remembers, as in `RunningMoments`.

    Attributes:
        total: Embeddings seen, those that have faded included.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu", window: int = 100_000) -> None:
        if dim < 1 or window < 1:
            raise ValueError(f"dim and window must be at least 1, got {dim} and {window}")
        self.total = 0
        self.window = window
        self._count = 0
        self._mean = torch.zeros(dim, dtype=torch.float64, device=device)
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    @property
    def mean(self) -> Float64[Tensor, " D"]:
        """Mean; 0 before the first embedding."""
        return self._mean

    @property
    def covariance(self) -> Float64[Tensor, "D D"]:
        """Covariance, divided by the count; 0 before the second embedding."""
        return self._scatter / max(self._count, 1)

    @torch.no_grad()
    def update(self, embeddings: Float[Tensor, "batch D"]) -> None:
        """Take embeddings [B, D] in, one or more."""
        values = embeddings.double()
        batch = values.shape[0]
        if self._count > self.window:
            self._scatter *= self.window / self._count
            self._count = self.window
        mean = values.mean(0)
        deviations, delta = values - mean, mean - self._mean
        count = self._count + batch
        self._scatter += deviations.T @ deviations
        self._scatter += delta.outer(delta) * (self._count * batch / count)
        self._mean += delta * (batch / count)
        self._count = count
        self.total += batch

    def state_dict(self) -> dict[str, Any]:
        """Return counts, mean and sum of the deviations' outer products."""
        return {
            "total": self.total,
            "count": self._count,
            "mean": self._mean.clone(),
            "scatter": self._scatter.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned.

        Raises:
            ValueError: The state is of another width.
        """
        if state["mean"].shape != self._mean.shape:
            raise ValueError(
                f"state must hold the covariance of {len(self._mean)} dimensions, "
                f"got that of {len(state['mean'])}"
            )
        self.total, self._count = int(state["total"]), int(state["count"])
        self._mean.copy_(state["mean"])
        self._scatter.copy_(state["scatter"])


def whitening_matrix(
    covariance: Float64[Tensor, "D D"], mean: Float64[Tensor, " D"]
) -> Float64[Tensor, "D D"]:
    """Return the invertible W for which |W (x - y)| is the regularised Mahalanobis distance.

    Each dimension is divided by its standard deviation. Then, beginning with the one of which most
    is still unexplained, the linear prediction from those taken before is subtracted from each, and
    what is left is divided by its own standard deviation, or by sqrt(`LEAST_SHARE`) where that is
    larger. Without that bound, W' W is the covariance's inverse, whatever the order.

    What follows: a copy of a dimension, in any unit, is explained by it and adds nothing, and so do
    sums of dimensions. So does a dimension that has not moved so far; should it move, it counts in
    the unit of the dimension that varies most. Nothing is dropped, so that nothing new is missed. A
    shrinkage of the covariance towards the identity would count copies twice.

    Args:
        covariance: Of the embeddings.
        mean: Their mean, against which rounding is told from variation.

    Returns:
        W, on the covariance's device.
    """
    matrix, std = covariance.cpu().numpy(), covariance.diagonal().cpu().sqrt().numpy()
    moves = std > _ROUNDING * np.abs(mean.cpu().numpy())
    scale = np.where(moves, std, std.max() if moves.any() else 1.0)
    rest = np.where(np.outer(moves, moves), matrix / np.outer(scale, scale), 0.0)
    unexplained = moves.astype(np.float64)
    functionals = np.eye(len(std))
    waiting = np.ones(len(std), dtype=bool)
    for _ in range(len(std)):
        taken = int(np.where(waiting, unexplained, -np.inf).argmax())
        if unexplained[taken] <= _EXPLAINED:
            break
        waiting[taken] = False
        weights = np.where(waiting, rest[:, taken] / rest[taken, taken], 0.0)
        rest -= np.outer(weights, rest[taken])
        functionals -= np.outer(weights, functionals[taken])
        unexplained = np.where(waiting, rest.diagonal(), unexplained)
    functionals /= np.sqrt(np.maximum(unexplained, LEAST_SHARE))[:, None]
    return torch.from_numpy(functionals / scale).to(covariance.device)


class Whitening:
    """Maps the embeddings of a memory to where Euclidean distance is the Mahalanobis distance.

        whitening, memory = Whitening(dim), EpisodicMemory(num_envs, dim)
        whitening.observe(embeddings, memory)
        whitened = whitening(embeddings)
        distances = memory.nearest(whitened)
        memory.add(whitened)

    The map is measured anew whenever twice as many embeddings have been seen, and once a window
    from then on; the memory's entries are converted with it, so that a memory always holds one
    map's. Before `SAMPLES_PER_DIMENSION` x D embeddings it leaves them as they are.

    Args:
        dim: Width of an embedding, D.
        device: Where it computes.
        window: Embeddings over which the covariance moves.

    Attributes:
        covariance: The `RunningCovariance` of what was observed.
    """

    def __init__(self, dim: int, device: torch.device | str = "cpu", window: int = 100_000) -> None:
        self.covariance = RunningCovariance(dim, device, window)
        self._least = SAMPLES_PER_DIMENSION * dim
        self._measured_at = 0
        self._center = torch.zeros_like(self.covariance.mean)
        self._matrix = torch.eye(dim).to(self._center)

    def __call__(self, embeddings: Float[Tensor, "batch D"]) -> Float[Tensor, "batch D"]:
        """Return embeddings [B, D] whitened, float32."""
        return ((embeddings.double() - self._center) @ self._matrix.T).float()

    @property
    def known(self) -> bool:
        """Whether enough embeddings have been seen to measure a map."""
        return self.covariance.total >= self._least

    def observe(self, embeddings: Float[Tensor, "batch D"], memory: EpisodicMemory) -> bool:
        """Take embeddings into the covariance, and measure the map anew where it is time.

        Args:
            embeddings: [B, D], one or more, as the network gives them.
            memory: What holds whitened embeddings, which are converted.

        Returns:
            Whether this is the first map: distances from before are in another unit.
        """
        before = self.known
        self.covariance.update(embeddings)
        period = min(max(self._measured_at, self._least), self.covariance.window)
        if self.known and self.covariance.total - self._measured_at >= period:
            self.measure(memory)
        return self.known and not before

    def measure(self, memory: EpisodicMemory) -> None:
        """Measure the map from the covariance, and convert the memory's entries."""
        if self.known:
            center = self.covariance.mean.clone()
            matrix = whitening_matrix(self.covariance.covariance, center)
        else:
            center = torch.zeros_like(self._center)
            matrix = torch.eye(len(center)).to(center)
        change = torch.linalg.solve(self._matrix, matrix, left=False)
        offset = matrix @ (self._center - center)
        memory.convert(lambda entries: (entries.double() @ change.T + offset).float())
        self._center, self._matrix = center, matrix
        self._measured_at = self.covariance.total if self.known else 0

    def state_dict(self) -> dict[str, Any]:
        """Return the map; the covariance is kept on its own."""
        return {
            "measured_at": self._measured_at,
            "center": self._center.clone(),
            "matrix": self._matrix.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned.

        Raises:
            ValueError: The state is of another width.
        """
        if state["center"].shape != self._center.shape:
            raise ValueError(
                f"state must hold the map of {len(self._center)} dimensions, "
                f"got that of {len(state['center'])}"
            )
        self._measured_at = int(state["measured_at"])
        self._center, self._matrix = (state[name].to(self._center) for name in ("center", "matrix"))
