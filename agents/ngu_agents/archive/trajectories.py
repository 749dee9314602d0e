"""How each state was reached: a tree of pieces of actions, which states have in common."""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

NO_PARENT = -1
_NO_CELL = -1


class Way(NamedTuple):
    """From the beginning of an episode to a state, by N nodes."""

    nodes: Int[np.ndarray, " N"]
    """The root, and those after it."""
    lengths: Int[np.ndarray, " N"]
    """Steps to each."""
    cells: Int[np.ndarray, " N"]
    """The cell of each; -1 for none."""


class Trajectories:
    """Nodes, each the actions that lead on from another one; a root is where an episode began.

    Nodes never change, but for the number of the cell that they are told to be of. `keep` drops
    those that lead nowhere any more.
    """

    def __init__(self) -> None:
        self._parents = array("q")
        self._ends = array("q")
        self._cells = array("q")
        self._actions = bytearray()

    def __len__(self) -> int:
        return len(self._parents)

    def add(self, parent: int, actions: bytes) -> int:
        """Return a new node: these actions, a byte each, after those that lead to ``parent``."""
        self._parents.append(parent)
        self._actions += actions
        self._ends.append(len(self._actions))
        self._cells.append(_NO_CELL)
        return len(self._parents) - 1

    def came_to(self, node: int, cell: int) -> None:
        """Take note of which cell a node's state is."""
        self._cells[node] = cell

    def way_to(self, node: int) -> Way:
        """The way from a root to a node."""
        nodes = self._nodes_to(node)
        places, ends = np.array(nodes), np.frombuffer(self._ends, np.int64)
        starts = np.where(places > 0, ends[places - 1], 0)
        cells = np.frombuffer(self._cells, np.int64)
        return Way(places, np.cumsum(ends[places] - starts), cells[places])

    def actions_to(self, node: int) -> bytes:
        """The actions that lead from a root to a node, a byte each."""
        return b"".join(self._piece(each) for each in self._nodes_to(node))

    def _nodes_to(self, node: int) -> list[int]:
        nodes, parents = [node], self._parents
        while (node := parents[node]) != NO_PARENT:
            nodes.append(node)
        nodes.reverse()
        return nodes

    def regroup(self, groups: Int[np.ndarray, " N"]) -> None:
        """Give the cells their new numbers."""
        cells = np.array(self._cells)
        self._cells = array("q", np.where(cells < 0, _NO_CELL, groups[cells]).tolist())

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
            kept.came_to(kept.add(after, bytes(self._piece(node))), self._cells[node])
        self._parents, self._ends, self._actions = kept._parents, kept._ends, kept._actions
        self._cells = kept._cells
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """All nodes."""
        return {
            "parents": np.array(self._parents),
            "ends": np.array(self._ends),
            "cells": np.array(self._cells),
            "actions": np.frombuffer(self._actions, np.uint8).copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._parents = array("q", state["parents"].tolist())
        self._ends = array("q", state["ends"].tolist())
        self._cells = array("q", state["cells"].tolist())
        self._actions = bytearray(state["actions"].tobytes())

    def _piece(self, node: int) -> bytearray:
        return self._actions[self._ends[node - 1] if node else 0 : self._ends[node]]
