"""Novelty in stable-baselines3: a VecEnv that pays it, a callback that logs it and saves its state.

venv = make_vec_env("CartPole-v1", n_envs=8)
bonus = NGU(venv.observation_space, venv.action_space, num_envs=venv.num_envs)
model = PPO("MlpPolicy", IntrinsicRewardVecEnv(venv, bonus), seed=0)
model.learn(100_000, callback=IntrinsicRewardCallback())

The reward is paid at the step, before advantages are estimated or a replay stores it, so that
novelty propagates through the value function.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ngu.adapters.gymnasium import IntrinsicRewardWrapper
from ngu.adapters.payer import Payer, PayerConfig
from ngu.novelty.base import IntrinsicReward
from ngu.state_file import load_tree, save_tree

try:
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import (
        VecEnv,
        VecEnvWrapper,
        is_vecenv_wrapped,
        unwrap_vec_wrapper,
    )
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn
except ImportError as error:
    raise ImportError(
        "ngu.adapters.sb3 needs stable-baselines3, which cannot be imported: "
        'pip install "never-give-up[sb3]"'
    ) from error

_FORMAT = "ngu-sb3-1"


class IntrinsicRewardVecEnv(VecEnvWrapper):
    """A VecEnv whose reward is r_ext + beta r_int.

    Each environment's info holds ``"extrinsic_reward"`` and ``"intrinsic_reward"`` (float), the
    bonus's parts by ``"novelty/NAME"``, and where an episode ended ``"episode_novelty"``: a dict of
    its returns ``"extrinsic"`` and ``"intrinsic"`` and its length ``"l"``. The last state of an
    episode is scored as the ``"terminal_observation"`` of SB3's environments.

    The bonus sees what ``venv`` returns: a VecFrameStack or VecNormalize inside changes what is
    new, one outside does not. A Monitor or VecMonitor inside counts the extrinsic reward, one
    outside the sum. Images may have their channels first or last.

    Args:
        venv: Environments, of the bonus's number.
        bonus: What scores; made for the spaces of ``venv``.
        beta: Weight of the intrinsic reward.
        config: How rewards are scaled and the bonus trains.
        seed: Draws the transitions that are trained on.

    Attributes:
        payer: Bonus, scale and reservoir.

    Raises:
        ValueError: The number of environments or a space is not the bonus's, novelty is paid
            already, or beta is negative or not finite.
    """

    def __init__(
        self,
        venv: VecEnv,
        bonus: IntrinsicReward,
        beta: float = 0.3,
        *,
        config: PayerConfig | None = None,
        seed: int = 0,
    ) -> None:
        _check_not_paid_twice(venv)
        if venv.num_envs != bonus.num_envs:
            raise ValueError(
                f"bonus must be made for the {venv.num_envs} environments, got one for "
                f"{bonus.num_envs}"
            )
        for name in ("observation_space", "action_space"):
            expected, got = getattr(venv, name), getattr(bonus, name)
            if expected != got:
                raise ValueError(
                    f"bonus must be made for the environments' {name} {expected}, got one for {got}"
                )
        self.payer = Payer(bonus, beta, config, seed=seed)
        super().__init__(venv)
        self._begun = False
        self._obs = self._actions = np.empty(0)
        self._returns = np.zeros((2, venv.num_envs))
        self._lengths = np.zeros(venv.num_envs, dtype=np.int64)

    def reset(self) -> VecEnvObs:
        """Begin an episode in every environment."""
        obs = self.venv.reset()
        self._obs = self._as_observed(obs)
        self.payer.begin(self._obs)
        self._begun = True
        self._returns[:], self._lengths[:] = 0, 0
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Send the actions [E, *parts]."""
        if not self._begun:
            raise RuntimeError("call reset() before the first step, and after load()")
        self._actions = actions
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step's results, and pay what it reached."""
        obs, extrinsic, done, infos = self.venv.step_wait()
        after = self._as_observed(obs)
        intrinsic = self.payer.pay(
            self._obs,
            self._within_bounds(self._actions),
            _reached(after, done, infos),
            np.ones_like(done, dtype=bool),
        )
        self._returns += extrinsic, intrinsic
        self._lengths += 1
        told = self._told(extrinsic, intrinsic, done, infos)
        self._obs = after
        if done.any():
            self.payer.begin(after, done)
            self._returns[:, done], self._lengths[done] = 0, 0
        return obs, extrinsic + self.payer.beta * intrinsic, done, told

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the bonus and all that pays it to one file, whole or not at all.

        Args:
            path: The file, for instance ``x_novelty.safetensors`` beside ``model.save("x")``.

        Raises:
            OSError: The file cannot be written.
        """
        made_for = _made_for(self.payer.bonus)
        save_tree(path, {"format": _FORMAT, "made_for": made_for, "payer": self.payer.state_dict()})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Set what `save` wrote; nothing of the file is executed.

        The environments have to be reset before the next step, since nothing can put them back into
        the episodes that the file was written in. SB3's ``learn`` does so, unless it goes on with
        ``reset_num_timesteps=False`` on a model that has been learning: then call ``set_env``.

        Args:
            path: The file.

        Raises:
            ValueError: The file holds something else, or the state of another bonus, number of
                environments or spaces. As with the other errors, nothing is changed.
            KeyError, RuntimeError, TypeError: The state does not fit the bonus's settings.
            DamagedCheckpoint: The file is damaged.
            OSError: The file cannot be read.
        """
        tree = load_tree(path)
        if not isinstance(tree, dict) or tree.get("format") != _FORMAT:
            raise ValueError(f"{path} must hold what IntrinsicRewardVecEnv.save wrote")
        made_for = _made_for(self.payer.bonus)
        if tree["made_for"] != made_for:
            raise ValueError(f"{path} must hold the state of {made_for}, got {tree['made_for']}")
        self.payer.load_state_dict(tree["payer"])
        self._begun = False

    def _as_observed(self, obs: Any) -> np.ndarray:
        # VecNormalize returns float32 and leaves the dtype of the space as it is.
        return np.asarray(obs).astype(self.observation_space.dtype, copy=False)

    def _within_bounds(self, actions: Any) -> np.ndarray:
        # SB3 clips or rescales actions of a Box; rescaled ones leave it by a rounding error.
        space = self.action_space
        return np.clip(actions, space.low, space.high) if isinstance(space, spaces.Box) else actions

    def _told(
        self,
        extrinsic: np.ndarray,
        intrinsic: np.ndarray,
        done: np.ndarray,
        infos: Sequence[dict[str, Any]],
    ) -> list[dict[str, Any]]:
        """The infos, with what was paid; the environments' own stay as they are."""
        columns = {"extrinsic_reward": extrinsic, "intrinsic_reward": intrinsic}
        columns |= {f"novelty/{name}": part for name, part in self.payer.bonus.parts.items()}
        told = [
            {**info, **{name: float(column[env]) for name, column in columns.items()}}
            for env, info in enumerate(infos)
        ]
        for env in np.flatnonzero(done).tolist():
            extrinsic_return, intrinsic_return = self._returns[:, env].tolist()
            told[env]["episode_novelty"] = {
                "extrinsic": extrinsic_return,
                "intrinsic": intrinsic_return,
                "l": int(self._lengths[env]),
            }
        return told


class IntrinsicRewardCallback(BaseCallback):
    """Logs what novelty paid to SB3's logger, and saves the bonus beside the model's checkpoints.

    Logged are ``rollout/intrinsic_reward_mean``, the returns ``rollout/extrinsic_return`` and
    ``rollout/intrinsic_return`` of ended episodes and ``novelty/NAME`` for each of the bonus's
    parts, all as means since SB3 logged last, and the metrics of the bonus's latest update.

    With the numbers given to SB3's CheckpointCallback, which writes ``rl_model_1000_steps.zip``, it
    writes ``rl_model_novelty_1000_steps.safetensors`` beside it, for `IntrinsicRewardVecEnv.load`.

    Args:
        save_freq: Steps of all environments between two files.
        save_path: Folder of the files, made if it is not there. None: no file is written.
        name_prefix: What the files' names begin with.
        verbose: As in SB3.

    Raises:
        ValueError: There is a folder and no frequency of at least 1, or the other way round; on
            learning, the model's environment pays no novelty.
    """

    def __init__(
        self,
        save_freq: int = 0,
        save_path: str | os.PathLike[str] | None = None,
        name_prefix: str = "rl_model",
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose)
        if save_freq < 0 or (save_freq > 0) != (save_path is not None):
            raise ValueError(
                "save_freq of at least 1 and save_path must be given together or not at all, got "
                f"{save_freq} and {save_path!r}"
            )
        self._save_freq, self._name_prefix = save_freq, name_prefix
        self._folder = None if save_path is None else Path(save_path)

    def _init_callback(self) -> None:
        found = unwrap_vec_wrapper(self.training_env, IntrinsicRewardVecEnv)
        if found is None:
            raise ValueError(
                "the model's environment must be wrapped in IntrinsicRewardVecEnv, got "
                f"{self.training_env}"
            )
        self._venv = found
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    def _on_step(self) -> bool:
        infos, record = self.locals["infos"], self.logger.record_mean
        logged = {name: name for name in infos[0] if name.startswith("novelty/")}
        logged["intrinsic_reward"] = "rollout/intrinsic_reward_mean"
        for name, log in logged.items():
            record(log, float(np.mean([info[name] for info in infos])))
        for episode in [info["episode_novelty"] for info in infos if "episode_novelty" in info]:
            record("rollout/extrinsic_return", episode["extrinsic"])
            record("rollout/intrinsic_return", episode["intrinsic"])
        if self._folder is not None and self.n_calls % self._save_freq == 0:
            name = f"{self._name_prefix}_novelty_{self.num_timesteps}_steps.safetensors"
            self._venv.save(self._folder / name)
        return True

    def _on_rollout_end(self) -> None:
        for name, value in self._venv.payer.metrics.items():
            self.logger.record(f"novelty/{name}", value)


def _reached(obs: np.ndarray, done: np.ndarray, infos: Sequence[dict[str, Any]]) -> np.ndarray:
    """The states that a step reached: at an episode's end the true last one."""
    if not done.any():
        return obs
    reached = obs.copy()
    for env in np.flatnonzero(done).tolist():
        last = infos[env].get("terminal_observation")
        if last is None:
            raise ValueError(
                f"infos[{env}] must hold the 'terminal_observation' of the episode that ended"
            )
        reached[env] = last
    return reached


def _made_for(bonus: IntrinsicReward) -> dict[str, Any]:
    return {
        "bonus": type(bonus).__name__,
        "num_envs": bonus.num_envs,
        "observation_shape": list(bonus.observation_spec.shape),
        "action_size": bonus.action_spec.size,
    }


def _check_not_paid_twice(venv: VecEnv) -> None:
    if is_vecenv_wrapped(venv, IntrinsicRewardVecEnv):
        found = IntrinsicRewardVecEnv.__name__
    elif any(venv.env_is_wrapped(IntrinsicRewardWrapper)):
        found = IntrinsicRewardWrapper.__name__
    else:
        return
    raise ValueError(f"venv is wrapped in {found} already: novelty is paid once")
