"""What all adapters share: a bonus, how its reward is scaled, and when it trains.

Source of the normalisation: Burda et al. (arXiv 1810.12894), section 2.4: the reward is divided by
the running standard deviation of the discounted intrinsic returns, each environment's along time.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ngu.moments import RunningMoments
from ngu.novelty.base import IntrinsicReward
from ngu.seeding import Seeds, generator_state, set_generator_state


@dataclass(frozen=True)
class PayerConfig:
    """How an adapter scales the intrinsic reward and trains its bonus."""

    train_every: int = 8
    """Steps of all environments between updates of the bonus; 0 leaves training to the caller."""
    batch_size: int = 256
    """Transitions in an update, drawn uniformly from the reservoir once it holds as many."""
    reservoir_size: int = 10_000
    """Latest transitions that updates are drawn from."""
    normalise: bool = False
    """Whether rewards are divided by the running deviation of their discounted returns."""
    discount: float = 0.99
    """Discount of these returns; they go on over the ends of episodes."""

    def __post_init__(self) -> None:
        if self.train_every < 0:
            raise ValueError(f"train_every must be at least 0, got {self.train_every}")
        for name in ("batch_size", "reservoir_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.reservoir_size < self.batch_size:
            raise ValueError(
                f"reservoir_size must be at least the batch_size of {self.batch_size}, got "
                f"{self.reservoir_size}"
            )
        if not 0 <= self.discount < 1:
            raise ValueError(f"discount must be in [0, 1), got {self.discount}")


class Payer:
    """Scores steps, scales the rewards, keeps the latest transitions and trains on them.

    Args:
        bonus: What scores.
        beta: Weight of the intrinsic reward beside the extrinsic one.
        config: Settings; None takes the defaults.
        seed: Draws the transitions that are trained on.

    Attributes:
        metrics: Of the latest update, by name.

    Raises:
        ValueError: The weight is negative or not finite.
    """

    def __init__(
        self,
        bonus: IntrinsicReward,
        beta: float,
        config: PayerConfig | None = None,
        *,
        seed: int = 0,
    ) -> None:
        if not 0 <= beta < float("inf"):
            raise ValueError(f"beta must be at least 0 and finite, got {beta}")
        self.bonus, self.beta = bonus, beta
        self.config = PayerConfig() if config is None else config
        self.metrics: dict[str, float] = {}
        self._generator = Seeds(seed).numpy("payer")
        self._reservoir = Reservoir(self.config.reservoir_size)
        self._steps = 0
        self._returns = np.zeros(bonus.num_envs)
        self._moments = RunningMoments()

    def begin(self, obs: np.ndarray, where: np.ndarray | None = None) -> None:
        """An episode begins in the environments ``where``; see `IntrinsicReward.begin`."""
        self.bonus.begin(obs, where)

    def pay(
        self, obs_tm1: np.ndarray, action_tm1: np.ndarray, obs_t: np.ndarray, where: np.ndarray
    ) -> np.ndarray:
        """Return the intrinsic rewards [E] of a step, scaled, 0 where none was taken; train if due.

        Args:
            obs_tm1: Observations before the step [E, *shape].
            action_tm1: Actions [E, *parts].
            obs_t: Observations after it, at an episode's end the true last one.
            where: True [E] where a step was taken.
        """
        reward = self.bonus.score(obs_tm1, action_tm1, obs_t, where)
        if self.config.normalise:
            reward = self._normalised(reward, where)
        if self.config.train_every:
            self._reservoir.add(obs_tm1[where], np.asarray(action_tm1)[where], obs_t[where])
            self._steps += 1
            due = self._steps % self.config.train_every == 0
            if due and self._reservoir.size >= self.config.batch_size:
                drawn = self._reservoir.draw(self.config.batch_size, self._generator)
                self.metrics = self.bonus.update(drawn[0], drawn[1], drawn[2])
        return reward

    def _normalised(self, reward: np.ndarray, where: np.ndarray) -> np.ndarray:
        returns = self._returns
        returns[where] = self.config.discount * returns[where] + reward[where]
        if self.bonus.training:
            self._moments.update(torch.from_numpy(returns[where]))
        deviation = float(self._moments.std)
        return (reward / deviation).astype(np.float32) if deviation > 0 else reward

    def state_dict(self) -> dict[str, Any]:
        """Return everything: the bonus, the scale, the reservoir and the generator."""
        return {
            "bonus": self.bonus.state_dict(),
            "reservoir": self._reservoir.state_dict(),
            "steps": self._steps,
            "returns": torch.from_numpy(self._returns.copy()),
            "moments": self._moments.state_dict(),
            "generator": generator_state(self._generator),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned, whole or not at all.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: The state is of another bonus or number
                of environments. Nothing has changed.
        """
        reservoir = Reservoir(self.config.reservoir_size)
        reservoir.load_state_dict(state["reservoir"])
        moments, generator = RunningMoments(), copy.deepcopy(self._generator)
        moments.load_state_dict(state["moments"])
        set_generator_state(generator, state["generator"])
        steps, returns = int(state["steps"]), state["returns"].numpy().copy()
        self.bonus.load_state_dict(state["bonus"])
        self._reservoir, self._moments, self._generator = reservoir, moments, generator
        self._steps, self._returns = steps, returns


class Reservoir:
    """The latest transitions, each stored with both of its observations.

    Args:
        capacity: How many.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._columns: list[np.ndarray] = []
        self._added = 0

    @property
    def size(self) -> int:
        """Transitions held."""
        return min(self._added, self._capacity)

    def add(self, *columns: np.ndarray) -> None:
        """Take a batch of transitions in: arrays [B, ...], at most as many as there is room for."""
        columns = tuple(column[-self._capacity :] for column in columns)
        if not self._columns:
            # Uninitialised, so that the system commits the memory only as it fills.
            self._columns = [np.empty((self._capacity, *c.shape[1:]), c.dtype) for c in columns]
        rows = (self._added + np.arange(len(columns[0]))) % self._capacity
        for held, column in zip(self._columns, columns, strict=True):
            held[rows] = column
        self._added += len(columns[0])

    def draw(self, count: int, generator: np.random.Generator) -> list[np.ndarray]:
        """Draw transitions uniformly, with replacement."""
        rows = generator.integers(self.size, size=count)
        return [column[rows] for column in self._columns]

    def state_dict(self) -> dict[str, Any]:
        """Return what is held."""
        held = [torch.from_numpy(column[: self.size].copy()) for column in self._columns]
        return {"columns": held, "added": self._added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned."""
        self._columns, self._added = [], 0
        if state["columns"]:
            self.add(*(column.numpy() for column in state["columns"]))
        self._added = int(state["added"])
