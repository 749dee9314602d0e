"""Steps/s of our Atari environments, which show the room, beside ale-py's, which do not.

    python benchmarks/atari_throughput.py [--rounds 7] [--seconds 3] [--num-workers 2]

The two take turns on the same machine; the ratio is the median over rounds of ours / theirs. Beside
the rate by the clock stands the processor time of a step, which other programs on the machine
disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time

import numpy as np
import psutil
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import VectorEnv

from ngu_envs.atari import AtariConfig, AtariEnvs


def processor_seconds(pids: list[int]) -> float:
    """Processor time of these processes so far."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(t.user + t.system for t in times)


def measure(
    envs: VectorEnv, actions: np.ndarray, seconds: float, pids: list[int]
) -> tuple[float, float]:
    """Environment steps per second, and processor seconds of `pids` per environment step.

    `actions` [T, E] are used over and over.
    """
    steps = 0
    start, start_cpu = time.perf_counter(), processor_seconds(pids)
    while time.perf_counter() - start < seconds:
        envs.step(actions[steps % len(actions)])
        steps += 1
    wall, cpu = time.perf_counter() - start, processor_seconds(pids) - start_cpu
    total = steps * envs.num_envs
    return total / wall, cpu / total


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
            config = AtariConfig(frame_stack=frame_stack, num_workers=arguments.num_workers)
            ours = AtariEnvs("montezuma_revenge", num_envs, 0, config)
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
            ours_runs, theirs_runs = [], []
            own = os.getpid()
            workers = [own, *ours.worker_pids]
            for envs in (ours, theirs):
                envs.reset(seed=0)
            for _ in range(arguments.rounds):
                ours_runs.append(measure(ours, actions, arguments.seconds, workers))
                theirs_runs.append(measure(theirs, actions, arguments.seconds, [own]))
            ratios = [a[0] / b[0] for a, b in zip(ours_runs, theirs_runs, strict=True)]
            report = {
                "num_envs": num_envs,
                "frame_stack": frame_stack,
                "num_workers": arguments.num_workers,
                "steps_per_second": round(statistics.median(run[0] for run in ours_runs)),
                "steps_per_second_ale_py": round(statistics.median(run[0] for run in theirs_runs)),
                "cpu_us_per_step": round(1e6 * statistics.median(run[1] for run in ours_runs)),
                "cpu_us_per_step_ale_py": round(
                    1e6 * statistics.median(run[1] for run in theirs_runs)
                ),
                "ratio": round(statistics.median(ratios), 3),
            }
            print(json.dumps(report), flush=True)
            ours.close()


if __name__ == "__main__":
    main()
