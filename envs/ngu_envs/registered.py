"""Environments of other packages, by the id under which gymnasium knows them."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from ngu_envs.checks import require_integer
from ngu_envs.classic_control import ClassicControl, is_classic_control
from ngu_envs.vectorized import usable_cores

GRID_PREFIXES = ("MiniGrid-", "BabyAI-")
# Ids that this package has a faster environment for, with the same pictures and rewards.
_FASTER = {"CarRacing-v3": "ngu_envs.car_racing:CarRacing"}
# Objects are numbered up to 10 (the agent), colours and door states below that.
LARGEST_GRID_SYMBOL = 10


def registered_spec(name: str) -> EnvSpec | None:
    """What gymnasium knows under an id ("CartPole-v1", "module:Id-v0"), None where nothing.

    Raises:
        ImportError: The id is one of MiniGrid's and MiniGrid is not installed.
    """
    if name.startswith(GRID_PREFIXES):
        if importlib.util.find_spec("minigrid") is None:
            raise ImportError(f'{name} needs MiniGrid: pip install "never-give-up[envs]"')
        importlib.import_module("minigrid")
    if ":" in name:
        return gymnasium.spec(name)
    return gymnasium.registry.get(name)


def registered_names() -> list[str]:
    """All ids that gymnasium knows here, MiniGrid's included where it is installed."""
    if importlib.util.find_spec("minigrid") is not None:
        importlib.import_module("minigrid")
    return sorted(gymnasium.registry)


class GridImage(gymnasium.ObservationWrapper[np.ndarray, Any, dict[str, Any]]):
    """The picture of a MiniGrid observation alone, uint8 [H, W, 3] of small symbols.

    MiniGrid declares symbols up to 255; the space here ends at the largest one there is, so that a
    network that divides by it sees numbers in [0, 1].
    """

    def __init__(self, env: gymnasium.Env[dict[str, Any], Any]):
        super().__init__(env)
        assert isinstance(env.observation_space, gymnasium.spaces.Dict)
        shape = env.observation_space["image"].shape
        assert shape is not None
        self.observation_space = gymnasium.spaces.Box(0, LARGEST_GRID_SYMBOL, shape, np.uint8)

    def observation(self, observation: dict[str, Any]) -> np.ndarray:
        """Drops the direction and the mission."""
        return observation["image"]


class SeededVectorEnv(VectorWrapper[Any, Any, Any, Any, np.ndarray]):
    """Uses the seed given at the start when the first reset gets none.

    Args:
        env: The vector environment.
        seed: At least 0; environment i of a gymnasium vector environment gets seed + i.
    """

    def __init__(self, env: VectorEnv[Any, Any, np.ndarray], seed: int):
        super().__init__(env)
        self.initial_seed = require_integer("seed", seed, minimum=0)
        self.metadata = {**env.metadata, "progress": None}
        self.action_space.seed(self.initial_seed)
        self._was_reset = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode in all environments."""
        if seed is None and not self._was_reset:
            seed = self.initial_seed
        observations, info = self.env.reset(seed=seed, options=options)
        self._was_reset = True
        return observations, info


def _check_options(spec: EnvSpec, options: dict[str, Any]) -> None:
    creator = spec.entry_point
    if creator is None:
        raise ValueError(f"{spec.id} cannot be made: it is registered without an entry point")
    parameters = inspect.signature(
        load_env_creator(creator) if isinstance(creator, str) else creator
    ).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = sorted({*parameters, "max_episode_steps"} - {"render_mode"})
    unknown = sorted(set(options) - {*known, "render_mode"})
    if unknown:
        raise ValueError(f"{spec.id} has no option {unknown[0]!r}; it has {', '.join(known)}")


def make_registered(spec: EnvSpec, num_envs: int, seed: int, **options: Any) -> VectorEnv:
    """Makes `num_envs` environments of a registered kind.

    They step one after the other, or side by side where they draw pictures and Linux has more than
    one core for them: with the same results.

    Args:
        spec: Which kind.
        num_envs: How many, at least 1.
        seed: What the first `reset()` uses.
        options: Arguments of the environment itself.

    Raises:
        ValueError: An option that the environment does not have, or a wrong number.
    """
    require_integer("num_envs", num_envs, minimum=1)
    require_integer("seed", seed, minimum=0)
    spec = dataclasses.replace(spec, entry_point=_FASTER.get(spec.id, spec.entry_point))
    _check_options(spec, options)
    if is_classic_control(spec):
        return ClassicControl(num_envs, seed, spec, **options)
    wrappers: list[Callable[[gymnasium.Env], gymnasium.Wrapper]] = []
    if spec.id.startswith(GRID_PREFIXES):
        wrappers.append(GridImage)
    several = num_envs > 1 and sys.platform == "linux" and usable_cores() > 1
    processes = several and _is_picture(_observation_space(spec, **options))
    with _interrupts_blocked() if processes else nullcontext():
        envs = gymnasium.make_vec(
            spec,
            num_envs=num_envs,
            vectorization_mode="async" if processes else "sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP}
            | ({"context": "fork"} if processes else {}),
            wrappers=wrappers,
            **options,
        )
    return SeededVectorEnv(envs, seed)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes begun in here never see Ctrl-C, which is for the one that began them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _observation_space(spec: EnvSpec, **options: Any) -> gymnasium.Space[Any]:
    env = gymnasium.make(spec, **options)
    env.close()
    return env.observation_space


def _is_picture(space: gymnasium.Space[Any]) -> bool:
    return isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 3


def registered_family(spec: EnvSpec) -> str:
    """From the observations: "grid", "image" or "vector".

    Raises:
        ValueError: Observations that are neither images nor vectors.
    """
    if spec.id.startswith(GRID_PREFIXES):
        return "grid"
    space = _observation_space(spec)
    if _is_picture(space):
        return "image"
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
        return "vector"
    raise ValueError(
        f"{spec.id} observes {space}; expected an image or a vector: register it with "
        "gymnasium.wrappers.FlattenObservation around it"
    )
