"""Threads that compute each operation on one core, for work that is divided between them.

Torch shares single operations between cores unless told otherwise, and what it is told in one
thread becomes the setting of all threads that begin later, of the caller's too if it has not
computed yet. Here it stays inside the pool.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import torch


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_core_threads(count: int, name: str) -> ThreadPoolExecutor:
    """A pool of ``count`` threads in which torch uses one core; outside of it nothing changes.

    Args:
        count: threads, at least 1.
        name: prefix of their names.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, name, _use_one_core)
    # All begin now, before the setting is put back: none takes up a task while another waits.
    all_began = threading.Barrier(count)
    for task in [pool.submit(all_began.wait) for _ in range(count)]:
        task.result()
    torch.set_num_threads(before)
    return pool


def _use_one_core() -> None:
    # A thread takes over the common setting at its first question or operation: not later than now.
    torch.get_num_threads()
    torch.set_num_threads(1)
