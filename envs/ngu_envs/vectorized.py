"""What the vector environments of this package share: autoreset in the next step, seeds, state.

After an episode ends, `step` has returned its true final observation; the next `step` ignores that
environment's action and returns the first observation of the next episode with reward 0 (the reset
step). This is `AutoresetMode.NEXT_STEP` of gymnasium.
"""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from ngu_envs.checks import require_integer

State = dict[str, Any]


def environment_metadata(progress: str | None) -> dict[str, Any]:
    """Metadata of a vector environment: how it resets, and the info key that tells progress."""
    return {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": [], "progress": progress}


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def generators_of(seed: int, count: int) -> list[np.random.Generator]:
    """`count` independent generators; the first ones do not depend on `count`."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]


def checked_actions(actions: Any, space: gymnasium.spaces.Discrete, num_envs: int) -> np.ndarray:
    """Actions [E] as an integer array.

    Raises:
        TypeError: They are no integers.
        ValueError: Wrong shape, or an action outside the space.
    """
    array = np.asarray(actions)
    if array.dtype.kind not in "iu":
        raise TypeError(f"actions must be integers, got dtype {array.dtype}")
    if array.shape != (num_envs,):
        raise ValueError(f"actions must have shape ({num_envs},), got {array.shape}")
    if array.min() < 0 or array.max() >= space.n:
        wrong = int(array[(array < 0) | (array >= space.n)][0])
        raise ValueError(f"actions must lie in [0, {int(space.n) - 1}], got {wrong}")
    return array


def load_arrays(targets: dict[str, np.ndarray], sources: dict[str, np.ndarray]) -> None:
    """Copies saved arrays into living ones, after checking all of them.

    Raises:
        ValueError: A name, shape or dtype differs; nothing has changed then.
    """
    if set(targets) != set(sources):
        raise ValueError(f"state must hold the arrays {sorted(targets)}, got {sorted(sources)}")
    for name, target in targets.items():
        source = sources[name]
        if source.shape != target.shape or source.dtype != target.dtype:
            raise ValueError(
                f"state's {name} must be {target.dtype}{target.shape}, "
                f"got {source.dtype}{source.shape}"
            )
    for name, target in targets.items():
        target[...] = sources[name]


class OwnVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A vector environment of this package: its spaces, its seed, and what a call must be.

    Args:
        num_envs: Number of environments E, at least 1.
        seed: What `reset()` uses the first time when it gets no seed, at least 0.
        observation_space: Of one environment.
        action_space: Of one environment.
        progress: The key of info that tells how far an episode got, or None.

    Raises:
        TypeError: `num_envs` or `seed` is no integer.
        ValueError: `num_envs` or `seed` is too small.
    """

    def __init__(
        self,
        num_envs: int,
        seed: int,
        observation_space: gymnasium.spaces.Box,
        action_space: gymnasium.spaces.Discrete,
        progress: str | None,
    ):
        self.num_envs = require_integer("num_envs", num_envs, minimum=1)
        self.initial_seed = require_integer("seed", seed, minimum=0)
        self.metadata = environment_metadata(progress)
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, self.num_envs)
        self.action_space = batch_space(action_space, self.num_envs)
        self.action_space.seed(self.initial_seed)
        self._was_reset = False

    def _seed_for_reset(self, seed: int | None, options: dict[str, Any] | None) -> int | None:
        """The seed that a reset starts from, or None where the generators go on."""
        if options:
            raise ValueError(f"reset takes no options, got {sorted(options)}")
        if seed is not None:
            return require_integer("seed", seed, minimum=0)
        return None if self._was_reset else self.initial_seed

    def _require_reset(self) -> None:
        if not self._was_reset:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")


class RestorableVectorEnv(OwnVectorEnv):
    """A vector environment whose whole state can be saved and loaded; see `OwnVectorEnv`."""

    @property
    def repeatable(self) -> bool:
        """Whether the same actions lead from a snapshot to the same states every time."""
        return False

    def _require_one_for_each(self, where: np.ndarray, snapshots: list[bytes]) -> None:
        self._require_reset()
        if len(snapshots) != where.sum():
            raise ValueError(
                f"snapshots must be one for each of {where.sum()} environments, "
                f"got {len(snapshots)}"
            )

    def state_dict(self) -> State:
        """Everything that the next steps depend on: arrays, numbers, strings."""
        raise NotImplementedError

    def load_state_dict(self, state: State) -> None:
        """Goes on where `state_dict` was taken.

        Raises:
            ValueError: The state is that of another environment or number of environments.
        """
        raise NotImplementedError

    def snapshots(self, where: np.ndarray) -> list[bytes]:
        """Where the environments in `where` (bool [E]) stand, for `restore` to go back to.

        Chance is not part of it: what is drawn after going back is drawn anew.
        """
        raise NotImplementedError

    def restore(
        self, where: np.ndarray, snapshots: list[bytes]
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Takes the environments in `where` (bool [E]) back, each to one of K snapshots.

        A snapshot may be that of another environment of the same kind and size.

        Returns:
            Their observations [K, ...] and info, [K] each.

        Raises:
            ValueError: One is no snapshot of such an environment, or there are not K.
        """
        raise NotImplementedError


class VectorizedEnv(RestorableVectorEnv):
    """Environments that step together, as arrays over E.

    A subclass gives `_arrays` (its state), `_begin` (new episodes), `_advance` (one step) and
    `_observe`, and may give `_reseed`, `_info`. An episode longer than `max_steps` is truncated.
    """

    def __init__(
        self,
        num_envs: int,
        seed: int,
        observation_space: gymnasium.spaces.Box,
        action_space: gymnasium.spaces.Discrete,
        progress: str | None,
        max_steps: int,
    ):
        super().__init__(num_envs, seed, observation_space, action_space, progress)
        self.max_steps = require_integer("max_steps", max_steps, minimum=1)
        self._ended = np.zeros(self.num_envs, bool)
        self._elapsed = np.zeros(self.num_envs, np.int64)
        self._generator = generators_of(self.initial_seed, 1)[0]

    def _reseed(self, seed: int) -> None:
        self._generator = generators_of(seed, 1)[0]

    def _arrays(self) -> dict[str, np.ndarray]:
        """The living arrays [E, ...] that make up the state, by name."""
        return {"ended": self._ended, "elapsed": self._elapsed}

    def _begin(self, where: np.ndarray) -> None:
        """Begins an episode in the environments `where` (bool [E])."""
        raise NotImplementedError

    def _advance(self, actions: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Takes one step in the environments `where`; rewards float32 [E], terminated bool [E]."""
        raise NotImplementedError

    def _observe(self) -> np.ndarray:
        """A new array of observations [E, ...]."""
        raise NotImplementedError

    def _info(self) -> dict[str, Any]:
        return {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode in all environments; observations [E, ...] and info."""
        reset_seed = self._seed_for_reset(seed, options)
        if reset_seed is not None:
            self._reseed(reset_seed)
        self._was_reset = True
        self._ended[:] = False
        self._elapsed[:] = 0
        self._begin(np.ones(self.num_envs, bool))
        return self._observe(), self._info()

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step everywhere, a reset step where an episode ended at the step before.

        Args:
            actions: Integers [E].

        Returns:
            Observations [E, ...], rewards float32 [E], terminated and truncated bool [E], info.

        Raises:
            ResetNeeded: Before the first reset.
            TypeError: Actions that are no integers.
            ValueError: Actions of another shape or outside the space.
        """
        self._require_reset()
        assert isinstance(self.single_action_space, gymnasium.spaces.Discrete)
        actions = checked_actions(actions, self.single_action_space, self.num_envs)
        resets = self._ended
        stepped = ~resets
        rewards, terminated = self._advance(actions, stepped)
        self._elapsed += 1
        truncated = stepped & ~terminated & (self._elapsed >= self.max_steps)
        if resets.any():
            self._elapsed[resets] = 0
            self._begin(resets)
        self._ended[...] = terminated | truncated
        return self._observe(), rewards, terminated, truncated, self._info()

    def state_dict(self) -> State:
        """Everything that the next steps depend on; arrays are copies."""
        return {
            "environment": type(self).__name__,
            "was_reset": self._was_reset,
            "generator": self._generator.bit_generator.state,
            "arrays": {name: array.copy() for name, array in self._arrays().items()},
        }

    def load_state_dict(self, state: State) -> None:
        """Goes on where `state_dict` was taken.

        Raises:
            ValueError: The state is that of another environment, size or number of environments.
        """
        if state["environment"] != type(self).__name__:
            raise ValueError(
                f"state must be that of a {type(self).__name__}, got {state['environment']}"
            )
        load_arrays(self._arrays(), state["arrays"])
        self._generator.bit_generator.state = state["generator"]
        self._was_reset = state["was_reset"]

    def snapshots(self, where: np.ndarray) -> list[bytes]:
        """Where the environments in `where` (bool [E]) stand, for `restore` to go back to."""
        self._require_reset()
        arrays = self._arrays().values()
        return [b"".join(array[i].tobytes() for array in arrays) for i in np.flatnonzero(where)]

    def restore(
        self, where: np.ndarray, snapshots: list[bytes]
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Takes the environments in `where` (bool [E]) back, each to one of K snapshots."""
        self._require_one_for_each(where, snapshots)
        arrays = self._arrays().values()
        size = sum(array[0].nbytes for array in arrays)
        for snapshot in snapshots:
            if len(snapshot) != size:
                raise ValueError(f"a snapshot must have {size} bytes, got {len(snapshot)}")
        for i, snapshot in zip(np.flatnonzero(where), snapshots, strict=True):
            first = 0
            for array in arrays:
                row = np.frombuffer(snapshot, array.dtype, array[i].size, first)
                array[i] = row.reshape(array[i].shape)
                first += row.nbytes
        info = {name: values[where] for name, values in self._info().items()}
        return self._observe()[where], info
