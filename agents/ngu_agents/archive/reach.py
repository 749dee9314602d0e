"""How near states are in time: an embedding in which what one exploration leads to lies near.

Pictures tell little of that. Two streets that look alike may lie far apart, and a gate that opens
makes another picture of the same place. What has been reached from where is known, and a small
network learns to tell it from what has not.

Source: van den Oord et al., "Representation learning with contrastive predictive coding" (arXiv
1807.03748), equation 4, here of distances between states of the same exploration; that novelty be
measured in steps is the thought of Savinov et al., "Episodic curiosity through reachability" (arXiv
1810.02274).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor, nn

from ngu.nets import linear
from ngu.novelty.optimisers import Optimisers
from ngu.seeding import Seeds, generator_state, set_generator_state

_SIZE, _HIDDEN = 16, 128
# Pairs that are remembered; each newer one takes the place of any of them.
_PAIRS = 1 << 16
# Of the states on the way the share that makes a pair.
_PAIRED_SHARE = 0.25
_BATCH = 256
# New pairs to an update, and updates at a time at most.
_PAIRS_PER_UPDATE, _MOST_UPDATES = 10, 200
# What hardly ever changes is not made larger than that.
_LEAST_DEVIATION = 0.02


class Pairs(NamedTuple):
    """K states, and as many that the same explorations came to later."""

    earlier: Float32[np.ndarray, "K D"]
    """Embeddings of the first ones."""
    later: Float32[np.ndarray, "K D"]
    """Embeddings of those that came later."""


class Passed:
    """Of each of E explorations one of the states it has passed, each alike (Vitter's algorithm R).

    Args:
        num_envs: explorations E.
        seed: of the draw.
    """

    def __init__(self, num_envs: int, seed: int) -> None:
        self._generator = Seeds(seed).numpy("archive passed")
        self._count = np.zeros(num_envs, np.int64)
        self._embeddings = np.zeros((num_envs, 0), np.float32)

    def forget(self, where: Bool[np.ndarray, " E"]) -> None:
        """The explorations in ``where`` begin anew."""
        self._count[where] = 0

    def __call__(
        self, embeddings: Float32[np.ndarray, "E D"], where: Bool[np.ndarray, " E"]
    ) -> Pairs:
        """The next states of those in ``where``; some with one that was passed before."""
        if not self._embeddings.size:
            self._embeddings = np.zeros_like(embeddings)
        paired, replaced = self._generator.random((2, len(where)))
        rows = where & (self._count > 0) & (paired < _PAIRED_SHARE)
        pairs = Pairs(self._embeddings[rows], embeddings[rows])
        self._count += where
        kept = where & (replaced * self._count < 1)
        self._embeddings[kept] = embeddings[kept]
        return pairs

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        return {
            "generator": generator_state(self._generator),
            "count": self._count.copy(),
            "embeddings": self._embeddings.copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        set_generator_state(self._generator, state["generator"])
        self._count[:] = state["count"]
        self._embeddings = state["embeddings"].copy()


class Reach:
    """Embeds states so that those are near which one exploration leads between.

    Of a batch of pairs each earlier state is to be nearer to its later one than to all the others',
    and each later one to its earlier one. Until there are enough pairs nothing is embedded.

    Args:
        seed: of weights and training.
    """

    def __init__(self, seed: int) -> None:
        self._seeds = Seeds(seed)
        self._generator = self._seeds.numpy("archive reach")
        self._count = self._learned = 0
        self._pairs = np.zeros((_PAIRS, 2, 0), np.float16)
        self._network: _Network | None = None

    def add(self, pairs: Pairs) -> None:
        """Remember pairs."""
        if not self._pairs.size:
            self._pairs = np.zeros((_PAIRS, 2, pairs.later.shape[1]), np.float16)
        places = self._count + np.arange(len(pairs.later))
        drawn = self._generator.integers(_PAIRS, size=len(places))
        self._pairs[np.where(places < _PAIRS, places, drawn)] = np.stack(pairs, axis=1)
        self._count += len(places)

    def learn(self) -> None:
        """Learn from the pairs, the more updates the more there are that are new.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        updates = min((self._count - self._learned) // _PAIRS_PER_UPDATE, _MOST_UPDATES)
        if self._count < _BATCH or not updates:
            return
        self._learned = self._count
        pairs = torch.from_numpy(self._pairs[: self._count])
        if self._network is None:
            self._network = self._made()
        self._network.centre(pairs.flatten(0, 1).float())
        for _ in range(updates):
            rows = torch.from_numpy(self._generator.integers(len(pairs), size=_BATCH))
            self._network.update(pairs[rows].float())

    def __call__(self, embeddings: Float32[np.ndarray, "N D"]) -> Float32[np.ndarray, "N S"]:
        """States of N embeddings, near where they are in time; as they came before any learning."""
        if self._network is None:
            return embeddings
        with torch.no_grad():
            return self._network(torch.from_numpy(embeddings)).numpy()

    def forget(self) -> None:
        """All embeddings have become others: begin anew."""
        self._count = self._learned = 0
        self._network = None

    def _made(self) -> _Network:
        return _Network(self._pairs.shape[-1], self._seeds.torch("archive reach"))

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        return {
            "generator": generator_state(self._generator),
            "count": self._count,
            "learned": self._learned,
            "pairs": self._pairs[: self._count],
            "network": self._network and self._network.state_dict(),
            "optimisers": self._network and self._network.optimisers.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        set_generator_state(self._generator, state["generator"])
        self._count, self._learned = state["count"], state["learned"]
        pairs = state["pairs"]
        self._pairs = np.zeros((_PAIRS, *pairs.shape[1:]), np.float16)
        self._pairs[: len(pairs)] = pairs
        self._network = None
        if state["network"] is not None:
            self._network = self._made()
            self._network.load_state_dict(state["network"])
            self._network.optimisers.load_state_dict(state["optimisers"])


class _Network(nn.Module):
    def __init__(self, inputs: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            linear(inputs, _HIDDEN, generator=generator),
            nn.ReLU(),
            linear(_HIDDEN, _HIDDEN, generator=generator),
            nn.ReLU(),
            linear(_HIDDEN, _SIZE, generator=generator, gain=1.0),
        )
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("deviation", torch.ones(inputs))
        self.optimisers = Optimisers(
            {"reach": self.layers.parameters()},
            learning_rate=1e-3,
            adam_epsilon=1e-8,
            max_gradient_norm=40.0,
        )

    def centre(self, embeddings: Float32[Tensor, "N D"]) -> None:
        """Scale what comes in by the mean and the deviation of these."""
        self.mean = embeddings.mean(0)
        self.deviation = embeddings.std(0).clamp(min=_LEAST_DEVIATION)

    def forward(self, embeddings: Float32[Tensor, "N D"]) -> Float32[Tensor, "N S"]:
        return self.layers((embeddings - self.mean) / self.deviation)

    def update(self, pairs: Float32[Tensor, "B 2 D"]) -> None:
        earlier, later = self(pairs.flatten(0, 1)).unflatten(0, (-1, 2)).unbind(1)
        squares = earlier.square().sum(1, keepdim=True) + later.square().sum(1)
        nearness = 2 * earlier @ later.T - squares
        own = torch.arange(len(pairs))
        forth, back = (nn.functional.cross_entropy(rows, own) for rows in (nearness, nearness.T))
        self.optimisers.step({"reach": (forth + back) / 2})
