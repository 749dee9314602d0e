"""Episodic memory as counts: how often an environment has shown exactly this in its episode."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


class EpisodicCounts:
    """Counts of exact observations, each known by a hash of its bytes (64 bits).

    Args:
        num_envs: Environments, E.
        capacity: Observations that are known of one environment; the one known longest makes way.
    """

    def __init__(self, num_envs: int, capacity: int) -> None:
        self.capacity = capacity
        self._counts: list[dict[int, int]] = [{} for _ in range(num_envs)]

    def add(
        self, obs: Shaped[Tensor, "E *shape"], where: Bool[np.ndarray, " E"]
    ) -> Float[Tensor, " E"]:
        """Count the observations of the environments in ``where``.

        Returns:
            How often each has been counted in its episode by now, float32; 0 elsewhere.
        """
        counts = np.zeros(len(self._counts), dtype=np.float32)
        rows = obs.cpu().numpy()
        for env in np.flatnonzero(where):
            digest = hashlib.blake2b(rows[env].tobytes(), digest_size=8).digest()
            key = int.from_bytes(digest, "little", signed=True)
            seen = self._counts[env]
            seen[key] = counts[env] = seen.get(key, 0) + 1
            if len(seen) > self.capacity:
                del seen[next(iter(seen))]
        return torch.from_numpy(counts).to(obs.device)

    def clear(self, where: Bool[np.ndarray, " E"]) -> None:
        """Forget everything in the environments in ``where``."""
        for env in np.flatnonzero(where):
            self._counts[env] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return keys and counts, one environment after the other."""
        keys = [key for seen in self._counts for key in seen]
        counts = [count for seen in self._counts for count in seen.values()]
        return {
            "keys": torch.tensor(keys, dtype=torch.int64),
            "counts": torch.tensor(counts, dtype=torch.int64),
            "sizes": torch.tensor([len(seen) for seen in self._counts], dtype=torch.int64),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned.

        Raises:
            ValueError: The state is of another number of environments.
        """
        sizes = state["sizes"].tolist()
        if len(sizes) != len(self._counts):
            raise ValueError(
                f"state must be that of num_envs {len(self._counts)}, got {len(sizes)}"
            )
        pairs = zip(state["keys"].split(sizes), state["counts"].split(sizes), strict=True)
        self._counts = [
            dict(zip(keys.tolist(), counts.tolist(), strict=True)) for keys, counts in pairs
        ]
