"""Adam's state, loaded so that its fused step goes on as if it had never stopped."""

from __future__ import annotations

from typing import Any

import torch


def load_adam(optimiser: torch.optim.Adam, state: dict[str, Any]) -> None:
    """Set what the optimiser's ``state_dict`` returned.

    The fused step pairs weights and moments by their place in memory, which torch's own loading
    loses where weights lie in channels_last memory.
    """
    optimiser.load_state_dict(state)
    for weight, moments in optimiser.state.items():
        for name, value in moments.items():
            if value.shape == weight.shape:
                moments[name] = torch.empty_like(weight).copy_(value)
