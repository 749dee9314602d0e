"""Where the agent is: what another action would have changed in the picture.

A saved state can be left by two actions. What then differs between the pictures is what the agent
controls, and nothing else: enemies, clocks and noise do the same in both. Never Give Up (arXiv
2002.06038, section 2) learns to keep the controllable part of a state; where states can be restored
it can be tried out.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Float32, Shaped

from ngu.seeding import Seeds, generator_state, set_generator_state
from ngu.spaces import ObservationSpec
from ngu_agents.archive.cells import last_channel

# A larger share of the picture differs only where one of the actions led to another place. Half of
# what differs takes up a larger share of its rows or columns only where one led to another screen.
_LARGEST_SHARE, _LARGEST_SPREAD = 1 / 8, 1 / 8
# To find out where an agent begins.
_TRIALS_AT_BEGINNING, _STEPS_HELD = 8, 8


class Snapshots(Protocol):
    """What environments that can go back have beside gymnasium's methods."""

    def snapshots(self, where: np.ndarray) -> list[bytes]:
        """Where the environments in ``where`` stand."""
        ...

    def restore(
        self, where: np.ndarray, snapshots: list[bytes]
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Take these environments back; their observations and info."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        ...


class Controlled(NamedTuple):
    """Where each of E agents is."""

    places: Float32[np.ndarray, "E 2"]
    """Row and column in shares of the picture; .5 where nothing was seen."""
    seen: Bool[np.ndarray, " E"]
    """Whether the two actions made a difference, and not another picture altogether."""


def controlled(
    pictures: Shaped[np.ndarray, "E H W"], others: Shaped[np.ndarray, "E H W"]
) -> Controlled:
    """The median row and column of the pixels that differ."""
    differ = pictures != others
    counts = differ.sum((1, 2))
    seen = (counts > 0) & (counts <= _LARGEST_SHARE * differ[0].size)
    places = np.full((len(differ), 2), 0.5, np.float32)
    for axis, along in enumerate((differ.sum(2), differ.sum(1))):
        sums, length = along.cumsum(1), along.shape[1]
        first, median, last = (
            (sums >= share * counts[:, None]).argmax(1) for share in (0.25, 0.5, 0.75)
        )
        seen &= last - first <= _LARGEST_SPREAD * length
        places[:, axis] = (median + 0.5) / length
    places[~seen] = 0.5
    return Controlled(places, seen)


class Trial(NamedTuple):
    """What came of another action in E environments that have gone back since."""

    snapshots: list[bytes]
    """Of the states that they went back to; empty where none was tried."""
    pictures: Shaped[np.ndarray, "E H W"]
    """What was seen after the other action."""
    lived: Bool[np.ndarray, " E"]
    """Where it was tried, and neither cost a life nor ended the episode."""


class Trials:
    """Tries another action every few steps, and goes back.

    Args:
        envs: E environments of images that can go back, with Discrete actions.
        every: steps between two trials.
        seed: of the actions tried.

    Raises:
        ValueError: there is no other action.
    """

    def __init__(self, envs: VectorEnv, *, every: int, seed: int) -> None:
        self._envs = envs
        # Environments that can go back have these methods, which gymnasium's type does not tell.
        self._returning_envs: Snapshots = envs  # pyright: ignore[reportAttributeAccessIssue]
        space = envs.single_action_space
        assert isinstance(space, Discrete)
        if space.n < 2:
            raise ValueError(f"another action can be tried of 2 actions or more, got {space}")
        self._first, self._actions = int(space.start), int(space.n)
        self._channel_axis = ObservationSpec(envs.single_observation_space).channel_axis
        self._every = every
        self._generator = Seeds(seed).numpy("archive trials")
        self._steps = 0

    def __call__(
        self,
        actions: np.ndarray,
        where: Bool[np.ndarray, " E"],
        lives: np.ndarray,
    ) -> Trial | None:
        """Try an action other than these in the environments in ``where``, if it is time to.

        The others must be taken back afterwards, wherever they are then.
        """
        self._steps += 1
        if self._steps % self._every or not where.any():
            return None
        snapshots = [b""] * len(where)
        taken = self._returning_envs.snapshots(where)
        for row, snapshot in zip(np.flatnonzero(where).tolist(), taken, strict=True):
            snapshots[row] = snapshot
        further = self._generator.integers(1, self._actions, size=len(where))
        others = (actions - self._first + further) % self._actions + self._first
        observation, _, terminated, truncated, info = self._envs.step(others)
        lived = where & ~(terminated | truncated | (info.get("lives", lives) < lives))
        pictures = self.pictures(observation).copy()
        self._returning_envs.restore(where, taken)
        return Trial(snapshots, pictures, lived)

    def beginnings(self) -> Float32[np.ndarray, "E 2"]:
        """Where the agents are now; in the middle of the picture where nothing shows it.

        Two actions are held for some steps each, and taken back: the first step may change nothing.
        """
        taken = self._returning_envs.snapshots(np.ones(self._envs.num_envs, dtype=bool))
        found = np.full((len(taken), 2), 0.5, np.float32)
        missing = np.ones(len(taken), dtype=bool)
        for _ in range(_TRIALS_AT_BEGINNING):
            for pictures, others in zip(self._held(taken), self._held(taken), strict=True):
                places, seen = controlled(pictures, others)
                found[missing & seen] = places[missing & seen]
                missing &= ~seen
            if not missing.any():
                break
        return found

    def _held(self, taken: list[bytes]) -> list[np.ndarray]:
        """What is seen after each of some steps of one action; taken back."""
        held = self._generator.integers(self._actions, size=len(taken)) + self._first
        pictures = []
        for _ in range(_STEPS_HELD):
            observation, *_ = self._envs.step(held)
            pictures.append(self.pictures(observation).copy())
        self._returning_envs.restore(np.ones(len(taken), dtype=bool), taken)
        return pictures

    def compare(
        self, trial: Trial, observation: np.ndarray, lived: Bool[np.ndarray, " E"]
    ) -> Controlled:
        """Where the agents were, by what the first action led to: observations [E, ...].

        Args:
            trial: of the other action.
            observation: after the first one.
            lived: where it neither cost a life nor ended the episode.
        """
        places, seen = controlled(self.pictures(observation), trial.pictures)
        return Controlled(places, seen & trial.lived & lived)

    def pictures(self, observation: np.ndarray) -> Shaped[np.ndarray, "E H W"]:
        """What is compared of observations [E, ...]."""
        return last_channel(observation, self._channel_axis)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next trials depend on."""
        return {"generator": generator_state(self._generator), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        set_generator_state(self._generator, state["generator"])
        self._steps = state["steps"]
