"""Episodes until the preset deep-sea solves DeepSea 10, for each of some seeds.

    python benchmarks/deep_sea_seeds.py [--seeds 5]

Solved is a mean return above 0.9 of 100 episodes of the exploiting policy, played every 4,000 steps
with a share of 0.01 of random actions. CPU seconds are those of training and of playing.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

from ngu.evaluation import play
from ngu.parsing import parse
from ngu.players import FamilyPlayer
from ngu.session import Session
from ngu_envs import make

CHECKED_EVERY = 4_000
SOLVED = 0.9


def main() -> None:
    """Trains and prints a line for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    for seed in range(parser.parse_args().seeds):
        print(json.dumps(solve(seed)), flush=True)


def solve(seed: int) -> dict[str, int | float | bool]:
    """Trains with one seed until DeepSea is solved or the preset's frames are over."""
    settings, _, _ = parse(["--env", "deep-sea", "--device", "cpu", "--seed", str(seed)], "ngu")
    envs = make("deep-sea", 50, 0)
    session = Session(settings)
    start, checked, mean_return = time.process_time(), 0, -np.inf
    session.begin()
    for progress in session:
        if progress.steps - checked >= CHECKED_EVERY:
            checked = progress.steps
            state = session.agent.save(None)
            player = FamilyPlayer(
                envs, settings, state, epsilon=0.01, seed=0, device=torch.device("cpu")
            )
            episodes = play(envs, player, [0], 100, max_steps=20)
            mean_return = float(np.mean([episode.total_reward for episode in episodes]))
        if mean_return > SOLVED or session.frames >= settings.frames:
            break
    report = {
        "seed": seed,
        "solved": mean_return > SOLVED,
        "mean_return": round(mean_return, 3),
        "steps": session.loop.steps,
        "episodes": int(session.collect()["episodes"] or 0),
        "cpu_seconds": round(time.process_time() - start),
    }
    session.close()
    envs.close()
    return report


if __name__ == "__main__":
    main()
