"""Steps/s of stable-baselines3's PPO on Montezuma's Revenge, with and without NGU's adapter.

    python benchmarks/sb3_speed.py [--seconds 60] [--train-on none 1 0.0625]

16 environments of ale-py's vector environment, 4 stacked frames, sticky actions, CnnPolicy,
rollouts of 128 steps, 4 epochs in minibatches of 256. Each number after --train-on is a run with
NGU that trains on that share of the transitions: 1 on as many as are taken, 0.0625 on 5 of 80 as in
NGU's paper; "none" is a run without a bonus. Whole cycles of rollout and training are timed, the
first one not; the median of their rates is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any, cast

import gymnasium as gym
import numpy as np
from ale_py.vector_env import AtariVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from ngu import NGU
from ngu.adapters.payer import PayerConfig
from ngu.adapters.sb3 import IntrinsicRewardVecEnv

NUM_ENVS = 16
BATCH = 256


class AleVecEnv(VecEnv):
    """ale-py's vector environment as SB3 takes it."""

    def __init__(self) -> None:
        self._envs = AtariVectorEnv(
            "montezuma_revenge",
            NUM_ENVS,
            repeat_action_probability=0.25,
            full_action_space=True,
            autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
        )
        actions = cast(gym.spaces.Discrete, self._envs.single_action_space)
        super().__init__(
            NUM_ENVS,
            self._envs.single_observation_space,
            gym.spaces.Discrete(int(actions.n)),
        )

    def reset(self) -> np.ndarray:
        """First observations."""
        return np.array(self._envs.reset(seed=0)[0])

    def step_async(self, actions: np.ndarray) -> None:
        """Note the actions."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Step with them."""
        obs, reward, terminated, truncated, info = self._envs.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(NUM_ENVS)]
        for env in np.flatnonzero(done):
            cut = bool(truncated[env] and not terminated[env])
            last = np.array(info["final_obs"][env])
            infos[env] = {"terminal_observation": last, "TimeLimit.truncated": cut}
        return np.array(obs), np.asarray(reward, np.float32), done, infos

    def close(self) -> None:
        """Close them."""
        self._envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """What SB3 asks for, such as the render mode; there is none."""
        return [None] * NUM_ENVS

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Nothing can be set."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Nothing can be called."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """They are not wrapped."""
        return [False] * NUM_ENVS


class Cycles(BaseCallback):
    """Times each rollout with the training that follows it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._until = time.perf_counter() + seconds
        self.starts: list[float] = []

    def _on_rollout_start(self) -> None:
        self.starts.append(time.perf_counter())

    def _on_step(self) -> bool:
        return time.perf_counter() < self._until


def rate(train_on: float | None, seconds: float) -> float:
    """Median steps/s of the cycles."""
    venv: VecEnv = AleVecEnv()
    if train_on is not None:
        novelty = NGU(venv.observation_space, venv.action_space, NUM_ENVS, seed=0)
        every = round(BATCH / NUM_ENVS / train_on)
        config = PayerConfig(train_every=every, batch_size=BATCH, reservoir_size=4096)
        venv = IntrinsicRewardVecEnv(venv, novelty, config=config)
    model = PPO(
        "CnnPolicy",
        venv,
        n_steps=128,
        n_epochs=4,
        batch_size=BATCH,
        learning_rate=2.5e-4,
        clip_range=0.1,
        ent_coef=0.01,
        device="cpu",
        seed=0,
    )
    cycles = Cycles(seconds)
    model.learn(10**9, callback=cycles)
    venv.close()
    spans = np.diff(cycles.starts[1:])
    if len(spans) < 1:
        raise SystemExit(f"{seconds} seconds are too short for two cycles")
    return NUM_ENVS * 128 / statistics.median(spans.tolist())


def share(word: str) -> float | None:
    """What follows --train-on: a share of the transitions, or none."""
    return None if word == "none" else float(word)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each")
    parser.add_argument("--train-on", nargs="+", type=share, default=[None, 1.0, 1 / 16])
    known = parser.parse_args()
    for train_on in known.train_on:
        found = round(rate(train_on, known.seconds))
        print(json.dumps({"train_on": train_on, "steps_per_second": found}), flush=True)


if __name__ == "__main__":
    main()
