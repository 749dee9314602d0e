"""Episodic memory: what each environment has reached, and its exact nearest neighbours.

Source: Never Give Up (arXiv 2002.06038), section 2 and Algorithm 1. The search is brute force and
takes direct differences, so that an exact repeat is at a distance of exactly 0: the expansion
|q|^2 - 2 q.x + |x|^2 would cancel where NGU's kernel looks closest.
"""

from typing import Any, TypeVar, cast

import faiss
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

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
        backend: ``"faiss"`` (FAISS on the CPU, one thread), ``"torch"`` (batched on any device), or
            ``"auto"``: FAISS on a CPU, torch elsewhere. Both give the same distances.
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
        self._sizes = np.zeros(num_envs, dtype=np.int64)
        self._cursors = np.zeros(num_envs, dtype=np.int64)
        self._search = _FaissSearch(self._entries, k) if backend == "faiss" else None

    @property
    def sizes(self) -> np.ndarray:
        """Number of entries of each environment, int64 [E]; a copy."""
        return self._sizes.copy()

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
        cursors = self._cursors[rows]
        if rows.size < self.num_envs:
            values = values[torch.from_numpy(rows).to(self.device)]
        index = (torch.from_numpy(rows), torch.from_numpy(cursors))
        self._entries[index] = values.detach()
        self._cursors[rows] = (cursors + 1) % self.capacity
        self._sizes[rows] = np.minimum(self._sizes[rows] + 1, self.capacity)

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
        values = self._check(queries, "queries").detach()
        sizes = np.where(self._mask(where), self._sizes, 0)
        if self._search is not None:
            found = torch.from_numpy(self._search(values.numpy(), sizes))
        else:
            found = _search_torch(values, self._entries, sizes, self.k)
        return cast(Batch, found if isinstance(queries, Tensor) else found.cpu().numpy())

    def clear(self, where: Array | None = None) -> None:
        """Forget all entries of the environments where ``where`` [E] is True; None: of all."""
        mask = self._mask(where)
        self._sizes[mask] = 0
        self._cursors[mask] = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the filled part of all rings, one after the other, and where each stands."""
        filled = [self._entries[env, :size].cpu() for env, size in enumerate(self._sizes.tolist())]
        return {
            "entries": torch.cat(filled),
            "sizes": torch.from_numpy(self._sizes.copy()),
            "cursors": torch.from_numpy(self._cursors.copy()),
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
        self._sizes[:] = sizes.numpy()
        self._cursors[:] = state["cursors"].numpy()

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


class _FaissSearch:
    """FAISS's brute force on the rings where they lie, one query for each environment.

    Pointers into the rings and the buffers are made once: with few entries, making them is what
    costs.
    """

    def __init__(self, entries: Tensor, k: int) -> None:
        num_envs, _, self._dim = entries.shape
        self._k = k
        self._queries = np.empty((num_envs, self._dim), dtype=np.float32)
        self._distances = np.empty((num_envs, k), dtype=np.float32)
        self._labels = np.empty((num_envs, k), dtype=np.int64)
        # The rings' memory must live as long as the pointers into it.
        self._entries = entries.numpy()
        self._pointers = [
            tuple(
                faiss.swig_ptr(array[env])
                for array in (self._queries, self._entries, self._distances, self._labels)
            )
            for env in range(num_envs)
        ]

    def __call__(self, queries: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        self._queries[:] = queries
        search, dim, k = faiss.knn_L2sqr, self._dim, self._k
        # With more threads FAISS spends half of a single query's time on their coming and going.
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            for size, (query, ring, distances, labels) in zip(
                sizes.tolist(), self._pointers, strict=True
            ):
                if size:
                    search(query, ring, dim, 1, size, k, distances, labels)
        finally:
            faiss.omp_set_num_threads(threads)
        absent = np.arange(k) >= sizes[:, None]
        return np.where(absent, np.float32(np.inf), self._distances)


def _search_torch(queries: Tensor, entries: Tensor, sizes: np.ndarray, k: int) -> Tensor:
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
    return distances.topk(k, dim=1, largest=False, sorted=True).values
