"""Steps/s of our Atari environments, which show the room, beside ale-py's, which do not.

    python benchmarks/atari_throughput.py [--rounds 7] [--seconds 3] [--num-workers 2]

The two take turns on the same machine; the ratio is the median over rounds of ours / theirs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import VectorEnv

from ngu_envs import make


def steps_per_second(envs: VectorEnv, actions: np.ndarray, seconds: float) -> float:
    """Environment steps taken per second; `actions` [T, E] are used over and over."""
    steps = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        envs.step(actions[steps % len(actions)])
        steps += 1
    return steps * envs.num_envs / (time.perf_counter() - start)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--num-envs", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--frame-stack", type=int, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    for num_envs in arguments.num_envs:
        for frame_stack in arguments.frame_stack:
            ours = make(
                "MontezumaRevenge",
                num_envs,
                0,
                frame_stack=frame_stack,
                num_workers=arguments.num_workers,
            )
            theirs = AtariVectorEnv(
                "montezuma_revenge",
                num_envs,
                num_threads=arguments.num_workers,
                stack_num=frame_stack,
                full_action_space=True,
                reward_clipping=False,
                use_fire_reset=False,
            )
            actions = np.random.default_rng(0).integers(0, 18, size=(997, num_envs))
            rates: dict[str, list[float]] = {"ours": [], "ale_py": []}
            for envs in (ours, theirs):
                envs.reset(seed=0)
            for _ in range(arguments.rounds):
                rates["ours"].append(steps_per_second(ours, actions, arguments.seconds))
                rates["ale_py"].append(steps_per_second(theirs, actions, arguments.seconds))
            ratios = [a / b for a, b in zip(rates["ours"], rates["ale_py"], strict=True)]
            report = {
                "num_envs": num_envs,
                "frame_stack": frame_stack,
                "num_workers": arguments.num_workers,
                "steps_per_second": round(statistics.median(rates["ours"])),
                "steps_per_second_ale_py": round(statistics.median(rates["ale_py"])),
                "ratio": round(statistics.median(ratios), 3),
            }
            print(json.dumps(report), flush=True)
            ours.close()


if __name__ == "__main__":
    main()
