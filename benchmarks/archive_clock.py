"""What levels of score are worth to an archive, on errands that a clock cuts short.

    python benchmarks/archive_clock.py

The corners of a square of 12 x 12 places pay 10, 15, 20 and 25 points, once each; every fifth
diagonal pays something small at each step on it; the episode is truncated after 60 or 70 steps, and
all corners take 45. An observation shows the place alone. Prints the best score after so many steps
of 16 environments, with the best state of each place alone, with the fastest of each level, and so
with the novelty measured in steps.
"""

from __future__ import annotations

import argparse
from typing import Literal

import numpy as np
from gymnasium.spaces import Box, Discrete

from ngu_agents.archive.agent import ArchiveAgent
from ngu_agents.archive.config import ArchiveConfig
from ngu_agents.archive.returning import ReturningEnvs
from ngu_agents.loop import Loop
from ngu_envs.vectorized import VectorizedEnv

_SIDE = 12
_MOVES = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
_CORNERS = np.array([(0, 0), (0, _SIDE - 1), (_SIDE - 1, 0), (_SIDE - 1, _SIDE - 1)])
_PAYS = np.array([10.0, 15.0, 20.0, 25.0])


class Errands(VectorizedEnv):
    """Four corners, each of which pays once an episode."""

    def __init__(self, num_envs: int, max_steps: int, small: float) -> None:
        space = Box(0, 1, (1, _SIDE, _SIDE), np.uint8)
        super().__init__(num_envs, 0, space, Discrete(4), None, max_steps=max_steps)
        self._small = small
        self._place = np.zeros((num_envs, 2), np.int64)
        self._paid = np.zeros((num_envs, 4), bool)

    @property
    def repeatable(self) -> bool:
        """Whether the same actions lead from a snapshot to the same states every time."""
        return True

    def _arrays(self) -> dict[str, np.ndarray]:
        return {**super()._arrays(), "place": self._place, "paid": self._paid}

    def _begin(self, where: np.ndarray) -> None:
        self._place[where] = _SIDE // 2
        self._paid[where] = False

    def _advance(self, actions: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moved = np.clip(self._place + _MOVES[actions], 0, _SIDE - 1)
        self._place[where] = moved[where]
        due = (self._place[:, None] == _CORNERS).all(2) & ~self._paid & where[:, None]
        self._paid |= due
        small = self._small * (where & (self._place.sum(1) % 5 == 0))
        return (due @ _PAYS + small).astype(np.float32), np.zeros_like(where)

    def _observe(self) -> np.ndarray:
        observations = np.zeros((self.num_envs, 1, _SIDE, _SIDE), np.uint8)
        observations[np.arange(self.num_envs), 0, self._place[:, 0], self._place[:, 1]] = 1
        return observations


def best_score(
    max_steps: int,
    small: float,
    seed: int,
    steps: int,
    *,
    levels: bool,
    nearness: Literal["pictures", "steps"] = "pictures",
) -> float:
    """The highest score among the steps of 16 environments."""
    config = ArchiveConfig(
        cells="downscaled", explore_steps=20, repeat_probability=0.8, nearness=nearness
    )
    envs = ReturningEnvs(Errands(16, max_steps, small), config=config, seed=seed)
    if not levels:
        envs.archive.time_ran_out = lambda length: False
    agent = ArchiveAgent(
        envs.single_action_space,
        16,
        repeat_probability=config.repeat_probability,
        seed=seed,
    )
    loop = Loop(agent, envs)
    loop.begin()
    return max(
        progress.info["score"].max() for progress, _ in zip(loop, range(steps), strict=False)
    )


def main() -> None:
    """Print a line a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1500, help="of 16 environments")
    parser.add_argument("--small", type=float, default=0.01, help="what a fifth diagonal pays")
    known = parser.parse_args()
    for max_steps in (70, 60):
        for seed in range(known.seeds):
            given = max_steps, known.small, seed, known.steps
            alone = best_score(*given, levels=False)
            levelled = best_score(*given, levels=True)
            in_steps = best_score(*given, levels=True, nearness="steps")
            print(
                f"{max_steps} steps, seed {seed}: {alone:.2f} with the best state of a place, "
                f"{levelled:.2f} with the fastest of each level, {in_steps:.2f} with novelty in "
                "steps as well",
                flush=True,
            )


if __name__ == "__main__":
    main()
