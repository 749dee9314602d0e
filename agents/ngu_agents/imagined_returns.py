"""What imagined trajectories are worth: lambda-returns, and the range that their advantages use.

Source: Hafner et al., DreamerV3 (arXiv 2301.04104), sections "Critic learning" and "Actor
learning". Shapes: H steps, N trajectories.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def lambda_returns(
    reward: Float[Tensor, "H N"],
    discount: Float[Tensor, "H N"],
    value: Float[Tensor, "H+1 N"],
    trace_decay: float,
) -> Float[Tensor, "H N"]:
    """Return R_t = r_t+1 + d_t+1 ((1 - lambda) v_t+1 + lambda R_t+1), with R_H = v_H.

    Args:
        reward: that came with the states reached, s_1 to s_H.
        discount: gamma times the probability that the episode goes on, of the same states.
        value: of the states s_0 to s_H.
        trace_decay: lambda.

    Returns:
        Returns of the states s_0 to s_H-1.
    """
    # What does not wait for a later return, for all steps at once.
    bootstrapped = reward + discount * (1 - trace_decay) * value[1:]
    returns, following = [], value[-1]
    for t in range(len(reward) - 1, -1, -1):
        following = bootstrapped[t] + trace_decay * discount[t] * following
        returns.append(following)
    return torch.stack(returns[::-1])


class ReturnRange:
    """Moving average of the range from the 5th to the 95th percentile of returns.

    Args:
        floor: the least range that `scale` returns. With 1, as in the paper, the noise of returns
            that are all but zero is not made large.
        decay: of the average.
    """

    def __init__(self, *, floor: float, decay: float = 0.99) -> None:
        self._floor, self._decay = floor, decay
        self._range: float | None = None

    @property
    def scale(self) -> float:
        """What advantages are divided by."""
        return max(self._floor, self._range or 0.0)

    def update(self, returns: Float[Tensor, "*batch"]) -> None:
        """Take a batch of returns into the average; the first one sets it."""
        low, high = torch.quantile(returns.flatten(), returns.new_tensor([0.05, 0.95])).tolist()
        before = self._range if self._range is not None else high - low
        self._range = self._decay * before + (1 - self._decay) * (high - low)

    def state_dict(self) -> dict[str, Any]:
        """The average."""
        return {"range": self._range}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._range = state["range"]
