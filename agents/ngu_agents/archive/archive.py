"""The archive: for each cell reached the best way there, and a draw of where to go back to.

Source: Ecoffet et al., "First return, then explore" (arXiv 2004.12919), algorithm and methods.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from ngu.seeding import Seeds
from ngu_agents.archive.clock import Clock, Reached
from ngu_agents.archive.novelty import Familiarity, Known
from ngu_agents.archive.reach import Pairs, Reach
from ngu_agents.archive.snapshots import SnapshotStore
from ngu_agents.archive.trajectories import Trajectories, Way
from ngu_agents.sum_tree import SumTree

_FIRST_CAPACITY = 1024
# This share of the draws is the highest of so many; once time counts, of one to so many.
_AHEAD, _SEVERAL = 1 / 4, 64
_AHEAD_IN_TIME, _SEVERAL_IN_TIME = 1 / 2, 1024


class Archive:
    """Cells by name, each with its best state so far: highest score, then fewest steps.

    A cell is drawn in proportion to its rarity, 1 / sqrt(visits), times a power of its novelty;
    half of the time of that among visits with at least its score, half among those with just its
    score. Where it is told what is near, cells near each other share the chance of one. Some
    draws are the highest level of score of several so drawn: what few have done at all (they carry
    something home, say) would be one of many things that are new.

    Once time has been seen to run out, a state reached early may lead further than one with a
    higher score and no time left. From then on scores count in levels, and a name has a cell for
    each level that takes longer than those below it, with the state reached in the fewest steps:
    there are many more cells, and more draws are the highest of more.

    Args:
        memory: bytes of snapshots that are held in memory.
        spill_folder: where the others go.
        novelty_power: of the novelty; 0 draws by rarity alone.
        near: distance up to which embeddings are near; None for a share of the mean one.
        reach: embeds states anew for their novelty, so that it is measured in steps; None measures
            it between the embeddings as they come.
        seed: of the sample of visits that novelty is measured against.
    """

    def __init__(
        self,
        *,
        memory: int,
        spill_folder: str | None = None,
        novelty_power: float = 0.0,
        near: float | None = None,
        reach: Reach | None = None,
        seed: int = 0,
    ) -> None:
        self.trajectories = Trajectories()
        self.snapshots = SnapshotStore(memory, spill_folder)
        self._novelty_power = novelty_power
        self._clock = Clock()
        self._names: list[bytes] = []
        self._cells_of: dict[bytes, list[int]] = {}  # in the order of lengths, and so of levels
        self._columns = {
            "score": np.zeros(_FIRST_CAPACITY),
            "length": np.zeros(_FIRST_CAPACITY, np.int64),
            "node": np.zeros(_FIRST_CAPACITY, np.int64),
            "visits": np.zeros(_FIRST_CAPACITY, np.int64),
            "novelty": np.ones(_FIRST_CAPACITY),
            "novelty_at_score": np.ones(_FIRST_CAPACITY),
            "crowd": np.zeros(_FIRST_CAPACITY),
        }
        self._embeddings = np.zeros((_FIRST_CAPACITY, 0), np.float32)
        self._trees = SumTree(_FIRST_CAPACITY), SumTree(_FIRST_CAPACITY)
        self._noted: Reached | None = None
        self._familiarity = Familiarity(near, Seeds(seed).numpy("archive visits"))
        self._reach = reach
        self._changed: set[int] = set()

    def __len__(self) -> int:
        return len(self._names)

    def __getattr__(self, name: str) -> np.ndarray:
        columns = self.__dict__.get("_columns", {})
        if name not in columns:
            raise AttributeError(name)
        return columns[name][: len(self)]

    @property
    def highest(self) -> float:
        """The highest score so far, in a cell or noted."""
        return self._clock.highest

    @property
    def timed(self) -> bool:
        """Whether time has been seen to run out."""
        return self._clock.counts

    def find(self, name: bytes, score: float, length: int) -> int | None:
        """The cell that a state counts as, reached so; None where it would be a new one.

        Once time counts that is the one of its level, or of a higher level and as early.
        """
        cells = self._cells_of.get(name, ())
        if not self._clock.counts:
            return cells[0] if cells else None
        level = self._clock.level(score)
        for cell in cells:
            at = self._clock.level(self._columns["score"][cell])
            if at >= level:
                return cell if at == level or self._columns["length"][cell] <= length else None
        return None

    def __getitem__(self, cell: int) -> Reached:
        """The best state of a cell."""
        return Reached(*(self._columns[name][cell].item() for name in Reached._fields))

    def embeddings(self, cells: Int[np.ndarray, " K"]) -> Float32[np.ndarray, "K D"]:
        """Of the best states of these cells."""
        return self._embeddings[cells]

    def near(self, cell: int, distance: float) -> Bool[np.ndarray, " C"]:
        """Which cells are no farther from a cell than this, in each part of the embedding."""
        # A part at a time: ten times as fast as rows of few numbers.
        parts = self._embeddings[: len(self)].T
        return np.logical_and.reduce([abs(part - part[cell]) <= distance for part in parts])

    def way_to(self, cell: int) -> Way:
        """The way to the best state of a cell."""
        return self.trajectories.way_to(int(self.node[cell]))

    def improves(self, name: bytes, score: float, length: int) -> bool:
        """Whether a state so reached is better than its cell's, or its cell a new one."""
        cell = self.find(name, score, length)
        before = None if cell is None else self[cell]
        return self._clock.improves(Reached(score, length, 0), before)

    def time_ran_out(self, length: int) -> bool:
        """Take note that an episode ended for want of time; whether that was not known yet."""
        if self._clock.counts:
            return False
        self._clock.ran_out(length)
        self._order()
        return True

    def note(self, reached: Reached) -> None:
        """Take note of a state that there is no setting out from, in case it is the best."""
        if reached.improves(self._noted):
            self._noted = reached
        if self._clock.reached(reached.score):
            self._order()

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
        cells, level = self._cells_of.get(name, []), self._clock.level
        needless = [
            other
            for other in cells
            if other != cell
            and self.length[other] >= reached.length
            and level(self.score[other]) <= level(reached.score)
        ]
        if cell is None:
            cell = needless.pop() if needless else len(self)
        before = self[cell] if cell < len(self) else reached
        if cell == len(self._columns["score"]):
            self._grow()
        self.snapshots[cell] = snapshot
        self.trajectories.came_to(reached.node, cell)
        if cell == len(self):
            self._names.append(name)
        for column, value in reached._asdict().items():
            self._columns[column][cell] = value
        kept = {cell, *cells} - set(needless)
        self._cells_of[name] = sorted(kept, key=lambda other: self.length[other])
        if needless:
            self._columns["visits"][needless] = 0
            for tree in self._trees:
                tree.set(np.array(needless), np.zeros(len(needless)))
        if not self._embeddings.size:
            self._embeddings = np.zeros((len(self._embeddings), embedding.size), np.float32)
        self._embeddings[cell] = embedding
        if self._novelty_power:
            self._changed.add(cell)
        if before.score > reached.score:
            self.note(before)
        if self._clock.reached(reached.score):
            self._order()

    def visit(
        self,
        cells: Int[np.ndarray, " K"],
        scores: Float64[np.ndarray, " K"],
        lengths: Int[np.ndarray, " K"],
    ) -> None:
        """Count a visit of each of these cells, with these scores and after so many steps."""
        np.add.at(self._columns["visits"], cells, 1)
        if self._novelty_power:
            familiarity = self._familiarity
            familiarity.sample.add(cells, scores, lengths)
            if familiarity.due:
                if self._reach:
                    self._reach.learn()
                sample = familiarity.sample
                visits = self._known(sample.cells, sample.scores, sample.lengths)
                drawn = np.flatnonzero(self.visits)
                familiarity.refresh(visits, self._known_cells(drawn))
                self._changed.update(range(len(self)))
            cells = np.union1d(cells, self._compare())
        self._weigh(cells)

    def led(self, pairs: Pairs) -> None:
        """Take note of states that explorations led between, where novelty is measured in steps."""
        if self._reach:
            self._reach.add(pairs)

    def _known(self, cells: np.ndarray, scores: np.ndarray, lengths: np.ndarray) -> Known:
        embeddings = self._embeddings[cells]
        if self._reach:
            embeddings = self._reach(embeddings)
        return Known(embeddings, self._levels_gained(scores), self._clock.slice_of(lengths))

    def _levels_gained(self, scores: np.ndarray) -> np.ndarray:
        """The levels of scores; while nothing was gained one, else each loss were something new."""
        gained = self._clock.level_width > 0
        return self._clock.level(scores) + 0.0 if gained else np.zeros(len(scores))

    def novelty_for(
        self, cells: Int[np.ndarray, " K"], reached: Reached, steps: Int[np.ndarray, " K"]
    ) -> Float64[np.ndarray, " K"]:
        """How new the places of cells would be to who sets out from a state and takes these steps.

        1 where nobody came with as high a score as early.
        """
        scores = np.full(len(cells), reached.score)
        known = self._known(cells, scores, reached.length + steps)
        return self._familiarity.of(known)[0][0]

    def _known_cells(self, cells: Int[np.ndarray, " K"]) -> Known:
        return self._known(cells, self.score[cells], self.length[cells])

    def _compare(self) -> Int[np.ndarray, " K"]:
        """Compute how familiar the cells are that have changed; returns them."""
        changed = np.array(sorted(self._changed), np.int64)
        self._changed.clear()
        novelties, crowd = self._familiarity.of(self._known_cells(changed))
        self._columns["novelty"][changed], self._columns["novelty_at_score"][changed] = novelties
        self._columns["crowd"][changed] = crowd
        return changed

    def _weigh(self, cells: Int[np.ndarray, " K"]) -> None:
        cells = cells[self.visits[cells] > 0]
        factors = self._clock.slices_left(self.length[cells]) / np.sqrt(self.visits[cells])
        factors /= np.maximum(self.crowd[cells], 1)
        for tree, novelty in zip(self._trees, (self.novelty, self.novelty_at_score), strict=True):
            tree.set(cells, factors * novelty[cells] ** self._novelty_power)

    def choose(self, count: int, generator: np.random.Generator) -> Int[np.ndarray, " K"]:
        """Draw cells to go back to, with replacement; some are the highest in a tournament.

        Source: Goldberg & Deb, "A comparative analysis of selection schemes used in genetic
        algorithms" (1991), tournament selection.
        """
        drawn = [tree.sample(count, generator) for tree in self._trees]
        cells = np.where(generator.random(count) < 0.5, *drawn)
        ahead = generator.random(count) < (_AHEAD_IN_TIME if self.timed else _AHEAD)
        for place in np.flatnonzero(ahead).tolist():
            size = int(_SEVERAL_IN_TIME ** generator.random()) if self.timed else _SEVERAL
            several = generator.permutation(self._trees[1].sample(size, generator))
            # Where levels begin is drawn anew, lest a loss count because it is just below one.
            scores = self.score[several] + generator.random() * self._clock.level_width
            cells[place] = several[self._levels_gained(scores).argmax()]
        return cells

    @property
    def best(self) -> Reached:
        """What was reached with the highest score; of equal ones with the fewest steps."""
        return self.first_with(max(self.score.max(), self._noted.score if self._noted else -np.inf))

    def first_with(self, score: float) -> Reached:
        """What was reached in the fewest steps with this score or more; of equal ones the best.

        Raises:
            ValueError: nothing was.
        """
        states = [self[cell] for cell in np.flatnonzero(self.score >= score).tolist()]
        if self._noted is not None and self._noted.score >= score:
            states.append(self._noted)
        if not states:
            raise ValueError(f"the highest score is {self.highest:g}, none is {score:g} or more")
        return min(states, key=lambda reached: (reached.length, -reached.score))

    def compact(self, nodes: Int[np.ndarray, " E"]) -> Int[np.ndarray, " E"]:
        """Drop trajectories that lead to no cell and none of these nodes; their new numbers."""
        noted = [] if self._noted is None else [self._noted.node]
        numbers = self.trajectories.keep(np.concatenate((self.node, nodes, noted)).astype(np.int64))
        self._columns["node"][: len(self)] = numbers[self.node]
        if self._noted is not None:
            self._noted = self._noted._replace(node=int(numbers[self._noted.node]))
        return numbers[nodes]

    def regroup(
        self,
        groups: Int[np.ndarray, " N"],
        names: list[bytes],
        embeddings: Float32[np.ndarray, "M D"],
    ) -> Int[np.ndarray, " C"]:
        """Let names fall together: of each group stays the best state, and all visits.

        Once time counts, that of each level.

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
        timed = self._clock.counts
        levels = self._clock.level(self.score) if timed else np.zeros(len(self))
        places = groups[[numbers[name] for name in self._names]], levels
        (kept, _), cells = np.unique(np.stack(places), axis=1, return_inverse=True)
        if timed:
            self.note(self.best)
        ways = (-self.score, self.length) if timed else (self.length, -self.score)
        order = np.lexsort((*ways, cells))
        _, firsts = np.unique(cells[order], return_index=True)
        best = order[firsts]
        visits = np.bincount(cells, weights=self.visits)
        self.snapshots = self.snapshots.of(best.tolist())
        self._names = [names[int(group)] for group in kept]
        for values in self._columns.values():
            values[: len(self)] = values[best]
        self.visits[:] = visits
        self._embeddings[: len(self)] = embeddings[kept.astype(np.int64)]
        self.trajectories.regroup(cells)
        self._familiarity.sample.regroup(cells)
        if self._reach:
            self._reach.forget()
        self._changed.clear()
        self._order()
        return cells

    def _order(self) -> None:
        """Find each name's cells; one of no higher level than an earlier one is drawn no more."""
        self._familiarity.refresh_at = 0.0
        self._cells_of = {name: [] for name in self._names}
        levels = self._clock.level(self.score)
        for cell in np.lexsort((-levels, self.length)).tolist():
            cells = self._cells_of[self._names[cell]]
            if not cells or levels[cell] > levels[cells[-1]]:
                cells.append(cell)
            else:
                self._columns["visits"][cell] = 0
        self._trees = SumTree(len(self._embeddings)), SumTree(len(self._embeddings))
        self._weigh(np.arange(len(self)))

    def state_dict(self) -> dict[str, Any]:
        """Everything that lasts."""
        names = np.frombuffer(b"".join(self._names), np.uint8)
        return {
            "names": names.reshape(len(self), -1),
            "clock": self._clock.state_dict(),
            "noted": None if self._noted is None else tuple(self._noted),
            "columns": {name: values[: len(self)] for name, values in self._columns.items()},
            "snapshots": self.snapshots.state_dict(),
            "trajectories": self.trajectories.state_dict(),
            "embeddings": self._embeddings[: len(self)],
            "familiarity": self._familiarity.state_dict(),
            "reach": self._reach and self._reach.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._names = [name.tobytes() for name in state["names"]]
        self._clock.load_state_dict(state["clock"])
        self._noted = None if state["noted"] is None else Reached(*state["noted"])
        while len(self._columns["score"]) < len(self):
            self._grow()
        for name, values in state["columns"].items():
            self._columns[name][: len(self)] = values
        self.snapshots.load_state_dict(state["snapshots"])
        self.trajectories.load_state_dict(state["trajectories"])
        size = state["embeddings"].shape[1]
        self._embeddings = np.zeros((len(self._columns["score"]), size), np.float32)
        self._embeddings[: len(self)] = state["embeddings"]
        self._changed.clear()
        self._order()
        self._familiarity.load_state_dict(state["familiarity"])
        if self._reach:
            self._reach.load_state_dict(state["reach"])

    def _grow(self) -> None:
        for name, values in self._columns.items():
            self._columns[name] = np.concatenate((values, np.zeros_like(values)))
        self._embeddings = np.concatenate((self._embeddings, np.zeros_like(self._embeddings)))
        before, cells = self._trees, np.arange(len(self._embeddings) // 2)
        self._trees = SumTree(len(self._embeddings)), SumTree(len(self._embeddings))
        for tree, leaves in zip(self._trees, before, strict=True):
            tree.set(cells, leaves.leaves)
