"""Environments whose episodes begin where the archive sends them: return, then explore.

Source: Ecoffet et al., "First return, then explore" (arXiv 2004.12919).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv, VectorWrapper
from jaxtyping import Bool

from ngu.seeding import Seeds, generator_state, set_generator_state
from ngu.spaces import ObservationSpec
from ngu_agents.archive.archive import Archive
from ngu_agents.archive.cells import Cells, DownscaledCells
from ngu_agents.archive.clock import Reached
from ngu_agents.archive.config import ReturningConfig
from ngu_agents.archive.latent import LatentCells
from ngu_agents.archive.reach import Passed, Reach
from ngu_agents.archive.snapshots import SnapshotStore
from ngu_agents.archive.trajectories import NO_PARENT
from ngu_agents.archive.trials import Snapshots
from ngu_agents.archive.whereabouts import Whereabouts
from ngu_agents.base import Figures

# Agents up to an eighth of a screen apart are near each other.
_NEAR = 1 / 8


class Trajectory(NamedTuple):
    """A way from the beginning of an episode."""

    root: bytes
    """Snapshot of the beginning."""
    actions: bytes
    """Actions from there on, a byte each."""
    score: float
    """Sum of the rewards that they bring."""


class ReturningEnvs(VectorWrapper):
    """Explores from a cell for a number of steps, then goes back to another one.

    To the agent this is an episode: it is truncated when the steps are over or a life is lost, and
    the next step, whose action means nothing, begins at a cell drawn from the archive. Every state
    on the way is taken into the archive where it improves it. info has "score" [E], the sum of all
    rewards since the true beginning.

    With a ``follow_probability`` explorations in controlled cells begin with steps along known
    ways, which do not count as exploring. info has the actions "taken" [E], the agent's or a way's.

    With ``cells="controlled"`` a picture's cell depends on where the agent is in it too. Every few
    steps another action is tried first and taken back, which counts as a step as well: info has
    "tried" [E]. The states in between do not join the archive, nor do those in which the action
    makes no difference, as in a fall: they lead where it ends. Who has gained something goes on
    until a state with it has joined.

    Once a game has ended for want of time (it was truncated, or no life had been lost), all begin
    anew, and the archive keeps what is reached early beside what is reached with a higher score.

    Args:
        envs: E environments in next-step autoreset that can go back.
        config: of cells and exploration.
        seed: of the cells' draw.

    Raises:
        TypeError: observations are no pictures, or actions not Discrete from 0 to 255 at most.
        ValueError: cells are controlled, and there is no other action to try.
    """

    def __init__(self, envs: VectorEnv, *, config: ReturningConfig, seed: int) -> None:
        super().__init__(envs)
        space = envs.single_action_space
        if not (isinstance(space, Discrete) and space.start >= 0 and space.start + space.n <= 256):
            raise TypeError(
                f"trajectories hold Discrete actions from 0 to 255 at most, got {space}"
            )
        # Environments that can go back have these methods, which gymnasium's type does not tell.
        self._returning_envs: Snapshots = envs  # pyright: ignore[reportAttributeAccessIssue]
        image = ObservationSpec(envs.single_observation_space).kind == "image"
        controlled = config.cells == "controlled" and image
        in_steps = config.nearness == "steps"
        self._passed = Passed(envs.num_envs, seed) if in_steps else None
        self.archive = Archive(
            memory=int(config.memory_gb * 1e9),
            spill_folder=config.spill_folder,
            novelty_power=config.novelty_power,
            near=_NEAR if controlled else None,
            reach=Reach(seed) if in_steps else None,
            seed=seed,
        )
        self._whereabouts: Whereabouts | None = None
        if controlled:
            self._whereabouts = Whereabouts(envs, self.archive, config=config, seed=seed)
        self._cells = _cells(envs, config, seed)
        self._explore_steps = config.explore_steps
        self._generator = Seeds(seed).numpy("archive")
        num_envs = envs.num_envs
        self._over = np.zeros(num_envs, dtype=bool)
        self._anew = np.zeros(num_envs, dtype=bool)
        self._score = np.zeros(num_envs)
        self._length = np.zeros(num_envs, dtype=np.int64)
        self._explored = np.zeros(num_envs, dtype=np.int64)
        self._gained = np.zeros(num_envs, dtype=bool)
        self._cell = np.zeros(num_envs, dtype=np.int64)
        self._node = np.zeros(num_envs, dtype=np.int64)
        self._lives = np.zeros(num_envs, dtype=np.int64)
        self._actions = [bytearray() for _ in range(num_envs)]
        space = envs.observation_space
        self._observation = np.zeros(space.shape or (), space.dtype)
        self.roots: dict[int, bytes] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin true episodes everywhere; observations [E, ...] and info."""
        observation, info = self.env.reset(seed=seed, options=options)
        everywhere = np.ones(self.num_envs, dtype=bool)
        for env, snapshot in enumerate(self._returning_envs.snapshots(everywhere)):
            self._node[env] = root = self.archive.trajectories.add(NO_PARENT, b"")
            self.roots[root] = snapshot
            self._actions[env].clear()
        for values in (self._score, self._length, self._explored, self._over, self._anew):
            values[:] = 0
        self._lives[:] = info.get("lives", 0)
        if self._whereabouts:
            self._whereabouts.reset(observation)
        self._cell[:] = -1
        if self._passed:
            self._passed.forget(everywhere)
        self._remember(observation, everywhere)
        self._observation = observation.copy()
        return observation, info | {"score": self._score.copy()}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step everywhere, a return to a cell where exploration was over at the step before."""
        exploring = ~self._over
        following = np.zeros(self.num_envs, dtype=bool)
        if self._whereabouts:
            actions, following = self._whereabouts.act(actions, exploring, self._lives)
        observation, reward, terminated, truncated, info = self.env.step(actions)
        hurt = info.get("lives", self._lives) < self._lives
        died = terminated | truncated | hurt
        if self._whereabouts:
            lived = exploring & ~died
            found = self._whereabouts.step(self._observation, observation, exploring, lived)
            if found:
                self._remember(self._observation, *found)
        self._score += np.where(exploring, reward, 0.0)
        self._length += exploring
        self._explored += exploring & ~following
        self._gained |= exploring & (reward > 0)
        for env in np.flatnonzero(exploring):
            self._actions[env].append(int(actions[env]))
        self._cells.observe(self._observation, actions, observation, exploring)
        regrouped = self._cells.regrouped()
        if regrouped is not None:
            self._cell = self.archive.regroup(*regrouped)[self._cell]
            if self._passed:
                self._passed.forget(np.ones(self.num_envs, dtype=bool))
        if not self._whereabouts:
            self._remember(observation, exploring & ~died)
        # Where a game terminated there is no state; one with less time left may be none's best.
        missed = terminated | (self._score > self.archive.highest)
        for env in np.flatnonzero(exploring & missed).tolist():
            self.archive.note(self._reached(env))
        out_of_time = exploring & (truncated | (terminated & ~hurt & ("lives" in info)))
        if out_of_time.any():
            self._anew |= self.archive.time_ran_out(int(self._length[out_of_time].max()))
        explored = (self._explored >= self._explore_steps) & ~self._gained
        over = exploring & (died | self._anew | explored)
        if self._whereabouts:
            self._whereabouts.drop(over)
        if not exploring.all():
            self._return(~exploring, observation, info)
        self._observation = observation.copy()
        self._lives[:] = info.get("lives", self._lives)
        self._over = over
        terminated = terminated & exploring
        reward = np.where(exploring, reward, 0.0).astype(np.float32)
        info["score"] = self._score.copy()
        info["taken"] = actions
        info["tried"] = exploring & bool(self._whereabouts and self._whereabouts.tried)
        return observation, reward, terminated, over & ~terminated, info

    def _return(self, where: np.ndarray, observation: np.ndarray, info: dict[str, Any]) -> None:
        rows = np.flatnonzero(where)
        cells = self.archive.choose(len(rows), self._generator)
        anew = self._anew[rows]
        if self._whereabouts:
            cells[~anew] = self._whereabouts.choose(rows[~anew], cells[~anew])
        ways = [self.archive[cell] for cell in cells.tolist()]
        snapshots = [self.archive.snapshots[cell] for cell in cells.tolist()]
        roots = list(self.roots.items())
        for place in np.flatnonzero(anew).tolist():
            root, snapshots[place] = roots[rows[place] % len(roots)]
            ways[place] = Reached(0.0, 0, root)
        observation[rows], restored = self._returning_envs.restore(where, snapshots)
        for name, values in restored.items():
            info[name][rows] = values
        self._score[rows], self._length[rows], self._node[rows] = np.array(ways).T
        self._cell[rows] = np.where(anew, -1, cells)
        begins = np.isin(np.arange(self.num_envs), rows[anew])
        if self._whereabouts:
            self._whereabouts.put(where, cells)
            self._whereabouts.begin(begins, rows[anew] % len(roots), observation)
        self._explored[rows] = 0
        self._gained[rows] = False
        if self._passed:
            self._passed.forget(where)
        # A visit as well: else a state that leads to no other cell would be drawn for ever.
        drawn = rows[~anew]
        self.archive.visit(self._cell[drawn], self._score[drawn], self._length[drawn])
        for env in rows.tolist():
            self._actions[env].clear()
        if anew.any():
            self._anew[rows] = False
            self._remember(observation, begins)

    def _remember(
        self,
        observation: np.ndarray,
        where: Bool[np.ndarray, " E"],
        snapshots: list[bytes] | None = None,
    ) -> None:
        """Take the states in ``where`` into the archive where they improve it; count visits.

        Args:
            observation: of the states [E, ...].
            where: which ones.
            snapshots: of the E states; by default of those that the environments are in.
        """
        named = self._cells(observation, where)
        if self._whereabouts:
            named = self._whereabouts.placed(named)
        names, embeddings = named
        archive = self.archive
        if self._passed:
            archive.led(self._passed(embeddings, where))
        better = np.array(
            [
                seen and archive.improves(name, score, length)
                for seen, name, score, length in zip(
                    where, names, self._score.tolist(), self._length.tolist(), strict=True
                )
            ]
        )
        if better.any():
            rows = np.flatnonzero(better).tolist()
            if snapshots is None:
                taken = self._returning_envs.snapshots(better)
            else:
                taken = [snapshots[env] for env in rows]
            for env, snapshot in zip(rows, taken, strict=True):
                self._put(env, names[env], snapshot, embeddings[env])
        cells = self._cell.copy()
        for env in np.flatnonzero(where).tolist():
            cell = archive.find(names[env], float(self._score[env]), int(self._length[env]))
            assert cell is not None
            cells[env] = cell
        entered = cells != self._cell
        if entered.any():
            archive.visit(cells[entered], self._score[entered], self._length[entered])
        self._cell = cells
        self._gained &= ~where

    def _put(self, env: int, name: bytes, snapshot: bytes, embedding: np.ndarray) -> None:
        if self.archive.improves(name, float(self._score[env]), int(self._length[env])):
            # Else another environment has reached the same cell in this step.
            self.archive.put(name, snapshot, self._reached(env), embedding)

    def _reached(self, env: int) -> Reached:
        """The state that an environment is in, its trajectory in the tree from now on."""
        if self._actions[env]:
            actions = bytes(self._actions[env])
            self._node[env] = self.archive.trajectories.add(int(self._node[env]), actions)
            self._actions[env].clear()
        return Reached(float(self._score[env]), int(self._length[env]), int(self._node[env]))

    def status(self) -> Figures:
        """Cells, the best score in them, and the snapshots' memory."""
        if not len(self.archive):
            return {}
        return {
            "cells": len(self.archive),
            "score_best": self.archive.highest,
            "archive_gb": self.archive.snapshots.nbytes / 1e9,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on, the archive included."""
        roots = np.array(list(self.roots))
        nodes = self.archive.compact(np.concatenate((self._node, roots)))
        self._node = nodes[: self.num_envs]
        kept = nodes[self.num_envs :].tolist()
        self.roots = dict(zip(kept, self.roots.values(), strict=True))
        return {
            "envs": self._returning_envs.state_dict(),
            "archive": self.archive.state_dict(),
            "cells": self._cells.state_dict(),
            "passed": self._passed and self._passed.state_dict(),
            "whereabouts": self._whereabouts and self._whereabouts.state_dict(),
            "roots": {
                str(node): np.frombuffer(root, np.uint8) for node, root in self.roots.items()
            },
            "generator": generator_state(self._generator),
            "actions": [np.frombuffer(bytes(piece), np.uint8) for piece in self._actions],
            "arrays": {name: values.copy() for name, values in self._arrays().items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken."""
        self._returning_envs.load_state_dict(state["envs"])
        self.archive.load_state_dict(state["archive"])
        self._cells.load_state_dict(state["cells"])
        if self._passed:
            self._passed.load_state_dict(state["passed"])
        if self._whereabouts:
            self._whereabouts.load_state_dict(state["whereabouts"])
        self.roots = {int(node): root.tobytes() for node, root in state["roots"].items()}
        set_generator_state(self._generator, state["generator"])
        self._actions = [bytearray(piece.tobytes()) for piece in state["actions"]]
        for name, values in self._arrays().items():
            values[:] = state["arrays"][name]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "over": self._over,
            "anew": self._anew,
            "score": self._score,
            "length": self._length,
            "explored": self._explored,
            "gained": self._gained,
            "cell": self._cell,
            "node": self._node,
            "lives": self._lives,
            "observation": self._observation,
        }


def _cells(envs: VectorEnv, config: ReturningConfig, seed: int) -> Cells:
    if config.cells == "latent":
        return LatentCells(
            envs.single_observation_space,
            envs.single_action_space,
            growth=config.latent_growth,
            regroup_steps=config.latent_regroup_steps,
            seed=seed,
        )
    return DownscaledCells(
        envs.single_observation_space,
        width=config.cell_width,
        height=config.cell_height,
        levels=config.cell_levels,
    )


def best_trajectory(state: Mapping[str, Any], score: float | None = None) -> Trajectory:
    """The shortest way to a score, from the state of environments with an archive.

    Args:
        state: what :meth:`ReturningEnvs.state_dict` returned.
        score: to be reached; None for the highest.

    Raises:
        ValueError: it was not reached.
    """
    archive = Archive(memory=0)
    none = SnapshotStore(0, None).state_dict()
    archive.load_state_dict({**state["archive"], "snapshots": none})
    reached = archive.best if score is None else archive.first_with(score)
    ways = archive.trajectories
    root = state["roots"][str(ways.way_to(reached.node).nodes[0])].tobytes()
    return Trajectory(root, ways.actions_to(reached.node), reached.score)
