"""One update of a bonus's networks: each loss has its own Adam, and none steps unless all may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Optimisers:
    """Adam for each of a bonus's losses, by the loss's name, with clipped gradients.

    Args:
        parameters: What each loss trains.
        learning_rate: Adam's step size.
        adam_epsilon: Adam's term that keeps small gradients small.
        weight_decay: L2 penalty of each loss's parameters, added to the gradient before Adam; those
            not named have none.
        max_gradient_norm: Norm to which each loss's gradient is clipped.
    """

    def __init__(
        self,
        parameters: Mapping[str, Iterable[nn.Parameter]],
        *,
        learning_rate: float,
        adam_epsilon: float,
        max_gradient_norm: float,
        weight_decay: Mapping[str, float] | None = None,
    ) -> None:
        decay = weight_decay or {}
        self._max_gradient_norm = max_gradient_norm
        self._adam = {
            name: torch.optim.Adam(
                list(group), lr=learning_rate, eps=adam_epsilon, weight_decay=decay.get(name, 0.0)
            )
            for name, group in parameters.items()
        }

    def step(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """Train once on each of the losses.

        Args:
            losses: A loss for each of the names.

        Returns:
            The losses as numbers, each by its name with ``_loss`` behind it.

        Raises:
            FloatingPointError: A loss or its gradient is not finite; names it. No network changed.
        """
        for adam in self._adam.values():
            adam.zero_grad()
        metrics = {}
        for name, loss in losses.items():
            loss.backward()
            norm = nn.utils.clip_grad_norm_(
                self._adam[name].param_groups[0]["params"], self._max_gradient_norm
            )
            metrics[f"{name}_loss"] = value = loss.item()
            if not (np.isfinite(value) and torch.isfinite(norm)):
                raise FloatingPointError(
                    f"{name}_loss is {value} and its gradient's norm {norm.item()}; "
                    "no network was changed"
                )
        for name in losses:
            self._adam[name].step()
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return the moments of all."""
        return {name: adam.state_dict() for name, adam in self._adam.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set what `state_dict` returned."""
        for name, adam in self._adam.items():
            adam.load_state_dict(state[name])
