"""stable-baselines3's PPO with and without a bonus on sparse tasks.

    python benchmarks/sb3_sparse.py [--env deep-sea-20 | doorkey-8x8] [--steps STEPS] [--seeds 3]
                                    [--bonus none ngu]

Prints a line of JSON for each run and one for each bonus. ``success_rate`` and ``mean_return`` are
those of the last 100 episodes, by the environment's own reward; ``first_reached`` counts the steps
of all environments until an episode first reached the goal. The runs of a task share PPO's settings
and use one thread; with ``none`` PPO gets the environment's reward alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from minigrid.wrappers import ImgObsWrapper
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor
from torch.nn import functional

from ngu import E3B, NGU, RIDE, RND, NGUConfig
from ngu.adapters.payer import PayerConfig
from ngu.adapters.sb3 import IntrinsicRewardVecEnv
from ngu_envs import make

NUM_ENVS = 16
BONUSES: dict[str, type[Any]] = {"ngu": NGU, "rnd": RND, "e3b": E3B, "ride": RIDE}


class DeepSea(gym.Env):
    """A sea of ngu_envs as a single environment, 20 rows deep."""

    def __init__(self) -> None:
        self._envs = make("deep-sea", 1, 0, size=20)
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Dive again."""
        obs, _ = self._envs.reset(seed=seed)
        return obs[0], {}

    def step(self, action: Any) -> Any:
        """Sink one row."""
        obs, reward, terminated, truncated, _ = self._envs.step(np.array([action]))
        return obs[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}


class DoorKey(gym.ObservationWrapper):
    """MiniGrid's symbols within the bounds that they have, by which networks scale them."""

    def __init__(self) -> None:
        super().__init__(ImgObsWrapper(gym.make("MiniGrid-DoorKey-8x8-v0")))
        self.observation_space = gym.spaces.Box(0, 10, (7, 7, 3), np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Return the symbols as they are."""
        return observation


class OneHot(BaseFeaturesExtractor):
    """Symbols as one-hot vectors, side by side."""

    def __init__(self, observation_space: gym.spaces.Box) -> None:
        self.choices = int(observation_space.high.max()) + 1
        super().__init__(observation_space, int(np.prod(observation_space.shape)) * self.choices)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return [B, features] of [B, *shape]."""
        return functional.one_hot(observations.long(), self.choices).flatten(1).float()


@dataclass(frozen=True)
class Task:
    """An environment and the settings that suit it."""

    make: Callable[[], gym.Env]
    steps: int
    beta: float
    ngu: NGUConfig
    payer: PayerConfig
    ppo: dict[str, Any]


TASKS = {
    # NGU's settings are those of the preset deep-sea: no state comes twice in an episode, so that
    # the memory lasts for 50 episodes of 21 states.
    "deep-sea-20": Task(
        make=DeepSea,
        steps=25_000,
        beta=0.3,
        ngu=NGUConfig(
            epsilon=1e-2,
            episodes_per_memory=50,
            memory_capacity=1_050,
            pseudo_count=0.3,
            statistics_window=2_000,
        ),
        payer=PayerConfig(batch_size=128, normalise=True),
        ppo={
            "learning_rate": 2e-3,
            "n_steps": 40,
            "batch_size": 160,
            "policy_kwargs": {"net_arch": [64]},
        },
    ),
    # An episode ends where its reward is, and what was left of its novelty is lost: a larger beta
    # makes that worth as much as the reward.
    "doorkey-8x8": Task(
        make=DoorKey,
        steps=400_000,
        beta=0.05,
        ngu=NGUConfig(epsilon=1e-2, memory_capacity=1_000),
        payer=PayerConfig(reservoir_size=20_000, normalise=True),
        ppo={
            "learning_rate": 5e-4,
            "n_steps": 128,
            "batch_size": 256,
            "policy_kwargs": {"net_arch": [128, 128], "features_extractor_class": OneHot},
        },
    ),
}


class Outcomes(BaseCallback):
    """What the latest episodes got, and when one first got anything."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: deque[float] = deque(maxlen=100)
        self.first_reached: int | None = None

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.returns.append(float(info["episode"]["r"]))
                # Both tasks give a positive return for the goal alone.
                if self.first_reached is None and self.returns[-1] > 0:
                    self.first_reached = self.num_timesteps
        return True


def run(name: str, bonus: str, seed: int, steps: int) -> dict[str, Any]:
    """Train once and return what came of it."""
    start, task = time.process_time(), TASKS[name]
    venv = VecMonitor(DummyVecEnv([task.make] * NUM_ENVS))
    if bonus != "none":
        settings = {"config": task.ngu} if bonus == "ngu" else {}
        scores = BONUSES[bonus](
            venv.observation_space, venv.action_space, NUM_ENVS, seed=seed, **settings
        )
        venv = IntrinsicRewardVecEnv(venv, scores, task.beta, config=task.payer, seed=seed)
    model = PPO("MlpPolicy", venv, n_epochs=4, ent_coef=0.01, seed=seed, device="cpu", **task.ppo)
    outcomes = Outcomes()
    model.learn(steps, callback=outcomes)
    venv.close()
    if not outcomes.returns:
        raise SystemExit(f"no episode ended within {model.num_timesteps} steps: give more --steps")
    return {
        "env": name,
        "bonus": bonus,
        "seed": seed,
        "steps": model.num_timesteps,
        "success_rate": statistics.fmean(value > 0 for value in outcomes.returns),
        "mean_return": round(statistics.fmean(outcomes.returns), 3),
        "first_reached": outcomes.first_reached,
        "cpu_seconds": round(time.process_time() - start),
    }


def main() -> None:
    """Train all runs, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="deep-sea-20", choices=TASKS)
    parser.add_argument("--steps", type=int, help="of all environments; the task's own by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bonus", nargs="+", default=["none", "ngu"], choices=["none", *BONUSES])
    known = parser.parse_args()
    torch.set_num_threads(1)
    steps = TASKS[known.env].steps if known.steps is None else known.steps
    summaries = []
    for bonus in known.bonus:
        runs = []
        for seed in range(known.seeds):
            runs.append(run(known.env, bonus, seed, steps))
            print(json.dumps(runs[-1]), flush=True)
        rates = [one["success_rate"] for one in runs]
        summaries.append({"bonus": bonus, "seeds": known.seeds, "success_rates": rates})
    for summary in summaries:
        print(json.dumps(summary))


if __name__ == "__main__":
    main()
