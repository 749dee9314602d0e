"""The contract of an intrinsic reward: how an agent and a bonus work together.

The agent calls ``begin`` when an episode begins, ``score`` after every step and ``update`` when it
trains. A bonus never steps an environment and never touches global random state.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Literal, Protocol, TypeVar, cast

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ngu.spaces import ActionSpec, Array, ObservationSpec, check_where

Batch = TypeVar("Batch", np.ndarray, Tensor)


class Stateful(Protocol):
    """What a bonus consists of besides modules: optimisers, moments, memories."""

    def state_dict(self) -> Any:
        """Return everything that lasts, as a plain tree."""
        ...

    def load_state_dict(self, state: Any) -> None:
        """Set what `state_dict` returned."""
        ...


class IntrinsicReward(nn.Module, ABC):
    """How new the states are that environments reach, as a reward.

    A bonus has two sides. The *training side* holds the networks that ``update`` trains. The
    *scoring side* holds what ``begin`` and ``score`` use: frozen copies of the networks, running
    moments, memories. ``publish`` hands the newest weights over to the scoring side. So
    ``update(..., publish=False)`` may run in one thread while another one scores; ``publish``,
    ``state_dict`` and ``load_state_dict`` need both to wait.

    ``eval()`` freezes the running statistics of the scoring side, ``train()`` lets them move.
    ``state_dict()`` holds everything, so that a loaded bonus goes on with the same floats: the
    networks' tensors by name, and under ``_extra_state`` a plain tree of the rest.

    A new bonus gives ``_begin``, ``_score``, ``_update`` and ``publish``; its networks are modules,
    and whatever else lasts stands in ``_learned`` (optimisers, statistics) or, where it belongs to
    the environments' episodes, in ``_memories``. If its reward has a lifelong part, it says of what
    in ``lifelong_of`` and gives ``_lifelong``. `ngu.novelty.testing` checks the contract.

    Observations and actions are numpy arrays or tensors; rewards come back as what the observations
    were. A wrong argument raises a TypeError or ValueError that names it, and changes nothing.

    Args:
        observation_space: Space of one environment's observations.
        action_space: Space of one environment's actions.
        num_envs: Environments, E.
        device: Where the bonus computes; tensors have to be there. It is chosen here for good.

    Attributes:
        parts: What the last score was made of, by name, float32 [E] each, as the rewards are.
        episodes: Episodes begun in each environment, int64 [E].

    Raises:
        TypeError: A space is of a kind that is not read; names the wrapper that flattens it.
        ValueError: There is no environment.
    """

    lifelong_of: Literal["state", "transition"] | None = None
    """What `lifelong` reads; None: the bonus has no lifelong part."""
    parts: dict[str, Any]

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        num_envs: int,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.observation_space, self.action_space = observation_space, action_space
        self.observation_spec = ObservationSpec(observation_space)
        self.action_spec = ActionSpec(action_space)
        self.num_envs = num_envs
        # A tensor's device has an index, a name's may not.
        self.device = torch.empty(0, device=device).device
        self.parts = {}
        self._learned: dict[str, Stateful] = {}
        self._memories: dict[str, Stateful] = {}
        self.episodes = np.zeros(num_envs, dtype=np.int64)

    def begin(self, obs: Array, where: Array | None = None) -> None:
        """Begin an episode in some environments: their first observation is remembered, not paid.

        Args:
            obs: Observations [E, *shape]; those of the other environments are not read.
            where: Bool [E], True where an episode begins; None: everywhere.

        Raises:
            TypeError: An argument has a wrong type or dtype.
            ValueError: An argument has a wrong shape, device or value.
        """
        observations = self.observation_spec.check(obs, "obs", self.num_envs, self.device)
        mask = self._mask(where)
        with torch.no_grad():
            self._begin(observations, mask)
        self.episodes[mask] += 1

    def score(
        self, obs_tm1: Batch, action_tm1: Array, obs_t: Batch, where: Array | None = None
    ) -> Batch:
        """Return the intrinsic reward of the states that a step reached, and remember them.

        Args:
            obs_tm1: Observations before the step [E, *shape].
            action_tm1: Actions of the step [E, *parts].
            obs_t: Observations after it [E, *shape]; at an episode's end the true last one.
            where: Bool [E], False where no step was taken: rewarded with 0, not remembered, and
                not seen by the running statistics. None: all took one.

        Returns:
            float32 [E]; an array for an array, a tensor on the bonus's device for a tensor.

        Raises:
            TypeError: An argument has a wrong type or dtype.
            ValueError: An argument has a wrong shape, device or value.
            RuntimeError: An environment is scored in which no episode has begun.
        """
        check = self.observation_spec.check
        before = check(obs_tm1, "obs_tm1", self.num_envs, self.device)
        actions = self.action_spec.check(action_tm1, "action_tm1", self.num_envs, self.device)
        after = check(obs_t, "obs_t", self.num_envs, self.device)
        mask = self._begun(where)
        with torch.no_grad():
            reward, parts = self._score(before, actions, after, mask)
        if isinstance(obs_t, Tensor):
            self.parts = parts
            return reward
        self.parts = {name: part.cpu().numpy() for name, part in parts.items()}
        return cast(Batch, reward.cpu().numpy())

    def lifelong(
        self, obs_t: Batch, *, obs_tm1: Array | None = None, action_tm1: Array | None = None
    ) -> Batch:
        """Return the lifelong part of the reward, computed afresh for any batch.

        A reward is the product of what its episode gave it, which only `score` can tell, and of
        this, which fades as the networks learn: an agent that learns from a replay computes it when
        a batch is sampled. It is all of the reward of RND, ICM and Disagreement; NGU's modulator,
        times ``parts["episodic_novelty"]``; NovelD's gain, times ``parts["first_visit"]``; RIDE's
        impact, over the root of ``parts["visits"]``. RE3 and E3B have none. Nothing is remembered,
        no statistic moves, and no episode has to have begun.

        Args:
            obs_t: Observations [B, *shape] of the states reached.
            obs_tm1: Observations before the steps [B, *shape]; needed where `lifelong_of` is
                ``"transition"``, as are the actions.
            action_tm1: Actions of the steps [B, *parts].

        Returns:
            float32 [B]; an array for an array, a tensor on the bonus's device for a tensor.

        Raises:
            NotImplementedError: The bonus has no lifelong part.
            TypeError: An argument has a wrong type or dtype, or is missing.
            ValueError: An argument has a wrong shape, device or value.
        """
        name = type(self).__name__
        if self.lifelong_of is None:
            raise NotImplementedError(
                f"{name} has no lifelong part: its reward is no product of one and of what the "
                "episode tells"
            )
        after = self.observation_spec.check(obs_t, "obs_t", None, self.device)
        left: list[Tensor] = []
        if obs_tm1 is not None:
            spec = self.observation_spec
            left.append(spec.check(obs_tm1, "obs_tm1", len(after), self.device))
        if action_tm1 is not None:
            spec = self.action_spec
            left.append(spec.check(action_tm1, "action_tm1", len(after), self.device))
        if self.lifelong_of == "transition" and len(left) < 2:
            missing = "action_tm1" if action_tm1 is None else "obs_tm1"
            raise TypeError(
                f"{name}'s lifelong part is that of a transition: obs_tm1 and action_tm1 are "
                f"expected beside obs_t, got no {missing}"
            )
        with torch.no_grad():
            reward = self._lifelong(after, *left)
        return cast(Batch, reward if isinstance(obs_t, Tensor) else reward.cpu().numpy())

    def update(
        self, obs_tm1: Array, action_tm1: Array, obs_t: Array, publish: bool = True
    ) -> dict[str, float]:
        """Train the networks on transitions, which may come from anywhere.

        Args:
            obs_tm1: Observations before the steps [B, *shape].
            action_tm1: Actions [B, *parts].
            obs_t: Observations after them [B, *shape].
            publish: Whether to hand the new weights to the scoring side at once. Without, only the
                training side is touched, and another thread may score meanwhile.

        Returns:
            Metrics by name.

        Raises:
            TypeError: An argument has a wrong type or dtype.
            ValueError: An argument has a wrong shape, device or value, or the batch is empty.
            FloatingPointError: A loss or its gradient is not finite; names it. No network changed.
        """
        before = self.observation_spec.check(obs_tm1, "obs_tm1", None, self.device)
        batch = before.shape[0]
        if batch == 0:
            raise ValueError("obs_tm1 must hold at least one transition, got none")
        actions = self.action_spec.check(action_tm1, "action_tm1", batch, self.device)
        after = self.observation_spec.check(obs_t, "obs_t", batch, self.device)
        metrics = self._update(before, actions, after)
        if publish:
            self.publish()
        return metrics

    @abstractmethod
    def publish(self) -> None:
        """Hand the newest weights to the scoring side, and its observation moments back."""

    @abstractmethod
    def _begin(self, obs: Tensor, where: np.ndarray) -> None:
        """As `begin`, with checked observations; ``episodes`` counts those before this one."""

    @abstractmethod
    def _score(
        self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor, where: np.ndarray
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `score`, with checked tensors; returns the rewards and their parts, 0 elsewhere."""

    def _lifelong(self, obs_t: Tensor, *left: Tensor) -> Tensor:
        """As `lifelong`, with checked tensors.

        ``left`` holds obs_tm1 and action_tm1 where `lifelong_of` is ``"transition"``.
        """
        raise NotImplementedError

    @abstractmethod
    def _update(self, obs_tm1: Tensor, action_tm1: Tensor, obs_t: Tensor) -> dict[str, float]:
        """As `update` without publishing, with checked tensors."""

    def load_learned(self, state: Mapping[str, Any]) -> None:
        """Take another bonus's networks and statistics; memories and episodes stay as they are.

        Args:
            state: What its ``state_dict`` returned; its number of environments may be another.

        Raises:
            KeyError, RuntimeError, ValueError: The state is of other networks or spaces.
        """
        mine, learned = self.get_extra_state(), state["_extra_state"]["learned"]
        self.load_state_dict({**state, "_extra_state": {**mine, "learned": learned}})
        self.publish()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Set what `state_dict` returned, whole or not at all.

        Args:
            state_dict: The state of the same bonus with the same settings.
            strict: As in torch.
            assign: As in torch.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: The state is of another bonus, other
                settings or another number of environments. Nothing has changed.
        """
        with ExitStack() as undo:
            undo.callback(super().load_state_dict, copy.deepcopy(self.state_dict()))
            loaded = super().load_state_dict(state_dict, strict, assign)
            undo.pop_all()
        return loaded

    def get_extra_state(self) -> dict[str, Any]:
        """Return everything but the networks' tensors as a plain tree."""
        return {
            "learned": {name: part.state_dict() for name, part in self._learned.items()},
            "memories": {name: part.state_dict() for name, part in self._memories.items()},
            "episodes": torch.from_numpy(self.episodes.copy()),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set what `get_extra_state` returned.

        Raises:
            ValueError: The state is of another number of environments or other sizes.
        """
        episodes = state["episodes"].numpy()
        if len(episodes) != self.num_envs:
            raise ValueError(
                f"state must be that of num_envs {self.num_envs}, got that of {len(episodes)}"
            )
        kinds = (("memories", self._memories), ("learned", self._learned))
        for kind, parts in kinds:
            if parts.keys() != state[kind].keys():
                raise ValueError(
                    f"state must hold the {kind} {sorted(parts)}, got {sorted(state[kind])}: it is "
                    "that of another bonus, or of other settings"
                )
        for kind, parts in kinds:
            for name, part in parts.items():
                part.load_state_dict(state[kind][name])
        self.episodes[:] = episodes

    def _mask(self, where: Array | None) -> np.ndarray:
        mask = check_where(where, self.num_envs, "where", torch.device("cpu"))
        return np.ones(self.num_envs, dtype=bool) if mask is None else mask.numpy()

    def _of(
        self, where: np.ndarray, function: Callable[..., Tensor], *columns: Tensor
    ) -> Float[Tensor, " E"]:
        """What a function makes of the columns' rows in ``where``, [E]; 0 elsewhere."""
        if where.all():
            return function(*columns)
        values = torch.zeros(self.num_envs, device=self.device)
        if where.any():
            rows = torch.from_numpy(where).to(self.device)
            values[rows] = function(*(column[rows] for column in columns))
        return values

    def _begun(self, where: Array | None) -> np.ndarray:
        """The mask, if an episode has begun wherever it is True."""
        mask = self._mask(where)
        unbegun = np.flatnonzero(mask & (self.episodes == 0))
        if unbegun.size:
            raise RuntimeError(
                f"no episode has begun in environments {unbegun.tolist()}: call begin first"
            )
        return mask

    def _apply(self, fn: Any, recurse: bool = True) -> "IntrinsicReward":
        raise RuntimeError(
            "an intrinsic reward cannot be moved or cast: memories and moments would stay behind; "
            "name its device and precision when you make it"
        )
