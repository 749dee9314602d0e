"""FAISS's brute force on rings where they lie: exact, on the CPU."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import faiss
import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

# Rings of so many floats in all are shared between threads: with fewer, handing them over costs
# more than it saves.
_SHARED = 2**21


class FaissSearch:
    """One query for each environment, in its own ring; of long rings each thread has some.

    Pointers into the rings and the buffers are made once: with few entries, making them is what
    costs. There are as many threads as torch uses.

    Args:
        entries: The rings, float32 [E, capacity, D], on the CPU.
        k: Neighbours that a search returns, K.
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

    def __call__(
        self, queries: Float32[np.ndarray, "E D"], sizes: Int64[np.ndarray, " E"]
    ) -> tuple[Float32[np.ndarray, "E K"], Int64[np.ndarray, "E K"]]:
        """Search the first ``sizes`` entries of each ring.

        Returns:
            Squared distances, infinite where there are fewer entries than K, and the entries'
            positions in the ring, which mean something where the distance is finite. The positions
            are overwritten by the next search.
        """
        self._queries[:] = queries
        envs, counts = range(len(sizes)), sizes.tolist()
        shared = sum(counts) * self._dim >= _SHARED
        threads = min(torch.get_num_threads(), len(counts)) if shared else 1
        others = [
            self._pool.submit(self._find, envs[first::threads], counts)
            for first in range(1, threads)
        ]
        self._find(envs[::threads], counts)
        for other in others:
            other.result()
        absent = np.arange(self._k) >= sizes[:, None]
        return np.where(absent, np.float32(np.inf), self._distances), self._labels

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(thread_name_prefix="search")

    def _find(self, envs: range, sizes: list[int]) -> None:
        """Search the rings of some environments, in this thread alone."""
        search, dim, k = faiss.knn_L2sqr, self._dim, self._k
        # With more threads FAISS spends half of a single query's time on their coming and going.
        # The number is the calling thread's own.
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            for env in envs:
                if sizes[env]:
                    query, ring, distances, labels = self._pointers[env]
                    search(query, ring, dim, 1, sizes[env], k, distances, labels)
        finally:
            faiss.omp_set_num_threads(threads)
