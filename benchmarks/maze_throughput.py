"""Steps/s of the Random Disco Maze under random actions, on one core.

    python benchmarks/maze_throughput.py [--num-envs 64] [--seconds 3] [--rounds 7]

Random actions end an episode after 1.5 steps, so this draws as many mazes as there can be. The two
rates are those of all steps and of those that are no reset steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np

from ngu_envs import make


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    envs = make("disco-maze", arguments.num_envs, 0)
    actions = np.random.default_rng(0).integers(0, 4, size=(997, arguments.num_envs))
    envs.reset()
    ended = np.zeros(arguments.num_envs, bool)
    rates, transition_rates = [], []
    for _ in range(arguments.rounds):
        steps = resets = 0
        start, start_cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - start < arguments.seconds:
            resets += int(ended.sum())
            _, _, terminated, truncated, _ = envs.step(actions[steps % len(actions)])
            ended = terminated | truncated
            steps += 1
        cpu_seconds = time.process_time() - start_cpu
        total = steps * arguments.num_envs
        rates.append(total / cpu_seconds)
        transition_rates.append((total - resets) / cpu_seconds)
    report = {
        "num_envs": arguments.num_envs,
        "steps_per_core_second": round(statistics.median(rates)),
        "transitions_per_core_second": round(statistics.median(transition_rates)),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
