"""The learning side of PPO: passes over a rollout for the policy, both values and the novelty.

Sources: Schulman et al. (arXiv 1707.06347); Burda et al. (arXiv 1810.12894), algorithm 1.

A minibatch is divided into shards that threads work on side by side, each operation on one thread:
sharing single operations between cores makes them wait for each other, which on a machine with
other work costs many times what it saves, and backward convolutions gain nothing by it on a quiet
one. Shards have a fixed size and their gradients are summed in order, so that results do not depend
on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ngu.novelty.base import IntrinsicReward
from ngu.precision import autocast
from ngu.seeding import generator_state, set_generator_state
from ngu_agents.base import Figures
from ngu_agents.bonus_use import train_bonus
from ngu_agents.losses import clipped_surrogate
from ngu_agents.ppo_config import PPOConfig
from ngu_agents.ppo_network import ActorCritic
from ngu_agents.ppo_samples import RETURNS, ReturnScale, Samples, make_samples
from ngu_agents.rollout import Rollout

_SHARD = 256
"""Samples in a shard on a CPU; what a pass keeps of so many images still fits its cache."""


class PPOLearner:
    """Trains a network and an intrinsic reward; owns the optimiser and the reward's scale.

    Args:
        network: trained in place, float32.
        bonus: its networks are trained on a share of what the network is; None trains none.
        config: the agent's settings.
        num_envs: environments E.
        generator: draws the minibatches.
        pool: its threads work on the shards.
        device: of both.
        dtype: float type of the heavy layers.

    Attributes:
        updates: rollouts trained on.
    """

    def __init__(
        self,
        network: ActorCritic,
        bonus: IntrinsicReward | None,
        config: PPOConfig,
        *,
        num_envs: int,
        generator: np.random.Generator,
        pool: Executor,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.network, self.bonus = network, bonus
        self.updates = 0
        self._config = config
        self._num_envs = num_envs
        self._generator = generator
        self._pool = pool
        self._device, self._dtype = device, dtype
        self._parameters = list(network.parameters())
        self._optimiser = torch.optim.Adam(
            self._parameters, lr=config.learning_rate, eps=config.adam_epsilon
        )
        self._scale = ReturnScale(num_envs, config.gamma_int)
        # Without a bonus the intrinsic value is neither trained nor used.
        self._returns = RETURNS[:1] if bonus is None else RETURNS

    def update(self, rollout: Rollout, value: Tensor) -> Figures:
        """Train on a full rollout.

        Args:
            rollout: the steps.
            value: of the observations after the last step, [E, 2].

        Raises:
            FloatingPointError: a reward, a loss or the gradient is not finite; names it, and
                nothing was trained on it.
        """
        config = self._config
        rollout.value[-1] = value.cpu().numpy()
        for name in ("reward_ext", "reward_int"):
            if not np.isfinite(getattr(rollout, name)).all():
                raise FloatingPointError(
                    f"{name} is not finite in a step of update {self.updates + 1}: nothing was "
                    "trained on it"
                )
        reward_int = None if self.bonus is None else self._scale(rollout.reward_int, rollout.valid)
        samples, figures = make_samples(rollout, reward_int, config)
        if self.bonus is not None:
            figures["intrinsic_return_std"] = self._scale.deviation
        if self.bonus is not None:
            # Its training side takes over the moments of the observations just seen.
            self.bonus.publish()
        trained: list[Figures] = []
        for _ in range(config.epochs):
            for index in self._minibatches(rollout.valid):
                trained.append(self._train(samples, index))
        if self.bonus is not None:
            self.bonus.publish()
        self.updates += 1
        return figures | {name: float(np.mean([f[name] for f in trained])) for name in trained[0]}

    def _minibatches(self, valid: np.ndarray) -> Iterator[np.ndarray]:
        """Rows of the samples [T, n], those of a sequence below each other, each once.

        Without an LSTM a sequence is one valid step, with one it is all that an environment did.
        """
        config, draw = self._config, self._generator.permutation
        if config.recurrent:
            sequences = np.arange(config.rollout_length)[:, None] * self._num_envs
            parts = np.array_split(draw(self._num_envs), config.minibatches)
            parts = [sequences + envs for envs in parts]
            parts = [part for part in parts if valid.reshape(-1)[part].any()]
        else:
            parts = np.array_split(draw(np.flatnonzero(valid)), config.minibatches)
            parts = [part[None] for part in parts if part.size]
        yield from parts

    def _train(self, samples: Samples, index: np.ndarray) -> Figures:
        """Train once on the samples of a minibatch [T, n]; returns metrics."""
        config = self._config
        rows = index[samples.valid.numpy()[index]]
        futures = []
        novelty = None
        share = round(config.bonus_share * rows.size)
        if self.bonus is not None and share:
            drawn = torch.from_numpy(self._generator.permutation(rows)[:share])
            novelty = self._pool.submit(self._train_bonus, self.bonus, samples, drawn)
        length, count = index.shape
        size = max(1, _SHARD // length) if self._device.type == "cpu" else count
        for start in range(0, count, size):
            shard = torch.from_numpy(index[:, start : start + size])
            futures.append(self._pool.submit(self._gradients, samples, shard, rows.size))
        shards = [future.result() for future in futures]
        metrics = {} if novelty is None else novelty.result()
        metrics |= _summed([figures for _, figures in shards])
        for i, parameter in enumerate(self._parameters):
            parameter.grad = shards[0][0][i]
            for gradients, _ in shards[1:]:
                parameter.grad += gradients[i]
        norm = nn.utils.clip_grad_norm_(self._parameters, config.max_gradient_norm)
        metrics["gradient_norm"] = norm.item()
        for name, value in metrics.items():
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"{name} is {value} in update {self.updates + 1}: the policy was not trained "
                    "on it"
                )
        self._optimiser.step()
        return metrics

    def _train_bonus(self, bonus: IntrinsicReward, samples: Samples, rows: Tensor) -> Figures:
        return train_bonus(
            bonus,
            samples.observation[rows].to(self._device),
            self.network.policy.for_environments(samples.action[rows]),
            samples.observation[rows + self._num_envs].to(self._device),
        )

    def _gradients(
        self, samples: Samples, index: Tensor, count: int
    ) -> tuple[tuple[Tensor, ...], Figures]:
        """A shard's part of the gradients and metrics of a minibatch of ``count`` valid samples."""
        config, policy = self._config, self.network.policy

        def rows(column: Tensor) -> Tensor:
            return column[index].to(self._device)

        with autocast(self._device, self._dtype):
            outputs = self.network(
                rows(samples.observation),
                rows(samples.first),
                samples.state[:, index[0] % self._num_envs].to(self._device),
            )
        share = rows(samples.valid).float() / count
        log_ratio = policy.log_probability(outputs.parameters, rows(samples.action))
        log_ratio = log_ratio - rows(samples.log_probability)
        objective = clipped_surrogate(log_ratio, rows(samples.advantage), config.clip)
        policy_loss = -(objective * share).sum()
        entropy = (policy.entropy(outputs.parameters) * share).sum()
        errors = 0.5 * (outputs.value - rows(samples.value_target)).square()
        value_losses = (errors * share.unsqueeze(-1)).sum((0, 1))[: len(self._returns)]
        loss = policy_loss - config.entropy_weight * entropy
        loss = loss + config.value_weight * value_losses.sum()
        gradients = torch.autograd.grad(loss, self._parameters)
        with torch.no_grad():
            ratio = log_ratio.exp()
            figures = {"loss/policy": policy_loss, "entropy": entropy}
            for name, value_loss in zip(self._returns, value_losses, strict=True):
                figures[f"loss/value_{name}"] = value_loss
            # Schulman, "Approximating KL Divergence": unbiased and never negative.
            figures["approximate_kl"] = ((ratio - 1 - log_ratio) * share).sum()
            figures["clip_fraction"] = (((ratio - 1).abs() > config.clip) * share).sum()
        return gradients, {name: figure.item() for name, figure in figures.items()}

    def state_dict(self) -> dict[str, Any]:
        """Network, optimiser, the reward's scale and the generator; the bonus keeps its own."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scale": self._scale.state_dict(),
            "generator": generator_state(self._generator),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._scale.load_state_dict(state["scale"])
        set_generator_state(self._generator, state["generator"])
        self.updates = state["updates"]


def _summed(figures: list[Figures]) -> Figures:
    return {name: sum(each[name] for each in figures) for name in figures[0]}
