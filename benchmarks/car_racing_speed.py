"""Steps of CarRacing a second: gymnasium's, the one here, and eight of each in a vector.

    python benchmarks/car_racing_speed.py

The two take turns, 100 steps each, with the same actions on the same tracks.
"""

from __future__ import annotations

import argparse
import time

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from ngu_envs import make

TURN = 100
ID = "CarRacing-v3"


def theirs(num_envs: int) -> VectorEnv:
    """As gymnasium makes them."""
    mode = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    return gymnasium.make_vec(ID, num_envs, vectorization_mode="sync", vector_kwargs=mode)


def seconds(envs: VectorEnv, actions: np.ndarray) -> float:
    """That the environments take for actions [T, E, 3]."""
    begun = time.perf_counter()
    for action in actions:
        envs.step(action)
    return time.perf_counter() - begun


def main() -> None:
    """Play, and print the medians of the turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=10)
    known = parser.parse_args()
    generator = np.random.default_rng(0)
    for num_envs in (1, 8):
        both = theirs(num_envs), make(ID, num_envs, seed=0)
        for envs in both:
            envs.reset(seed=0)
        rates = []
        for _ in range(known.turns):
            held = generator.uniform([-0.5, 0.1, 0.0], [0.5, 0.6, 0.1], (num_envs, 3))
            actions = np.repeat(held[None], TURN, 0).astype(np.float32)
            rates.append([TURN * num_envs / seconds(envs, actions) for envs in both])
        for envs in both:
            envs.close()
        gymnasiums, ours = np.array(rates).T
        ratio = ours / gymnasiums
        print(
            f"{num_envs} environments: gymnasium {np.median(gymnasiums):.0f} steps/s, here "
            f"{np.median(ours):.0f}, ratio {np.median(ratio):.2f} ({ratio.min():.2f} to "
            f"{ratio.max():.2f})"
        )


if __name__ == "__main__":
    main()
