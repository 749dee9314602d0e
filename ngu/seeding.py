"""One seed, one tree of named random generators.

Each generator is a child of one ``numpy.random.SeedSequence``, chosen by its name: adding a
generator moves no other, and names give the same numbers in every process and on every machine.
"""

import hashlib
from typing import Any

import numpy as np
import torch


class Seeds:
    """Named, independent random generators that all come from one seed.

    Args:
        seed: The run's seed, an integer of at least 0.

    Raises:
        TypeError: The seed is no integer.
        ValueError: The seed is negative.
    """

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise TypeError(f"seed must be an integer, got {type(seed).__name__}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        self.seed = int(seed)

    def sequence(self, name: str) -> np.random.SeedSequence:
        """Return the child of the seed that belongs to ``name``."""
        # SHA-256 and not hash(): the built-in is salted anew in every process.
        digest = hashlib.sha256(name.encode()).digest()
        spawn_key = tuple(np.frombuffer(digest, dtype="<u4").tolist())
        return np.random.SeedSequence(entropy=self.seed, spawn_key=spawn_key)

    def numpy(self, name: str) -> np.random.Generator:
        """Return a new numpy generator (PCG64) for ``name``."""
        return np.random.Generator(np.random.PCG64(self.sequence(name)))

    def torch(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a new torch generator for ``name`` on ``device``."""
        generator = torch.Generator(device=device)
        word = int(self.sequence(name).generate_state(1, np.uint64)[0])
        return generator.manual_seed(word >> 1)

    def integer(self, name: str) -> int:
        """Return an integer of 31 bits for ``name``, as the seed of a foreign library."""
        return int(self.sequence(name).generate_state(1, np.uint32)[0]) >> 1


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """Return a numpy generator's state as a plain tree, its 128-bit integers as strings.

    Args:
        generator: A generator that runs on PCG64, as those of `Seeds`.

    Raises:
        TypeError: The generator runs on another bit generator.
    """
    state = _pcg64(generator).state
    return {
        "bit_generator": "PCG64",
        "state": str(state["state"]["state"]),
        "increment": str(state["state"]["inc"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def set_generator_state(generator: np.random.Generator, state: dict[str, Any]) -> None:
    """Set a numpy generator to a state that `generator_state` returned.

    Args:
        generator: A generator that runs on PCG64; changed in place.
        state: The tree that `generator_state` returned.

    Raises:
        TypeError: The generator runs on another bit generator.
        ValueError: The state is one of another bit generator.
    """
    bit_generator = _pcg64(generator)
    if state.get("bit_generator") != "PCG64":
        raise ValueError(f"state must be one of PCG64, got {state.get('bit_generator')!r}")
    bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": int(state["state"]), "inc": int(state["increment"])},
        "has_uint32": state["has_uint32"],
        "uinteger": state["uinteger"],
    }


def _pcg64(generator: np.random.Generator) -> np.random.PCG64:
    bit_generator = generator.bit_generator
    if not isinstance(bit_generator, np.random.PCG64):
        raise TypeError(
            f"generator must run on PCG64, as those of Seeds do, got {type(bit_generator).__name__}"
        )
    return bit_generator
