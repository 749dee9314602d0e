"""Episodic memory as an ellipsoid: how far an embedding lies outside of those that came before.

Source: Henaff et al., "Exploration via Elliptical Episodic Bonuses" (arXiv 2210.05805), section 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


class EllipsoidMemory:
    """For each environment the inverse of C = ridge I + sum of f f' over what was added, [D, D].

    An addition updates the inverse by the formula of Sherman and Morrison; in float64, since an
    episode has thousands of them.

    Args:
        num_envs: Environments, E.
        dim: Width of an embedding, D.
        ridge: What C begins with, the paper's lambda.
        device: Where it is kept.

    Raises:
        ValueError: A size is below 1, or the ridge not above 0.
    """

    def __init__(
        self, num_envs: int, dim: int, ridge: float, device: torch.device | str = "cpu"
    ) -> None:
        if num_envs < 1 or dim < 1:
            raise ValueError(f"num_envs and dim must be at least 1, got {num_envs} and {dim}")
        if not ridge > 0:
            raise ValueError(f"ridge must be above 0, got {ridge}")
        self._empty = torch.eye(dim, dtype=torch.float64, device=device) / ridge
        self._inverse = self._empty.repeat(num_envs, 1, 1)

    def add(
        self, embeddings: Float[Tensor, "E D"], where: Bool[np.ndarray, " E"]
    ) -> Float[Tensor, " E"]:
        """Add f f' to the C of the environments in ``where``, and say how far outside f was.

        Returns:
            f' C^-1 f with the C before, float32 [E]; 0 elsewhere.
        """
        rows = torch.from_numpy(where).to(self._inverse.device)
        f = embeddings.double()
        solved = torch.bmm(self._inverse, f.unsqueeze(-1))
        squared_norm = torch.bmm(f.unsqueeze(1), solved)
        change = torch.where(rows[:, None, None], solved / (1 + squared_norm).sqrt(), 0.0)
        self._inverse.baddbmm_(change, change.mT, alpha=-1)
        return torch.where(rows, squared_norm.flatten(), 0.0).float()

    def clear(self, where: Bool[np.ndarray, " E"]) -> None:
        """Begin anew in the environments in ``where``."""
        self._inverse[torch.from_numpy(where).to(self._inverse.device)] = self._empty

    def state_dict(self) -> dict[str, Any]:
        """Return the inverses."""
        return {"inverse": self._inverse.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned.

        Raises:
            ValueError: The state is of another number of environments or width.
        """
        if state["inverse"].shape != self._inverse.shape:
            raise ValueError(
                "state must hold (num_envs, dim, dim) = "
                f"{tuple(self._inverse.shape)}, got {tuple(state['inverse'].shape)}"
            )
        self._inverse.copy_(state["inverse"])
