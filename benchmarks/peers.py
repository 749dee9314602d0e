"""Our bonuses beside rllte-core's on the same frames: transitions a second, and peak memory.

Each measurement is a process of its own, ours and the peer's taking turns. A process plays the same
random actions in ale-py's vector environment, so that both see the same frames, scores all
transitions, ours step by step as an agent needs it, the peer's in rollouts of 128 steps, and trains
on each of them once in batches of 256. The convolutions are the same; so are the widths of all
embeddings, which are the peer's, and the number of models of an ensemble. Beyond that the peer is
as it comes.

The peer needs an environment of its own, as it asks for packages that this project must not have:

    python -m venv peer
    peer/bin/pip install torch==2.13.0 "gymnasium[atari]" scipy opencv-python-headless pandas
    peer/bin/pip install --no-deps rllte-core==1.0.1 pynvml==11.5.0
    peer/bin/pip install --no-deps huggingface-hub==0.14.1 termcolor
    python benchmarks/peers.py --peer peer/bin/python
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

NAMES = ("NGU", "RND", "ICM", "RE3", "RIDE", "E3B", "Disagreement")
BATCH = 256
"""Also what rllte-core trains on, unless told otherwise."""
SETTINGS: dict[str, dict[str, int]] = {
    "RND": {"distillation_size": 128},
    "ICM": {"embedding_size": 128},
    "RE3": {"embedding_size": 128},
    "RIDE": {"embedding_size": 128},
    "E3B": {"embedding_size": 128},
    "Disagreement": {"embedding_size": 128, "models": 4},
}
"""What rllte-core's bonuses have; its NGU has our widths."""


def main() -> None:
    """Measure all bonuses, or, as a child, one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default=sys.executable, help="Python that has rllte-core")
    parser.add_argument("--bonus", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--num-envs", type=int, default=32)
    parser.add_argument("--steps", type=int, default=128, help="of each environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=("ngu", "rllte"), help=argparse.SUPPRESS)
    known = parser.parse_args()
    if known.child is not None:
        measure = measure_ours if known.child == "ngu" else measure_rllte
        print(json.dumps(measure(known.bonus[0], known.num_envs, known.steps)))
        return
    for name in known.bonus:
        found: dict[str, list[dict[str, float]]] = {"ngu": [], "rllte": []}
        for _ in range(known.rounds):
            for library, python in (("ngu", sys.executable), ("rllte", known.peer)):
                words = [__file__, "--child", library, "--bonus", name]
                words += ["--num-envs", str(known.num_envs), "--steps", str(known.steps)]
                printed = subprocess.run(
                    [python, *words], check=True, stdout=subprocess.PIPE, text=True
                ).stdout
                found[library].append(json.loads(printed.splitlines()[-1]))
        print(json.dumps({"bonus": name, **summary(found)}), flush=True)


def summary(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians of both libraries, and the ratios of each round."""
    row: dict[str, Any] = {}
    for key in ("scored_per_second", "trained_per_second", "both_per_second"):
        if math.isnan(found["ngu"][0][key]) or math.isnan(found["rllte"][0][key]):
            continue
        row[key] = {
            name: round(statistics.median(one[key] for one in rows)) for name, rows in found.items()
        }
        row[key]["ratios"] = [
            round(ours[key] / theirs[key], 1)
            for ours, theirs in zip(found["ngu"], found["rllte"], strict=True)
        ]
    row["peak_gb"] = {name: max(one["peak_gb"] for one in rows) for name, rows in found.items()}
    return row


def frames(num_envs: int, steps: int) -> tuple[Any, Iterator[tuple[np.ndarray, ...]]]:
    """The environments, and transitions of random actions with where an episode ended before."""
    from ale_py.vector_env import AtariVectorEnv

    envs = AtariVectorEnv("montezuma_revenge", num_envs, full_action_space=True)
    generator = np.random.default_rng(0)

    def play() -> Iterator[tuple[np.ndarray, ...]]:
        obs, _ = envs.reset(seed=0)
        done = np.zeros(num_envs, dtype=bool)
        for _ in range(steps):
            action = generator.integers(18, size=num_envs)
            obs_t, _, terminated, truncated, _ = envs.step(action)
            yield obs.copy(), action, obs_t.copy(), done
            obs, done = obs_t, terminated | truncated

    return envs, play()


def figures(count: int, scoring: float, training: float) -> dict[str, float]:
    """What a child measured."""
    return {
        "scored_per_second": count / scoring,
        # RE3's random encoder is not trained.
        "trained_per_second": count / training if training > 1e-3 else math.nan,
        "both_per_second": count / (scoring + training),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def measure_ours(name: str, num_envs: int, steps: int) -> dict[str, float]:
    """Score step by step as an agent would, then train."""
    import ngu

    envs, transitions = frames(num_envs, steps)
    kind = getattr(ngu, name)
    bonus = kind(
        envs.single_observation_space,
        envs.single_action_space,
        num_envs,
        config=getattr(ngu, f"{name}Config")(**SETTINGS.get(name, {})),
        seed=0,
    )
    scoring, played = 0.0, []
    for before, action, after, done in transitions:
        if not played:
            bonus.begin(before)
        start = time.perf_counter()
        bonus.score(before, action, after, where=~done)
        if done.any():
            bonus.begin(after, where=done)
        scoring += time.perf_counter() - start
        played.append((before, action, after))
    flat = [np.concatenate(column) for column in zip(*played, strict=True)]
    start = time.perf_counter()
    for first in range(0, len(flat[0]), BATCH):
        bonus.update(*(column[first : first + BATCH] for column in flat))
    return figures(num_envs * steps, scoring, time.perf_counter() - start)


def measure_rllte(name: str, num_envs: int, steps: int) -> dict[str, float]:
    """Watch each step, compute the rewards of rollouts of 128 steps, which then train."""
    # No stub and no dependency of this project: it is the peer's.
    import rllte.xplore.reward as rewards  # pyright: ignore[reportMissingImports]

    envs, transitions = frames(num_envs, steps)
    reward = getattr(rewards, name)(envs, device="cpu")
    if name == "NGU":
        reward.mrs = 5.0  # rllte-core 1.0.1 forgets to set it
    training = 0.0

    def timed(update: Callable[[Any], None]) -> Callable[[Any], None]:
        def call(samples: Any) -> None:
            nonlocal training
            start = time.perf_counter()
            update(samples)
            training += time.perf_counter() - start

        return call

    for part in getattr(reward, "rewards", [reward]):
        part.update = timed(part.update)
    names = ("observations", "actions", "rewards", "terminateds", "truncateds", "next_observations")
    spent = 0.0
    rollout: list[list[torch.Tensor]] = []
    for before, action, after, done in transitions:
        start = time.perf_counter()
        none, ended = torch.zeros(num_envs), torch.as_tensor(done).float()
        step = [torch.as_tensor(before).float(), torch.as_tensor(action), none, ended, ended]
        step.append(torch.as_tensor(after).float())
        reward.watch(*step)
        rollout.append(step)
        if len(rollout) == 128:
            columns = (torch.stack(column) for column in zip(*rollout, strict=True))
            reward.compute(dict(zip(names, columns, strict=True)), sync=True)
            rollout = []
        spent += time.perf_counter() - start
    return figures(num_envs * steps, spent - training, training)


if __name__ == "__main__":
    main()
