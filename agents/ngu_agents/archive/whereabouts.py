"""Where the agents in controlled cells are, found by other actions, and where they are led to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Int

from ngu_agents.archive.archive import Archive
from ngu_agents.archive.bearings import Bearings
from ngu_agents.archive.cells import Named
from ngu_agents.archive.config import ReturningConfig
from ngu_agents.archive.stitching import Stitching
from ngu_agents.archive.trials import Trial, Trials


class Found(NamedTuple):
    """What is known, after a step, of E states before it."""

    known: Bool[np.ndarray, " E"]
    """Where each agent was, and that it still is in the same scene."""
    snapshots: list[bytes]
    """Of the states; empty where nothing is known."""


class Whereabouts:
    """Tries other actions, counts where E agents are by them, and leads these along known ways.

    Args:
        envs: E environments of images that can go back, with Discrete actions.
        archive: with cells that are embedded in the agents' positions.
        config: of cells and exploration.
        seed: of the actions tried and the ways' draw.

    Raises:
        ValueError: there is no other action to try.
    """

    def __init__(
        self, envs: VectorEnv, archive: Archive, *, config: ReturningConfig, seed: int
    ) -> None:
        self._archive = archive
        self._trials = Trials(envs, every=config.trial_steps, seed=seed)
        self._bearings = Bearings(envs.num_envs, areas=config.place_areas)
        self._stitching = Stitching(
            archive, envs.num_envs, probability=config.follow_probability, seed=seed
        )
        self._beginnings = np.full((envs.num_envs, 2), 0.5, np.float32)
        self._trial: Trial | None = None

    @property
    def tried(self) -> bool:
        """Whether another action was tried before the last step."""
        return self._trial is not None

    def reset(self, observation: np.ndarray) -> None:
        """True episodes begin everywhere, with these observations [E, ...]."""
        everywhere = np.ones(len(self._beginnings), dtype=bool)
        self._beginnings[:] = self._trials.beginnings()
        pictures = self._trials.pictures(observation)
        self._bearings.begin(everywhere, self._beginnings, pictures)
        self._stitching.drop(everywhere)

    def act(
        self, actions: np.ndarray, where: Bool[np.ndarray, " E"], lives: np.ndarray
    ) -> tuple[np.ndarray, Bool[np.ndarray, " E"]]:
        """What the agents in ``where`` do next: actions [E], and who follows a known way with them.

        If it is time to, another action is tried first, and taken back.

        Args:
            actions: of those who follow none [E].
            where: who takes a step.
            lives: of all [E].
        """
        actions, following = self._stitching.act(actions, where)
        self._trial = self._trials(actions, where, lives)
        return actions, following

    def step(
        self,
        before: np.ndarray,
        after: np.ndarray,
        where: Bool[np.ndarray, " E"],
        lived: Bool[np.ndarray, " E"],
    ) -> Found | None:
        """The agents in ``where`` have taken a step, from these observations [E, ...] to those.

        Args:
            before: what they saw.
            after: what they see.
            where: who took a step.
            lived: whom it neither cost a life nor ended the episode.

        Returns:
            The states before it, if another action was tried in them: only now is it known where
            the agents were.
        """
        pictures = self._trials.pictures(after)
        self._bearings.step(self._trials.pictures(before), pictures, where)
        if self._trial is None:
            return None
        controlled = self._trials.compare(self._trial, after, lived)
        known = self._bearings.follow(controlled, pictures)
        self._stitching.look(self._bearings.positions, known)
        return Found(known, self._trial.snapshots)

    def drop(self, where: Bool[np.ndarray, " E"]) -> None:
        """Let the agents in ``where`` follow no way any more."""
        self._stitching.drop(where)

    def choose(
        self, envs: Int[np.ndarray, " K"], cells: Int[np.ndarray, " K"]
    ) -> Int[np.ndarray, " K"]:
        """Choose ways for agents that are to go back to these cells; the cells they begin at."""
        pairs = zip(envs.tolist(), cells.tolist(), strict=True)
        return np.array([self._stitching.begin(env, cell) for env, cell in pairs], np.int64)

    def put(self, where: Bool[np.ndarray, " E"], cells: Int[np.ndarray, " K"]) -> None:
        """The K agents in ``where`` stand at these cells now."""
        self._bearings.put(where, self._archive.embeddings(cells))

    def begin(
        self, where: Bool[np.ndarray, " E"], of: Int[np.ndarray, " K"], observation: np.ndarray
    ) -> None:
        """The K agents in ``where`` stand where true episodes began.

        Args:
            where: who.
            of: whose beginnings these were at the last reset.
            observation: what all see [E, ...].
        """
        self._bearings.begin(where, self._beginnings[of], self._trials.pictures(observation))

    def placed(self, named: Named) -> Named:
        """Cells of pictures, parted by where the agents are; embedded in their positions."""
        return self._bearings.placed(named)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on."""
        return {
            "trials": self._trials.state_dict(),
            "bearings": self._bearings.state_dict(),
            "stitching": self._stitching.state_dict(),
            "beginnings": self._beginnings.copy(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self._trials.load_state_dict(state["trials"])
        self._bearings.load_state_dict(state["bearings"])
        self._stitching.load_state_dict(state["stitching"])
        self._beginnings[:] = state["beginnings"]
