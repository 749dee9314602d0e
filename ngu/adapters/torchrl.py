"""Novelty in TorchRL: a transform that pays it on top of the environments' own reward.

env = SerialEnv(8, lambda: GymEnv("CartPole-v1"))
bonus = NGU(*spaces_of(env))
env = TransformedEnv(env, IntrinsicRewardTransform(bonus))
"""

from __future__ import annotations

from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
import torch

from ngu.adapters.payer import Payer, PayerConfig
from ngu.novelty.base import IntrinsicReward

try:
    from tensordict import NestedKey, TensorDictBase, unravel_key
    from torchrl.data import (
        Bounded,
        Categorical,
        Composite,
        MultiCategorical,
        MultiOneHot,
        OneHot,
        Unbounded,
    )
    from torchrl.envs import EnvBase, Transform, TransformedEnv
except ImportError as error:
    raise ImportError(
        'the TorchRL adapter needs torchrl: pip install "never-give-up[torchrl]"'
    ) from error


class IntrinsicRewardTransform(Transform):
    """Makes an environment's reward r_ext + beta r_int.

    The next tensordict gets ``"extrinsic_reward"``, ``"intrinsic_reward"`` (without beta) and the
    bonus's parts by ``("novelty", NAME)``, each shaped as the reward, [*batch, 1].

    It belongs on the environment that holds the whole batch, not on the workers of a SerialEnv or
    ParallelEnv. Observations are scored as they are at its place in the chain, actions as the base
    environment gets them, one-hot or not. TorchRL calls ``eval()`` on every transform it takes, so
    that says nothing: ``payer.bonus.eval()`` freezes the running statistics. A clone shares the
    bonus. ``to`` moves the environment; the bonus stays on the device that it was made for.

    Args:
        bonus: What scores; made for as many environments as the batch holds.
        beta: Weight of the intrinsic reward.
        keep_separate: Leave the reward the extrinsic one, for agents with two value heads.
        observation_key: The observation that is scored.
        action_key: The action that led to it.
        config: How rewards are scaled and the bonus trains.
        seed: Draws the transitions that are trained on.

    Attributes:
        payer: Bonus, scale and reservoir. The transform's ``state_dict`` holds all of it as tensors
            and numbers, so that ``torch.load`` reads it with ``weights_only=True``.

    Raises:
        ValueError: Beta is negative or not finite. On joining an environment: its batch is not of
            the bonus's size, a key is missing, novelty is paid already, or agents of one
            environment end apart.
    """

    def __init__(
        self,
        bonus: IntrinsicReward,
        beta: float = 0.3,
        *,
        keep_separate: bool = False,
        observation_key: NestedKey = "observation",
        action_key: NestedKey = "action",
        config: PayerConfig | None = None,
        seed: int = 0,
    ) -> None:
        payer = Payer(bonus, beta, config, seed=seed)
        self._observation_key = unravel_key(observation_key)
        self._action_key = unravel_key(action_key)
        written = [("novelty", name) for name in _part_names(bonus)]
        super().__init__(
            in_keys=[self._observation_key],
            out_keys=["extrinsic_reward", "intrinsic_reward", *written],
        )
        self.payer = payer
        self._keep_separate = keep_separate
        # What was reached last [E, *shape]: later transforms may overwrite the root's observation.
        self._obs: np.ndarray | None = None

    def set_container(self, container: Any) -> None:
        """Join an environment, or a chain of transforms that joins one later."""
        super().set_container(container)
        try:
            if self.parent is not None:
                self._check(self.parent)
        except ValueError:
            self.reset_parent()
            raise

    def _check(self, env: EnvBase) -> None:
        held, expected = env.batch_size.numel(), self.payer.bonus.num_envs
        if held != expected:
            raise ValueError(
                f"bonus must be made for the {held} environments, got one for {expected}"
            )
        _find(self._observation_key, env.full_observation_spec, "observations")
        _find(self._action_key, _base(env).full_action_spec, "actions")
        _find("reward", env.full_reward_spec, "rewards")
        if "intrinsic_reward" in list(env.full_reward_spec.keys()):
            raise ValueError('env pays an "intrinsic_reward" already: novelty is paid once')
        if env.reset_keys != ["_reset"]:
            raise ValueError(
                'env must tell by "done" at its root where episodes end, got '
                f"{env.done_keys}: agents of one environment that end apart are not scored"
            )

    def transform_reward_spec(self, reward_spec: Any) -> Any:
        """Add what is written beside the reward."""
        reward = reward_spec["reward"]
        shape, device = reward.shape, reward.device
        for key in self.out_keys:
            reward_spec[key] = Unbounded(shape, device=device, dtype=torch.float32)
        reward_spec["extrinsic_reward"] = reward.clone()
        if not self._keep_separate:
            dtype = torch.promote_types(reward.dtype, torch.float32)
            reward_spec["reward"] = Unbounded(shape, device=device, dtype=dtype)
        return reward_spec

    def _reset(
        self, tensordict: TensorDictBase, tensordict_reset: TensorDictBase
    ) -> TensorDictBase:
        if self.parent is None:
            raise RuntimeError("IntrinsicRewardTransform has not joined this environment")
        obs = self._observations(tensordict_reset)
        where = _mask(tensordict, "_reset", len(obs))
        if self._obs is not None:
            # Where nothing was reset the tensordict may hold anything.
            obs[~where] = self._obs[~where]
        self.payer.begin(obs, where)
        self._obs = obs
        return tensordict_reset

    def _step(self, tensordict: TensorDictBase, next_tensordict: TensorDictBase) -> TensorDictBase:
        if self._obs is None:
            raise RuntimeError("call reset() before the first step()")
        bonus = self.payer.bonus
        obs = self._observations(next_tensordict)
        actions = _flat(tensordict, self._action_key)
        if bonus.action_spec.choices:
            actions = _categories(actions, bonus.action_spec.choices, bonus.action_spec.shape)
        where = _mask(tensordict, "_step", len(obs))
        obs[~where] = self._obs[~where]
        # Collectors step without gradients, which the bonus trains with.
        with torch.inference_mode(False), torch.enable_grad():
            paid = self.payer.pay(self._obs, actions, obs, where)
        self._obs = obs
        extrinsic = next_tensordict.get("reward")
        written = [paid, *bonus.parts.values()]
        for key, values in zip(self.out_keys[1:], written, strict=True):
            tensor = torch.from_numpy(values).to(extrinsic.device)
            next_tensordict.set(key, tensor.view(extrinsic.shape))
        next_tensordict.set("extrinsic_reward", extrinsic.clone())
        if not self._keep_separate:
            intrinsic = next_tensordict.get("intrinsic_reward")
            next_tensordict.set("reward", extrinsic + self.payer.beta * intrinsic)
        return next_tensordict

    def _observations(self, tensordict: TensorDictBase) -> np.ndarray:
        spec = self.payer.bonus.observation_spec
        # A copy, for batched environments reuse their buffers.
        obs = _flat(tensordict, self._observation_key).copy()
        return _categories(obs, (spec.size,), ()) if spec.kind == "discrete" else obs

    def _reset_on_native_autoreset(self, tensordict: Any, tensordict_reset: Any) -> NoReturn:
        raise RuntimeError(
            "env resets itself and drops the last observation of an episode, which novelty is paid "
            "for: make it with native_autoreset=False"
        )

    def _check_batched_worker_compat(self) -> NoReturn:
        raise ValueError(
            "IntrinsicRewardTransform scores all environments in one call: append it to the "
            "SerialEnv or ParallelEnv, not to the environments inside"
        )

    def forward(self, tensordict: Any) -> NoReturn:
        """Refuse to work in a replay buffer.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(
            "IntrinsicRewardTransform scores steps in the order in which they are taken: append it "
            "to an environment, not to a replay buffer"
        )

    def get_extra_state(self) -> dict[str, Any]:
        """Return all that lasts as a plain tree of tensors, numbers and strings."""
        obs = None if self._obs is None else torch.from_numpy(self._obs.copy())
        return {"payer": self.payer.state_dict(), "obs": obs}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set what `get_extra_state` returned.

        Raises:
            KeyError, RuntimeError, ValueError: The state is of another bonus or number of
                environments.
        """
        self.payer.load_state_dict(state["payer"])
        obs = state["obs"]
        self._obs = None if obs is None else obs.numpy().copy()

    def __copy__(self) -> IntrinsicRewardTransform:
        # TorchRL rebuilds chains of transforms from clones, which are shallow copies.
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            "IntrinsicRewardTransform cannot be pickled or deep-copied: its bonus remembers the "
            "episodes of one environment. Give collectors a function that makes the environment "
            "with its bonus"
        )


def spaces_of(
    env: EnvBase, observation_key: NestedKey = "observation", action_key: NestedKey = "action"
) -> tuple[gym.Space[Any], gym.Space[Any], int]:
    """Return what a bonus is made for, as in ``NGU(*spaces_of(env))``.

    Args:
        env: A TorchRL environment of any batch size.
        observation_key: The observation that is to be scored.
        action_key: The action that led to it.

    Returns:
        The space of one environment's observations as ``env`` gives them, that of its actions as
        the base environment gets them, and the number of environments.

    Raises:
        TypeError: A spec is of a kind that no bonus reads.
        ValueError: There is no such key; names those that there are.
    """
    observations = env.full_observation_spec_unbatched
    actions = _base(env).full_action_spec_unbatched
    return (
        _space(_find(unravel_key(observation_key), observations, "observations")),
        _space(_find(unravel_key(action_key), actions, "actions")),
        env.batch_size.numel(),
    )


def _base(env: EnvBase) -> EnvBase:
    """The environment inside all transforms, whose actions are those that a step gets."""
    while isinstance(env, TransformedEnv):
        env = env.base_env
    return env


def _find(key: NestedKey, specs: Composite, kind: str) -> Any:
    keys = list(specs.keys(True, True))
    if key not in keys:
        raise ValueError(f"env must have {key!r} among its {kind}, got {keys}")
    return specs[key]


def _space(spec: Any) -> gym.Space[Any]:
    if isinstance(spec, MultiOneHot | MultiCategorical):
        return gym.spaces.MultiDiscrete([int(n) for n in spec.nvec])
    if isinstance(spec, OneHot | Categorical):
        parts, count = spec.shape[:-1] if isinstance(spec, OneHot) else spec.shape, int(spec.n)
        if not parts:
            return gym.spaces.Discrete(count)
        return gym.spaces.MultiDiscrete(np.full(parts, count))
    if not isinstance(spec, Bounded | Unbounded):
        raise TypeError(
            "env must give a spec that is OneHot, Categorical, Bounded or Unbounded, got "
            f"{type(spec).__name__}"
        )
    bounds: Any = spec.space
    low, high = bounds.low.cpu().numpy(), bounds.high.cpu().numpy()
    if isinstance(spec, Unbounded) and spec.dtype.is_floating_point:
        low, high = np.full_like(low, -np.inf), np.full_like(high, np.inf)
    return gym.spaces.Box(low, high, dtype=low.dtype.type)


def _part_names(bonus: IntrinsicReward) -> list[str]:
    """What a score is made of, which specs have to tell before the first step.

    Scoring where no step was taken changes nothing of the bonus, and tells the names.
    """
    spaces = (bonus.observation_space, bonus.action_space)
    obs, actions = (np.stack([_some_value(space)] * bonus.num_envs) for space in spaces)
    bonus.score(obs, actions, obs, where=np.zeros(bonus.num_envs, dtype=bool))
    return list(bonus.parts)


def _some_value(space: Any) -> np.ndarray:
    if isinstance(space, gym.spaces.Box):
        return np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
    return np.asarray(space.start)


def _flat(tensordict: TensorDictBase, key: NestedKey) -> np.ndarray:
    """A tensordict's values [*batch, ...] as an array [E, ...]."""
    values = tensordict.get(key)
    shape = values.shape[tensordict.batch_dims :]
    return values.reshape(tensordict.batch_size.numel(), *shape).cpu().numpy()


def _mask(tensordict: TensorDictBase, key: NestedKey, count: int) -> np.ndarray:
    """The environments [E] that a call is about: all of them where the tensordict says nothing."""
    mask = tensordict.get(key, None)
    return np.ones(count, dtype=bool) if mask is None else mask.reshape(-1).cpu().numpy()


def _categories(values: np.ndarray, choices: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Categories [E, *shape] of one-hot values, in TorchRL's two layouts; categories stay."""
    layout = values.shape[1:]
    if layout == (sum(choices),):
        parts = np.split(values, np.cumsum(choices)[:-1], axis=1)
        indices = [part.argmax(axis=1) for part in parts]
        return np.stack(indices, axis=1).reshape(len(values), *shape)
    # Parts with equally many choices are stacked, [E, parts, choices].
    return values.argmax(axis=2) if layout == (len(choices), choices[0]) else values
