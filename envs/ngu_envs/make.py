"""One name for each environment: `make` finds it, gives it options, and makes E of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeGuard

from gymnasium.vector import VectorEnv

from ngu_envs.atari import AtariConfig, AtariEnvs
from ngu_envs.atari_names import ROM_OF_GAME
from ngu_envs.checks import closest_names
from ngu_envs.crafter import Crafter, CrafterConfig
from ngu_envs.deep_sea import DeepSea, DeepSeaConfig
from ngu_envs.disco_maze import DiscoMaze, DiscoMazeConfig
from ngu_envs.noisy_tv import NoisyTV, NoisyTVConfig
from ngu_envs.registered import (
    make_registered,
    registered_family,
    registered_names,
    registered_spec,
)
from ngu_envs.vectorized import RestorableVectorEnv

_OWN: dict[str, tuple[type[Any], Callable[..., VectorEnv]]] = {
    "disco-maze": (DiscoMazeConfig, DiscoMaze),
    "deep-sea": (DeepSeaConfig, DeepSea),
    "noisy-tv": (NoisyTVConfig, NoisyTV),
    "crafter": (CrafterConfig, Crafter),
}


def known_names() -> list[str]:
    """Every name that `make` takes: this package's, Atari games, gymnasium's ids."""
    return [*_OWN, *ROM_OF_GAME, *registered_names()]


def _unknown(name: str) -> ValueError:
    closest = closest_names(name, known_names())
    hint = f"the closest names are {', '.join(closest)}" if closest else "no name is close"
    return ValueError(f"no environment is called {name!r}; {hint}")


def config_type(name: str) -> type[Any] | None:
    """The frozen dataclass whose fields are the options of `name`; None for gymnasium's ids.

    Raises:
        ValueError: No environment has that name.
        ImportError: It belongs to a package that is not installed.
    """
    if name in _OWN:
        return _OWN[name][0]
    if name in ROM_OF_GAME:
        return AtariConfig
    if registered_spec(name) is None:
        raise _unknown(name)
    return None


def environment_family(name: str) -> str:
    """Which kind of environment a name is, and so which preset suits it.

    Returns:
        "atari", "disco-maze", "deep-sea", "noisy-tv", "grid" (small symbolic pictures), "image" or
        "vector".

    Raises:
        ValueError: No environment has that name, or its observations fit no family.
        ImportError: It belongs to a package that is not installed.
    """
    if name == "crafter":
        return "image"
    if name in _OWN:
        return name
    if name in ROM_OF_GAME:
        return "atari"
    spec = registered_spec(name)
    if spec is None:
        raise _unknown(name)
    return registered_family(spec)


def make(name: str, num_envs: int, seed: int, **options: Any) -> VectorEnv:
    """Makes a vector environment that resets an ended episode in the next step.

    `reset()` without a seed uses `seed` the first time and goes on with the generators later.
    `metadata["progress"]` is the key of info that tells how far an episode got ("room", "coverage",
    "achievements") or None.

    Args:
        name: One of `known_names()`, or "module:id" for an id that importing `module` registers.
        num_envs: Number of environments E, at least 1.
        seed: Same seed, same episodes for the same actions; at least 0.
        options: Fields of `config_type(name)`; for gymnasium's ids the environment's arguments.

    Raises:
        ValueError: No environment has that name, it has no such option, or a value is wrong.
        TypeError: A value of a wrong type.
        ImportError: It belongs to a package that is not installed.
    """
    options_type = config_type(name)
    if options_type is None:
        spec = registered_spec(name)
        assert spec is not None
        return make_registered(spec, num_envs, seed, **options)
    fields = [field.name for field in dataclasses.fields(options_type)]
    unknown = sorted(set(options) - set(fields))
    if unknown:
        raise ValueError(f"{name} has no option {unknown[0]!r}; it has {', '.join(fields)}")
    config = options_type(**options)
    if name in _OWN:
        return _OWN[name][1](num_envs, seed, config)
    return AtariEnvs(ROM_OF_GAME[name], num_envs, seed, config)


def is_restorable(envs: VectorEnv) -> TypeGuard[RestorableVectorEnv]:
    """Whether the environments' state can be saved and loaded, beneath wrappers or not."""
    return isinstance(envs.unwrapped, RestorableVectorEnv)
