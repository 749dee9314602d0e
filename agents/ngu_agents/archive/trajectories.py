"""How each state was reached: a tree of pieces of actions, which states have in common."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

NO_PARENT = -1


class Trajectories:
    """Nodes, each the actions that lead on from another one; a root is where an episode began.

    Nodes never change. `keep` drops those that lead nowhere any more.
    """

    def __init__(self) -> None:
        self._parents = array("q")
        self._ends = array("q")
        self._actions = bytearray()

    def __len__(self) -> int:
        return len(self._parents)

    def add(self, parent: int, actions: bytes) -> int:
        """Return a new node: these actions, a byte each, after those that lead to ``parent``."""
        self._parents.append(parent)
        self._actions += actions
        self._ends.append(len(self._actions))
        return len(self._parents) - 1

    def actions_to(self, node: int) -> tuple[int, bytes]:
        """The root that a node comes from, and all actions from there on."""
        pieces = []
        while self._parents[node] != NO_PARENT:
            pieces.append(bytes(self._piece(node)))
            node = self._parents[node]
        return node, b"".join(reversed(pieces))

    def keep(self, nodes: np.ndarray) -> np.ndarray:
        """Drop all nodes but these and those that they come from.

        Args:
            nodes: what is still needed.

        Returns:
            The new number of each old node; -1 for those dropped.
        """
        parents = np.array(self._parents)
        needed = np.zeros(len(parents), dtype=bool)
        front = np.unique(nodes)
        while front.size:
            needed[front] = True
            front = np.unique(parents[front])
            front = front[front != NO_PARENT]
            front = front[~needed[front]]
        numbers = np.where(needed, np.cumsum(needed) - 1, -1)
        kept = Trajectories()
        for node in np.flatnonzero(needed).tolist():
            parent = self._parents[node]
            after = NO_PARENT if parent == NO_PARENT else int(numbers[parent])
            kept.add(after, bytes(self._piece(node)))
        self._parents, self._ends, self._actions = kept._parents, kept._ends, kept._actions
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """All nodes."""
        return {
            "parents": np.array(self._parents),
            "ends": np.array(self._ends),
            "actions": np.frombuffer(self._actions, np.uint8).copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._parents = array("q", state["parents"].tolist())
        self._ends = array("q", state["ends"].tolist())
        self._actions = bytearray(state["actions"].tobytes())

    def _piece(self, node: int) -> bytearray:
        return self._actions[self._ends[node - 1] if node else 0 : self._ends[node]]
