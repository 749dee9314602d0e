"""Novelty in gymnasium: wrappers that pay it on top of the environments' own reward.

envs = gym.make_vec("MiniGrid-DoorKey-8x8-v0", num_envs=16, wrappers=[ImgObsWrapper])
bonus = NGU(envs.single_observation_space, envs.single_action_space, num_envs=16)
envs = VectorIntrinsicReward(envs, bonus)
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from ngu.adapters.payer import Payer, PayerConfig
from ngu.novelty.base import IntrinsicReward


class VectorIntrinsicReward(VectorWrapper):
    """Vector environments whose reward is r_ext + beta r_int, in any of the autoreset modes.

    Info holds ``"extrinsic_reward"`` and ``"intrinsic_reward"`` (float [E]), the bonus's parts by
    ``"novelty/NAME"``, and where an episode ended ``"episode_novelty"``: a dict of its returns
    ``"extrinsic"`` and ``"intrinsic"`` and its length ``"l"``; ``"_episode_novelty"`` masks it.

    Args:
        envs: Vector environments, of the bonus's number.
        bonus: What scores; made for the environments' single spaces.
        beta: Weight of the intrinsic reward.
        keep_separate: Leave the reward the extrinsic one, for agents with two value heads; the
            intrinsic one, without beta, is in info.
        config: How rewards are scaled and the bonus trains.
        seed: Draws the transitions that are trained on.

    Attributes:
        payer: Bonus, scale and reservoir; its ``state_dict`` holds all that lasts.

    Raises:
        ValueError: The number of environments is not the bonus's, novelty is paid already, beta is
            negative or not finite, or the environments tell no autoreset mode.
    """

    def __init__(
        self,
        envs: VectorEnv,
        bonus: IntrinsicReward,
        beta: float = 0.3,
        *,
        keep_separate: bool = False,
        config: PayerConfig | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(envs)
        check_not_paid_twice(envs, VectorIntrinsicReward)
        if envs.num_envs != bonus.num_envs:
            raise ValueError(
                f"bonus must be made for the {envs.num_envs} environments, got one for "
                f"{bonus.num_envs}"
            )
        mode = envs.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(f"envs must tell their autoreset_mode in metadata, got {mode!r}")
        self.payer = Payer(bonus, beta, config, seed=seed)
        self._keep_separate, self._mode = keep_separate, mode
        self._done = np.zeros(envs.num_envs, dtype=bool)
        self._returns = np.zeros((2, envs.num_envs))
        self._lengths = np.zeros(envs.num_envs, dtype=np.int64)
        self._obs: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes everywhere, or where ``options["reset_mask"]`` is True."""
        begun = None if options is None else options.get("reset_mask")
        obs, info = super().reset(seed=seed, options=options)
        self._begin(obs, np.ones(self.num_envs, dtype=bool) if begun is None else begun.copy())
        return obs, info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Step, and pay what the step reached."""
        if self._obs is None:
            raise gym.error.ResetNeeded("call reset() before the first step()")
        obs, extrinsic, terminated, truncated, info = self.env.step(actions)
        before = self._done
        done = terminated | truncated
        stepped = ~before if self._mode == AutoresetMode.NEXT_STEP else np.ones_like(done)
        reached = obs
        if self._mode == AutoresetMode.SAME_STEP and done.any():
            reached = obs.copy()
            for env in np.flatnonzero(done):
                reached[env] = info["final_obs"][env]
        intrinsic = self.payer.pay(self._obs, actions, reached, stepped)
        self._count(np.asarray(extrinsic, np.float64), intrinsic, stepped)
        info = {**info, "extrinsic_reward": extrinsic, "intrinsic_reward": intrinsic}
        info |= {f"novelty/{name}": part for name, part in self.payer.bonus.parts.items()}
        if done.any():
            info["episode_novelty"] = {
                "extrinsic": np.where(done, self._returns[0], 0.0),
                "intrinsic": np.where(done, self._returns[1], 0.0),
                "l": np.where(done, self._lengths, 0),
            }
            info["_episode_novelty"] = done
        self._obs, self._done = obs, done
        if self._mode == AutoresetMode.NEXT_STEP:
            self._begin(obs, before)
            self._done = done
        elif self._mode == AutoresetMode.SAME_STEP:
            self._begin(obs, done)
        reward = extrinsic if self._keep_separate else extrinsic + self.payer.beta * intrinsic
        return obs, reward, terminated, truncated, info

    def _begin(self, obs: np.ndarray, where: np.ndarray) -> None:
        self._obs = obs
        if where.any():
            self.payer.begin(obs, where)
            self._returns[:, where] = 0
            self._lengths[where] = 0
            self._done = self._done & ~where

    def _count(self, extrinsic: np.ndarray, intrinsic: np.ndarray, stepped: np.ndarray) -> None:
        self._returns[0, stepped] += extrinsic[stepped]
        self._returns[1, stepped] += intrinsic[stepped]
        self._lengths[stepped] += 1


class IntrinsicRewardWrapper(gym.Wrapper):
    """One environment whose reward is r_ext + beta r_int; see `VectorIntrinsicReward`.

    Args:
        env: An environment.
        bonus: What scores; made for one environment.
        beta: Weight of the intrinsic reward.
        keep_separate: Leave the reward the extrinsic one; the intrinsic one is in info.
        config: How rewards are scaled and the bonus trains.
        seed: Draws the transitions that are trained on.

    Raises:
        ValueError: As `VectorIntrinsicReward`.
    """

    def __init__(
        self,
        env: gym.Env,
        bonus: IntrinsicReward,
        beta: float = 0.3,
        *,
        keep_separate: bool = False,
        config: PayerConfig | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(env)
        check_not_paid_twice(env, IntrinsicRewardWrapper)
        if bonus.num_envs != 1:
            raise ValueError(f"bonus must be made for 1 environment, got one for {bonus.num_envs}")
        self.payer = Payer(bonus, beta, config, seed=seed)
        self._keep_separate = keep_separate
        self._returns = np.zeros(2)
        self._length = 0
        self._obs: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        self._obs = np.asarray(obs)[None]
        self.payer.begin(self._obs)
        self._returns[:], self._length = 0, 0
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and pay what the step reached."""
        if self._obs is None:
            raise gym.error.ResetNeeded("call reset() before the first step()")
        obs, extrinsic, terminated, truncated, info = self.env.step(action)
        reached = np.asarray(obs)[None]
        where = np.ones(1, dtype=bool)
        intrinsic = float(self.payer.pay(self._obs, np.asarray(action)[None], reached, where)[0])
        extrinsic = float(extrinsic)
        self._obs = reached
        self._returns += extrinsic, intrinsic
        self._length += 1
        info = {**info, "extrinsic_reward": extrinsic, "intrinsic_reward": intrinsic}
        info |= {f"novelty/{name}": float(p[0]) for name, p in self.payer.bonus.parts.items()}
        if terminated or truncated:
            extrinsic_return, intrinsic_return = self._returns.tolist()
            info["episode_novelty"] = {
                "extrinsic": extrinsic_return,
                "intrinsic": intrinsic_return,
                "l": self._length,
            }
        reward = extrinsic if self._keep_separate else extrinsic + self.payer.beta * intrinsic
        return obs, reward, terminated, truncated, info


def check_not_paid_twice(env: Any, kind: type[Any]) -> None:
    """Look through an environment's wrappers.

    Raises:
        ValueError: One of them pays novelty already.
    """
    inner = env
    while inner is not None:
        if isinstance(inner, kind):
            raise ValueError(f"env is wrapped in {kind.__name__} already: novelty is paid once")
        inner = getattr(inner, "env", None)
