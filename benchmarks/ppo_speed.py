"""Environment steps/s of PPO with two value heads and RND on Montezuma's Revenge, learning on.

    python benchmarks/ppo_speed.py [--seconds 60] [--bonus rnd|none] [--recurrent]

The setting is that of CleanRL's ppo_rnd: 32 environments x 128 steps, 4 epochs of 4 minibatches,
the predictor trained on a quarter, 4 stacked frames, sticky actions; the same policy and value
network. RND here reads all 4 frames, CleanRL's the latest. Only whole rounds of rollout and
training are timed, the first one not. Beside the rate by the clock stands the processor time of a
step in all processes, which other programs on the machine disturb less; two cores that are kept
busy take half of it for a step.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

import psutil
import torch

from ngu import RND
from ngu.session import use_threads
from ngu_agents.loop import Loop
from ngu_agents.ppo import PPOAgent
from ngu_agents.ppo_config import PPOConfig
from ngu_envs import make
from ngu_envs.atari import AtariEnvs


def processor_seconds(processes: Sequence[psutil.Process]) -> float:
    """Processor time of these processes so far."""
    times = [process.cpu_times() for process in processes]
    return sum(t.user + t.system for t in times)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--num-envs", type=int, default=32)
    parser.add_argument("--bonus", choices=("rnd", "none"), default="rnd")
    parser.add_argument("--recurrent", action="store_true")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()
    use_threads(torch.device("cpu"))
    envs = make("MontezumaRevenge", arguments.num_envs, 0, protocol="sticky")
    assert isinstance(envs, AtariEnvs)
    spaces = envs.single_observation_space, envs.single_action_space
    bonus = None
    if arguments.bonus == "rnd":
        bonus = RND(*spaces, arguments.num_envs, precision=arguments.precision)
    agent = PPOAgent(
        *spaces,
        arguments.num_envs,
        bonus=bonus,
        config=PPOConfig(recurrent=arguments.recurrent),
        seed=0,
        precision=arguments.precision,
    )
    loop = Loop(agent, envs)
    workers = [psutil.Process(pid) for pid in envs.worker_pids]
    processes = [psutil.Process(), *workers]
    watches = (loop.stopwatch, agent.stopwatch)
    loop.begin()
    rounds, start, first_step, first_cpu, workers_cpu = -1, 0.0, 0, 0.0, 0.0
    figures, elapsed, steps = {}, 0.0, 0
    for progress in loop:
        if not progress.learned:
            continue
        rounds += 1
        now, steps = time.perf_counter(), progress.steps
        if rounds == 0:
            start, first_step = now, steps
            first_cpu, workers_cpu = processor_seconds(processes), processor_seconds(workers)
            for watch in watches:
                watch.reset()
            continue
        elapsed, figures = now - start, progress.learned
        if elapsed > arguments.seconds:
            break
    steps -= first_step
    spent = processor_seconds(processes) - first_cpu
    report = {
        "steps_per_second": round(steps / elapsed, 1),
        "cpu_us_per_step": round(1e6 * spent / steps),
        "cpu_us_per_step_environments": round(
            1e6 * (processor_seconds(workers) - workers_cpu) / steps
        ),
        "busy_cores": round(spent / elapsed, 2),
        "rounds": rounds,
        "bonus": arguments.bonus,
        "recurrent": arguments.recurrent,
        "us_per_step": {
            name: round(1e6 * seconds / steps)
            for watch in watches
            for name, seconds in watch.seconds.items()
        },
        "learned": {name: round(value, 5) for name, value in figures.items()},
    }
    print(json.dumps(report), flush=True)
    agent.close()
    envs.close()


if __name__ == "__main__":
    main()
