"""The archive: for each cell reached the best way there, and a draw of where to go back to.

Source: Ecoffet et al., "First return, then explore" (arXiv 2004.12919), algorithm and methods.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float32, Float64, Int

from ngu.seeding import Seeds
from ngu_agents.archive.novelty import Visited, VisitSample
from ngu_agents.archive.snapshots import SnapshotStore
from ngu_agents.archive.trajectories import Trajectories
from ngu_agents.sum_tree import SumTree

_FIRST_CAPACITY = 1024
# Once time has been seen to run out it is divided into so many slices.
_SLICES = 8
_ENDLESS = 1 << 62
# All novelties are computed anew when there are so many times more visits.
_REFRESH_GROWTH = 1.05


class Reached(NamedTuple):
    """A state, and the way there."""

    score: float
    """Sum of rewards on the way."""
    length: int
    """Steps on the way."""
    node: int
    """Of the trajectory."""

    def improves(self, other: Reached | None) -> bool:
        """Whether its score is higher, or equal and its way shorter; any improves on none."""
        return other is None or (self.score, -self.length) > (other.score, -other.length)


class Archive:
    """Cells by name, each with its best state so far: highest score, then fewest steps.

    A cell is drawn in proportion to its rarity, 1 / sqrt(visits), times a power of its novelty.

    Once time has been seen to run out, a state reached early may lead further than one with a
    higher score and no time left. From then on a name has a cell in each slice of time in which
    more was reached than in those before.

    Args:
        memory: bytes of snapshots that are held in memory.
        spill_folder: where the others go.
        novelty_power: of the novelty; 0 draws by rarity alone.
        seed: of the sample of visits that novelty is measured against.
    """

    def __init__(
        self,
        *,
        memory: int,
        spill_folder: str | None = None,
        novelty_power: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.trajectories = Trajectories()
        self.snapshots = SnapshotStore(memory, spill_folder)
        self._novelty_power = novelty_power
        self._slice_steps = _ENDLESS
        self._names: list[bytes] = []
        self._cells_of: dict[bytes, list[int]] = {}  # in the order of slices, and so of scores
        self._columns = {
            "score": np.zeros(_FIRST_CAPACITY),
            "length": np.zeros(_FIRST_CAPACITY, np.int64),
            "node": np.zeros(_FIRST_CAPACITY, np.int64),
            "visits": np.zeros(_FIRST_CAPACITY, np.int64),
            "novelty": np.ones(_FIRST_CAPACITY),
        }
        self._embeddings = np.zeros((_FIRST_CAPACITY, 0), np.float32)
        self._tree = SumTree(_FIRST_CAPACITY)
        self._ended: Reached | None = None
        self._sample = VisitSample(Seeds(seed).numpy("archive visits"))
        self._visited: Visited | None = None
        self._refresh_at = 1.0
        self._changed: set[int] = set()

    def __len__(self) -> int:
        return len(self._names)

    def __getattr__(self, name: str) -> np.ndarray:
        columns = self.__dict__.get("_columns", {})
        if name not in columns:
            raise AttributeError(name)
        return columns[name][: len(self)]

    def find(self, name: bytes, score: float, length: int) -> int | None:
        """The cell that a state counts as, reached so; None where it would be a new one.

        That is the one of its slice of time, or of an earlier slice and with no less a score.
        """
        scores, lengths = self._columns["score"], self._columns["length"]
        piece = length // self._slice_steps
        for cell in self._cells_of.get(name, ()):
            at = lengths[cell] // self._slice_steps
            if at == piece or (at < piece and scores[cell] >= score):
                return cell
        return None

    def __getitem__(self, cell: int) -> Reached:
        """The best state of a cell."""
        columns = self._columns
        return Reached(
            float(columns["score"][cell]), int(columns["length"][cell]), int(columns["node"][cell])
        )

    def improves(self, name: bytes, score: float, length: int) -> bool:
        """Whether a cell is new, or reached with a higher score or in fewer steps than before."""
        cell = self.find(name, score, length)
        return Reached(score, length, 0).improves(None if cell is None else self[cell])

    def time_ran_out(self, length: int) -> bool:
        """Take note that an episode ended for want of time; whether that was not known yet."""
        if self._slice_steps < _ENDLESS:
            return False
        self._slice_steps = -(-length // _SLICES)
        self._refresh_at = 0.0
        return True

    def end(self, reached: Reached) -> None:
        """Take note of how an episode terminated, where there is nothing to set out from."""
        if reached.improves(self._ended):
            self._ended = reached

    def put(
        self,
        name: bytes,
        snapshot: bytes,
        reached: Reached,
        embedding: Float32[np.ndarray, " D"],
    ) -> None:
        """Set a cell's best state.

        Args:
            name: of the cell.
            snapshot: of the state.
            reached: how.
            embedding: of the state; near where states are alike.

        Raises:
            OSError: there is no place for the snapshot; nothing changed.
        """
        cell = self.find(name, reached.score, reached.length)
        cells = self._cells_of.get(name, [])
        later = (reached.length // self._slice_steps + 1) * self._slice_steps
        needless = [
            other
            for other in cells
            if self.length[other] >= later and self.score[other] <= reached.score
        ]
        if cell is None:
            cell = needless.pop() if needless else len(self)
        if cell == len(self._columns["score"]):
            self._grow()
        self.snapshots[cell] = snapshot
        if cell == len(self):
            self._names.append(name)
        for column, value in zip(("score", "length", "node"), reached, strict=True):
            self._columns[column][cell] = value
        kept = {cell, *cells} - set(needless)
        self._cells_of[name] = sorted(kept, key=lambda other: self.length[other])
        if needless:
            self._columns["visits"][needless] = 0
            self._tree.set(np.array(needless), np.zeros(len(needless)))
        if not self._embeddings.size:
            self._embeddings = np.zeros((len(self._embeddings), embedding.size), np.float32)
        self._embeddings[cell] = embedding
        if self._novelty_power:
            self._changed.add(cell)

    def visit(
        self,
        cells: Int[np.ndarray, " K"],
        scores: Float64[np.ndarray, " K"],
        lengths: Int[np.ndarray, " K"],
    ) -> None:
        """Count a visit of each of these cells, with these scores and after so many steps."""
        np.add.at(self._columns["visits"], cells, 1)
        if self._novelty_power:
            self._sample.add(cells, scores, lengths)
            if self._sample.count >= self._refresh_at:
                self._refresh_at = self._sample.count * _REFRESH_GROWTH
                embeddings = self._embeddings[self._sample.cells]
                slices = self._sample.lengths // self._slice_steps
                self._visited = Visited(embeddings, self._sample.scores.copy(), slices)
                self._changed.update(range(len(self)))
            cells = np.union1d(cells, self._compare())
        self._weigh(cells)

    def _compare(self) -> Int[np.ndarray, " K"]:
        """Compute the novelty of the cells that have changed; returns them."""
        changed = np.array(sorted(self._changed), np.int64)
        self._changed.clear()
        if self._visited is not None:
            self._columns["novelty"][changed] = self._visited.novelty_of(
                self._embeddings[changed],
                self.score[changed],
                self.length[changed] // self._slice_steps,
            )
        return changed

    def _weigh(self, cells: Int[np.ndarray, " K"]) -> None:
        cells = cells[self.visits[cells] > 0]
        factors = self.novelty[cells] ** self._novelty_power
        self._tree.set(cells, factors / np.sqrt(self.visits[cells]))

    def choose(self, count: int, generator: np.random.Generator) -> Int[np.ndarray, " K"]:
        """Draw cells to go back to, with replacement."""
        return self._tree.sample(count, generator)

    @property
    def best(self) -> Reached:
        """What was reached with the highest score; of equal ones with the fewest steps."""
        return self.best_ones(1)[0]

    def best_ones(self, count: int) -> list[Reached]:
        """So many of what was reached with half of the highest score or more, the best first.

        They are evenly spaced in the order of scores and, where these are equal, of steps.
        """
        score, length = self.score, self.length
        if self._ended is not None:
            score, length = (
                np.append(score, self._ended.score),
                np.append(length, self._ended.length),
            )
        enough = np.flatnonzero(score >= score.max() - abs(score.max()) / 2)
        order = enough[np.lexsort((length[enough], -score[enough]))]
        ranks = np.unique(np.linspace(0, len(order) - 1, count).astype(np.int64))
        chosen = order[ranks].tolist()
        return [self[cell] if cell < len(self) else cast(Reached, self._ended) for cell in chosen]

    def compact(self, nodes: Int[np.ndarray, " E"]) -> Int[np.ndarray, " E"]:
        """Drop trajectories that lead to no cell and none of these nodes; their new numbers."""
        ended = [] if self._ended is None else [self._ended.node]
        numbers = self.trajectories.keep(np.concatenate((self.node, nodes, ended)).astype(np.int64))
        self._columns["node"][: len(self)] = numbers[self.node]
        if self._ended is not None:
            self._ended = self._ended._replace(node=int(numbers[self._ended.node]))
        return numbers[nodes]

    def regroup(
        self,
        groups: Int[np.ndarray, " N"],
        names: list[bytes],
        embeddings: Float32[np.ndarray, "M D"],
    ) -> Int[np.ndarray, " C"]:
        """Let names fall together: of each group stays the best state, and all visits.

        Once time counts, those in each slice of it.

        Args:
            groups: the new number of each of the N names, in the order in which they came.
            names: of the M groups.
            embeddings: of these.

        Returns:
            The new numbers of the cells.

        Raises:
            OSError: there is no place for the snapshots.
        """
        numbers = {name: number for number, name in enumerate(self._cells_of)}
        slices = self.length // self._slice_steps
        places = groups[[numbers[name] for name in self._names]], slices
        (kept, _), cells = np.unique(np.stack(places), axis=1, return_inverse=True)
        order = np.lexsort((self.length, -self.score, cells))
        _, firsts = np.unique(cells[order], return_index=True)
        best = order[firsts]
        visits = np.bincount(cells, weights=self.visits)
        self.snapshots = self.snapshots.of(best.tolist())
        self._names = [names[group] for group in kept.tolist()]
        for values in self._columns.values():
            values[: len(self)] = values[best]
        self.visits[:] = visits
        self._embeddings[: len(self)] = embeddings[kept]
        self._sample.regroup(cells)
        self._changed.clear()
        self._refresh_at = 0.0
        self._tree = SumTree(self._tree.capacity)
        self._order()
        return cells

    def _order(self) -> None:
        """Find each name's cells; one with no higher score than an earlier one is drawn no more."""
        self._cells_of = {name: [] for name in self._names}
        for cell in np.argsort(self.length, kind="stable").tolist():
            cells = self._cells_of[self._names[cell]]
            if not cells or self.score[cell] > self.score[cells[-1]]:
                cells.append(cell)
            else:
                self._columns["visits"][cell] = 0
        self._weigh(np.arange(len(self)))

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        names = np.frombuffer(b"".join(self._names), np.uint8)
        visited = self._visited
        return {
            "names": names.reshape(len(self), -1),
            "slice_steps": self._slice_steps,
            "ended": None if self._ended is None else tuple(self._ended),
            "columns": {name: values[: len(self)] for name, values in self._columns.items()},
            "snapshots": self.snapshots.state_dict(),
            "trajectories": self.trajectories.state_dict(),
            "embeddings": self._embeddings[: len(self)],
            "sample": self._sample.state_dict(),
            "visited": None
            if visited is None
            else (visited.embeddings, visited.scores, visited.slices),
            "refresh_at": self._refresh_at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._names = [name.tobytes() for name in state["names"]]
        self._slice_steps = state["slice_steps"]
        self._ended = None if state["ended"] is None else Reached(*state["ended"])
        while len(self._columns["score"]) < len(self):
            self._grow()
        for name, values in state["columns"].items():
            self._columns[name][: len(self)] = values
        self.snapshots.load_state_dict(state["snapshots"])
        self.trajectories.load_state_dict(state["trajectories"])
        size = state["embeddings"].shape[1]
        self._embeddings = np.zeros((len(self._columns["score"]), size), np.float32)
        self._embeddings[: len(self)] = state["embeddings"]
        self._sample.load_state_dict(state["sample"])
        self._visited = None if state["visited"] is None else Visited(*state["visited"])
        self._refresh_at = state["refresh_at"]
        self._changed.clear()
        self._order()

    def _grow(self) -> None:
        for name, values in self._columns.items():
            self._columns[name] = np.concatenate((values, np.zeros_like(values)))
        self._embeddings = np.concatenate((self._embeddings, np.zeros_like(self._embeddings)))
        before = self._tree
        self._tree = SumTree(2 * before.capacity)
        self._tree.set(np.arange(before.capacity), before.leaves)
