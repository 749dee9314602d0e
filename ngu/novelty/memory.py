"""Episodic memory: what each environment has reached, and its exact nearest neighbours.

Source: Never Give Up (arXiv 2002.06038), section 2 and Algorithm 1. The search is brute force and
takes direct differences, so that an exact repeat is at a distance of exactly 0: the expansion
|q|^2 - 2 q.x + |x|^2 would cancel where NGU's kernel looks closest.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ngu.novelty.faiss_search import FaissSearch
from ngu.spaces import Array, check_where

Batch = TypeVar("Batch", np.ndarray, Tensor)

# Most differences that a search in torch holds at a time, in floats: 64 MiB.
_CHUNK = 2**24


class EpisodicMemory:
    """A ring of embeddings for each environment, with exact nearest neighbours.

    When a ring is full, the newest entry takes the place of the oldest.

    Args:
        num_envs: Environments, E.
        dim: Width of an embedding, D.
        capacity: Entries that each ring holds.
        k: Neighbours that a search returns, K.
        backend: ``"faiss"`` (FAISS on the CPU, with as many threads as torch uses), ``"torch"``
            (batched on any device), or ``"auto"``: FAISS on a CPU, torch elsewhere. Both give the
            same distances.
        device: Where the memory is kept and searched.

    Raises:
        ValueError: A size is below 1, or the backend is unknown or cannot use the device.
    """

    def __init__(
        self,
        num_envs: int,
        dim: int,
        capacity: int = 30_000,
        k: int = 10,
        backend: str = "auto",
        device: torch.device | str = "cpu",
    ) -> None:
        for name, value in (
            ("num_envs", num_envs),
            ("dim", dim),
            ("capacity", capacity),
            ("k", k),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if backend not in ("auto", "faiss", "torch"):
            raise ValueError(f"backend must be 'auto', 'faiss' or 'torch', got {backend!r}")
        self.device = torch.empty(0, device=device).device
        if backend == "auto":
            backend = "faiss" if self.device.type == "cpu" else "torch"
        if backend == "faiss" and self.device.type != "cpu":
            raise ValueError(f"backend 'faiss' searches on the CPU, got device {self.device}")
        self.num_envs, self.dim, self.capacity, self.k = num_envs, dim, capacity, k
        self.backend = backend
        # Never touched before it is filled: the system gives pages out as entries come. On a CPU it
        # is numpy's, which asks for large pages: a search reads through megabytes.
        shape = (num_envs, capacity, dim)
        if self.device.type == "cpu":
            self._entries = torch.from_numpy(np.empty(shape, dtype=np.float32))
        else:
            self._entries = torch.empty(shape, device=self.device)
        # Entries added since the ring was last emptied, those overwritten included.
        self._added = np.zeros(num_envs, dtype=np.int64)
        self._search = FaissSearch(self._entries, k) if backend == "faiss" else None

    @property
    def sizes(self) -> np.ndarray:
        """Number of entries of each environment, int64 [E]; a copy."""
        return np.minimum(self._added, self.capacity)

    @property
    def added(self) -> np.ndarray:
        """Number of entries added since each ring was last emptied, int64 [E]; a copy."""
        return self._added.copy()

    def add(self, embeddings: Array, where: Array | None = None) -> None:
        """Remember one embedding for each environment.

        Args:
            embeddings: float32 [E, D].
            where: Bool [E]; environments to leave as they are are False. None: all.

        Raises:
            TypeError: The embeddings are not float32.
            ValueError: They have another shape or are on another device.
        """
        values = self._check(embeddings, "embeddings")
        mask = self._mask(where)
        rows = np.flatnonzero(mask)
        if rows.size == 0:
            return
        if rows.size < self.num_envs:
            values = values[torch.from_numpy(rows).to(self.device)]
        index = (torch.from_numpy(rows), torch.from_numpy(self._added[rows] % self.capacity))
        self._entries[index] = values.detach()
        self._added[rows] += 1

    def nearest(self, queries: Batch, where: Array | None = None) -> Batch:
        """Return the squared Euclidean distances to each environment's nearest entries.

        Args:
            queries: float32 [E, D]; each is searched for in its own environment's ring.
            where: Bool [E]; environments not to search are False. None: all.

        Returns:
            float32 [E, K], ascending; infinite where there are fewer than K entries and in the
            environments not searched. An array for an array, a tensor for a tensor.

        Raises:
            TypeError: The queries are not float32.
            ValueError: They have another shape or are on another device.
        """
        found, _ = self._find(queries, where)
        return cast(Batch, found if isinstance(queries, Tensor) else found.cpu().numpy())

    def neighbours(self, queries: Batch, where: Array | None = None) -> tuple[Batch, Batch]:
        """Return the distances that `nearest` returns, and which entries they lead to.

        Returns:
            Squared distances, float32 [E, K]; and of each entry how many its environment had been
            given before it since the ring was last emptied, int64 [E, K]: 0 for the first one, -1
            where there is none.

        Raises:
            TypeError: The queries are not float32.
            ValueError: They have another shape or are on another device.
        """
        distances, positions = self._find(queries, where)
        newest = torch.from_numpy(self._added).to(self.device).unsqueeze(1) - 1
        steps = newest - (newest - positions) % self.capacity
        steps = torch.where(distances.isfinite(), steps, -1)
        found = distances, steps
        if isinstance(queries, np.ndarray):
            found = tuple(part.cpu().numpy() for part in found)
        return cast(tuple[Batch, Batch], found)

    def nearest_among(self, env: int, queries: Float[Tensor, "Q D"]) -> Float[Tensor, "Q K"]:
        """Return the squared distances of any number of queries to one environment's entries.

        For states that are only imagined, of which there are many: by matrix products, so that an
        exact repeat may be as far as rounding makes it, 1e-6 of the entries' variance.

        Args:
            env: Whose ring.
            queries: float32 [Q, D].

        Returns:
            float32 [Q, K], ascending; infinite where there are fewer than K entries.
        """
        entries = self._entries[env, : int(self.sizes[env])]
        found = queries.new_full((len(queries), self.k), torch.inf)
        if not len(entries):
            return found
        # Near their centre the numbers are small, and what cancels is little.
        centre = entries.mean(0)
        entries, queries = entries - centre, queries - centre
        lengths, count = entries.square().sum(-1), min(self.k, len(entries))
        step = max(1, _CHUNK // len(entries))
        for first in range(0, len(queries), step):
            part = queries[first : first + step]
            squares = torch.addmm(lengths, part, entries.T, alpha=-2)
            nearest = squares.topk(count, largest=False, sorted=True).values
            found[first : first + step, :count] = nearest + part.square().sum(-1, keepdim=True)
        return found.clamp_min_(0)

    def clear(self, where: Array | None = None) -> None:
        """Forget all entries of the environments where ``where`` [E] is True; None: of all."""
        self._added[self._mask(where)] = 0

    def convert(self, function: Callable[[Tensor], Tensor]) -> None:
        """Put ``function(entries)`` in the entries' place, both float32 [n, D], ring by ring."""
        for ring, size in zip(self._entries, self.sizes.tolist(), strict=True):
            if size:
                ring[:size] = function(ring[:size])

    def state_dict(self) -> dict[str, Any]:
        """Return the filled part of all rings, one after the other, and where each stands."""
        sizes = self.sizes
        filled = [self._entries[env, :size].cpu() for env, size in enumerate(sizes.tolist())]
        return {
            "entries": torch.cat(filled),
            "sizes": torch.from_numpy(sizes),
            "cursors": torch.from_numpy(self.added),
            "capacity": self.capacity,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned.

        Raises:
            ValueError: The state is of another number of environments, width or capacity.
        """
        entries, sizes = state["entries"], state["sizes"]
        have = (len(sizes), entries.shape[1], int(state["capacity"]))
        if have != (self.num_envs, self.dim, self.capacity):
            raise ValueError(
                "state must hold (num_envs, dim, capacity) = "
                f"{(self.num_envs, self.dim, self.capacity)}, got {have}"
            )
        for env, part in enumerate(entries.split(sizes.tolist())):
            self._entries[env, : part.shape[0]] = part.to(self.device)
        added = state["cursors"].numpy()
        # Older states count around the ring; of a full one they tell only that it was filled once.
        self._added[:] = np.where(added < sizes.numpy(), added + self.capacity, added)

    def _find(self, queries: Array, where: Array | None) -> tuple[Tensor, Tensor]:
        """Squared distances [E, K], and positions in the rings, right where those are finite."""
        values = self._check(queries, "queries").detach()
        sizes = np.where(self._mask(where), self.sizes, 0)
        if self._search is None:
            return _search_torch(values, self._entries, sizes, self.k)
        distances, positions = self._search(values.numpy(), sizes)
        return torch.from_numpy(distances), torch.from_numpy(positions)

    def _check(self, values: Array, name: str) -> Tensor:
        tensor = (
            torch.from_numpy(values).to(self.device) if isinstance(values, np.ndarray) else values
        )
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name} must be of dtype float32, got {tensor.dtype}")
        if tuple(tensor.shape) != (self.num_envs, self.dim):
            raise ValueError(
                f"{name} must have shape [{self.num_envs}, {self.dim}], got {list(tensor.shape)}"
            )
        if tensor.device != self.device:
            raise ValueError(f"{name} must be on device {self.device}, got {tensor.device}")
        return tensor

    def _mask(self, where: Array | None) -> Bool[np.ndarray, "E"]:
        mask = check_where(where, self.num_envs, "where", torch.device("cpu"))
        return np.ones(self.num_envs, dtype=bool) if mask is None else mask.numpy()


def _search_torch(
    queries: Tensor, entries: Tensor, sizes: np.ndarray, k: int
) -> tuple[Tensor, Tensor]:
    num_envs, _, dim = entries.shape
    longest = int(sizes.max(initial=0))
    distances = torch.full((num_envs, max(longest, k)), torch.inf, device=entries.device)
    step = max(1, _CHUNK // (num_envs * dim))
    for start in range(0, longest, step):
        part = entries[:, start : min(start + step, longest)]
        squares = (part - queries.unsqueeze(1)).square_().sum(-1)
        distances[:, start : start + part.shape[1]] = squares
    ends = torch.from_numpy(sizes).to(entries.device).unsqueeze(1)
    positions = torch.arange(distances.shape[1], device=entries.device)
    distances.masked_fill_(positions >= ends, torch.inf)
    found = distances.topk(k, dim=1, largest=False, sorted=True)
    return found.values, found.indices
