"""Running mean and standard deviation of everything seen, or of what was seen lately, in float64.

Batches are merged with the update of Chan, Golub and LeVeque (1979), which does not cancel as the
difference of two sums of squares would.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

# 256 squares of bytes sum to at most 256 * 255^2 < 2^24: exact in float32.
_EXACT_ROWS = 256
# Numbers that a processor's cache holds together with what is made of them.
_CACHED = 2**18


class RunningMoments:
    """Count, mean and standard deviation of all values seen, for each element of a shape.

    The sums of a batch of bytes are exact, so that its order does not change a bit of the result;
    the sums of other values are taken in float64.

    Args:
        shape: Shape of one value.
        device: Where the moments are kept.
        window: Values that the moments remember: from then on what was seen before counts as this
            many values whenever a batch is merged, so that old values fade exponentially. None
            lets all values count the same.
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        device: torch.device | str = "cpu",
        window: int | None = None,
    ) -> None:
        if window is not None and window < 1:
            raise ValueError(f"window must be at least 1, got {window}")
        self.count = 0
        self.window = window
        self._mean = torch.zeros(shape, dtype=torch.float64, device=device)
        self._squares = torch.zeros(shape, dtype=torch.float64, device=device)

    @property
    def mean(self) -> Float64[Tensor, "*shape"]:
        """Mean of all values; 0 before the first."""
        return self._mean

    @property
    def std(self) -> Float64[Tensor, "*shape"]:
        """Standard deviation of all values, divided by the count; 0 before the second."""
        return (self._squares / max(self.count, 1)).sqrt_()

    @torch.no_grad()
    def update(self, values: Shaped[Tensor, "batch *shape"]) -> None:
        """Take a batch of values in; an empty batch changes nothing.

        Args:
            values: [B, *shape], numbers of any type, on the moments' device.

        Raises:
            ValueError: The values have another shape.
        """
        if tuple(values.shape[1:]) != tuple(self._mean.shape):
            raise ValueError(
                f"values must have shape [B, {', '.join(map(str, self._mean.shape))}], "
                f"got {list(values.shape)}"
            )
        if values.dtype == torch.uint8:
            for part in values.split(_EXACT_ROWS):
                self._merge(part.shape[0], *_exact_sums(part))
        elif values.shape[0]:
            values = values.double()
            batch = values.shape[0]
            total = values.sum(0)
            self._merge_deviations(batch, total / batch, (values - total / batch).square().sum(0))

    def copy_(self, other: "RunningMoments") -> None:
        """Become what another one is, the window aside; values are copied, nothing is shared."""
        self.count = other.count
        self._mean.copy_(other._mean)
        self._squares.copy_(other._squares)

    def state_dict(self) -> dict[str, Any]:
        """Return count, mean and sum of squared deviations."""
        return {
            "count": self.count,
            "mean": self._mean.clone(),
            "squares": self._squares.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned.

        Raises:
            ValueError: The state has another shape.
        """
        if state["mean"].shape != self._mean.shape:
            raise ValueError(
                f"state must hold moments of shape {list(self._mean.shape)}, "
                f"got {list(state['mean'].shape)}"
            )
        self.count = int(state["count"])
        self._mean.copy_(state["mean"])
        self._squares.copy_(state["squares"])

    def _merge(self, batch: int, total: Tensor, squares: Tensor) -> None:
        if batch:
            mean = total / batch
            self._merge_deviations(batch, mean, squares.addcmul_(mean, total, value=-1.0))

    def _merge_deviations(self, batch: int, mean: Tensor, squares: Tensor) -> None:
        if self.window is not None and self.count > self.window:
            self._squares.mul_(self.window / self.count)
            self.count = self.window
        count = self.count + batch
        delta = mean.sub_(self._mean)
        self._squares.add_(squares).addcmul_(delta, delta, value=self.count * batch / count)
        self._mean.add_(delta, alpha=batch / count)
        self.count = count


def in_cache(values: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """A batch in parts of a few rows, as float32, to be worked on in place one after the other.

    All parts share one place, so that it stays in the processor's cache; a part is to be done with
    before the next one is asked for. An accelerator gets all in one part.

    Args:
        values: [B, *shape] of any type.

    Yields:
        Which rows, and a copy of them.
    """
    batch = values.shape[0]
    rows = max(1, _CACHED // max(1, math.prod(values.shape[1:])))
    if values.device.type != "cpu":
        rows = max(1, batch)
    place = torch.empty((min(rows, batch), *values.shape[1:]), device=values.device)
    for first in range(0, batch, rows):
        part = slice(first, min(first + rows, batch))
        yield part, place[: part.stop - first].copy_(values[part])


def _exact_sums(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of bytes and of their squares over at most 256 rows, float64."""
    total, squares = torch.zeros(2, *values.shape[1:], device=values.device)
    for _, part in in_cache(values):
        total += part.sum(0)
        squares += part.mul_(part).sum(0)
    return total.double(), squares.double()
