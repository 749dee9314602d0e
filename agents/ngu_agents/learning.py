"""The learning side: one update of the value function and of the novelty.

Source: Never Give Up (arXiv 2002.06038), appendix A and E: transformed Retrace on replayed
sequences, burn-in of the stored recurrent state. Decided here: novelty trains on transitions drawn
uniformly from the replay, not on the last steps of the sequences that the values train on.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ngu.adam import load_adam
from ngu.novelty.base import IntrinsicReward
from ngu.precision import autocast
from ngu.stopwatch import Stopwatch
from ngu_agents.acting import copy_weights
from ngu_agents.base import Figures
from ngu_agents.bonus_use import train_bonus
from ngu_agents.config import RecurrentReplayConfig
from ngu_agents.family import discounts, intrinsic_weights
from ngu_agents.losses import (
    IDENTITY,
    demonstration_loss,
    hyperbolic_transform,
    retrace_targets,
    sequence_loss,
    sequence_priorities,
    td_errors,
)
from ngu_agents.networks import Inputs, RecurrentQNetwork
from ngu_agents.replay import SequenceBatch, Transitions


class Learned(NamedTuple):
    """What an update hands back to the acting side."""

    ids: np.ndarray
    """The sequences trained on that are no demonstrations, at most [B]."""
    priorities: np.ndarray
    """Their new priorities."""
    metrics: Figures
    """Losses and other figures by name."""


class Learner:
    """Trains a network and an intrinsic reward; owns the target network and the optimiser.

    Args:
        network: trained in place, float32.
        bonus: its networks are trained on transitions; None trains none.
        config: the agent's settings.
        burn_in: steps of a sequence that only bring the recurrent state up to date.
        action_start: the action space's first action; batches count actions from zero.
        generator: draws the features that imitation hides; a CPU one.
        device: of both.
        dtype: float type of the heavy layers.
    """

    def __init__(
        self,
        network: RecurrentQNetwork,
        bonus: IntrinsicReward | None,
        config: RecurrentReplayConfig,
        *,
        burn_in: int,
        action_start: int,
        generator: torch.Generator,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.network = network
        self.target = copy.deepcopy(network).to(dtype).requires_grad_(False)
        self.bonus = bonus
        self.updates = 0
        self._memories = torch.zeros(2, 0, config.hidden, device=device)
        self.stopwatch = Stopwatch()
        self._config = config
        self._burn_in = burn_in
        self._action_start = action_start
        self._generator = generator
        self._device, self._dtype = device, dtype
        self._optimiser = torch.optim.Adam(
            network.parameters(), lr=config.learning_rate, eps=config.adam_epsilon, fused=True
        )
        self._beta = intrinsic_weights(config.num_policies, config.beta).to(device)
        self._gamma = discounts(config.num_policies, config.gamma_max, config.gamma_min).to(device)
        self._transform = (
            hyperbolic_transform(config.transform_epsilon)
            if config.value_transform == "hyperbolic"
            else IDENTITY
        )

    def update(self, batch: SequenceBatch, transitions: Transitions | None) -> Learned:
        """Train once.

        Args:
            batch: B sequences of burn-in and T steps, with T + 1 observations to learn from.
            transitions: what trains the intrinsic reward; None leaves it as it is.

        Raises:
            FloatingPointError: a loss is not finite; names it, and nothing was trained on it.
        """
        with self.stopwatch("learner: values"):
            priorities, metrics = self.update_values(batch)
        if self.bonus is not None and transitions is not None:
            with self.stopwatch("learner: novelty"):
                metrics |= self.update_bonus(self.bonus, transitions)
        self.updates += 1
        own = ~batch.demonstrated
        return Learned(batch.ids[own], priorities[own], metrics)

    def update_values(self, batch: SequenceBatch) -> tuple[np.ndarray, Figures]:
        """Train the value function; returns the sequences' new priorities [B] and metrics.

        A batch of demonstrations alone is imitated and nothing else: to the policy an error of a
        value matters as soon as it is as large as the demonstrations' temperature.
        """
        imitated = bool(batch.demonstrated.all())
        evaluate = self._imitating if imitated else self.network
        config = self._config
        burn = self._burn_in
        inputs = self.inputs(batch)
        state = before = self._with_memories(self._tensor(batch.recurrent_state), batch)
        with autocast(self._device, self._dtype):
            if burn:
                with torch.no_grad():
                    _, state = evaluate(inputs.steps(0, burn), state)
            q_online_t, state = evaluate(inputs.steps(burn), state)
        shown = self._tensor(batch.demonstrated)
        self._memories = state[:, shown].detach()
        losses: dict[str, Tensor] = {}
        metrics: Figures = {}
        priorities = np.zeros(len(batch.ids), np.float32)
        if not imitated:
            errors, values = self._errors(batch, inputs, before, q_online_t)
            valid_t = self._tensor(batch.valid)[burn:]
            losses["loss/value"] = sequence_loss(errors, self._tensor(batch.importance_weight))
            count = valid_t.sum().clamp(min=1)
            metrics["loss/td_error"] = (errors.abs().sum() / count).item()
            metrics["value/mean"] = (values.detach() * valid_t).sum().div(count).item()
            priorities = sequence_priorities(errors.detach(), valid_t, config.priority_mix)
            priorities = priorities.cpu().numpy()
        if batch.demonstrated.any():
            losses["loss/demonstration"] = demonstration_loss(
                q_online_t[:-1, shown],
                self._tensor(batch.action)[burn:, shown],
                self._tensor(batch.valid)[burn:, shown],
                config.demonstration_temperature,
            )
        metrics |= self._descend(losses, {"loss/demonstration": float(batch.demonstrated.mean())})
        if (self.updates + 1) % config.target_period == 0:
            copy_weights(self.network, self.target)
        return priorities, metrics

    def inputs(self, batch: SequenceBatch) -> Inputs:
        """What the network reads of a batch."""
        return Inputs(
            observation=self._tensor(batch.observation),
            first=self._tensor(batch.first),
            policy=self._tensor(batch.policy).long(),
            action_tm1=self._tensor(batch.action_tm1).long(),
            reward_ext_tm1=self._tensor(batch.reward_ext_tm1),
            reward_int_tm1=self._tensor(batch.reward_int_tm1),
        )

    def _errors(
        self, batch: SequenceBatch, inputs: Inputs, state: Tensor, q_online_t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Errors [T, B] against the Retrace targets, and the values of the actions taken."""
        config, burn = self._config, self._burn_in
        action_t = self._tensor(batch.action)[burn:].long()
        policy_t = inputs.policy[burn:-1]
        valid_t = self._tensor(batch.valid)[burn:]
        reward_ext = self._tensor(batch.reward_ext)[burn:]
        reward_int = self._tensor(batch.reward_int)[burn:]
        with torch.no_grad(), autocast(self._device, self._dtype):
            q_target_t = self.target(inputs, state)[0][burn:]
        targets = retrace_targets(
            action_t=action_t,
            behaviour_probability_t=self._tensor(batch.behaviour_probability)[burn:],
            reward_tp1=reward_ext + self._beta[policy_t] * reward_int,
            terminated_tp1=self._tensor(batch.terminated)[burn:],
            truncated_tp1=self._tensor(batch.truncated)[burn:],
            valid_t=valid_t,
            q_online_t=q_online_t.detach(),
            q_target_t=q_target_t,
            discount=self._gamma[policy_t],
            trace_decay=config.trace_decay,
            transform=self._transform,
        )
        q_taken_t = q_online_t[:-1].gather(-1, action_t.unsqueeze(-1)).squeeze(-1)
        return td_errors(q_taken_t, targets, valid_t), q_taken_t

    def _descend(self, losses: dict[str, Tensor], weights: dict[str, float]) -> Figures:
        """A step down the sum of the losses, each with its weight, 1 if it has none.

        Raises:
            FloatingPointError: a loss or the gradient is not finite; nothing was trained on it.
        """
        figures: Figures = {}
        for name, loss in losses.items():
            figures[name] = loss.item()
            if not np.isfinite(figures[name]):
                raise FloatingPointError(
                    f"{name} is {figures[name]} in update {self.updates + 1}: the value function "
                    "was not trained on it"
                )
        total = sum(loss * weights.get(name, 1.0) for name, loss in losses.items())
        assert isinstance(total, Tensor)
        self._optimiser.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            self.network.parameters(), self._config.max_gradient_norm
        )
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"the gradient of {' and '.join(losses)} has norm {norm.item()} in update "
                f"{self.updates + 1}: the value function was not trained on it"
            )
        self._optimiser.step()
        return {**figures, "gradient_norm": norm.item()}

    def _imitating(self, inputs: Inputs, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.advantages(inputs, state, self._thinned)

    def _thinned(self, features: Tensor) -> Tensor:
        """Features of which a share is zero, another one for each step; the others are greater."""
        kept = 1 - self._config.demonstration_dropout
        if kept == 1:
            return features
        chances = torch.full(features.shape, kept, dtype=features.dtype)
        return features * chances.bernoulli(generator=self._generator).to(self._device) / kept

    def _with_memories(self, state: Tensor, batch: SequenceBatch) -> Tensor:
        """Recurrent states [2, B, H] to begin with: demonstrations go on from those of before.

        They come with zeros. A policy that never learned what to do with an old memory, or with one
        of another place, goes astray as soon as its episodes are longer than a sequence, or an
        agent that lost a life is put somewhere else.
        """
        count = min(int(batch.demonstrated.sum()), self._memories.shape[1])
        rows = np.flatnonzero(batch.demonstrated)[:count]
        state = state.clone()
        state[:, rows] = self._memories[:, :count]
        return state

    def update_bonus(self, bonus: IntrinsicReward, transitions: Transitions) -> Figures:
        """Train the intrinsic reward once; returns metrics."""
        return train_bonus(
            bonus,
            self._tensor(transitions.observation_tm1),
            self._tensor(transitions.action_tm1) + self._action_start,
            self._tensor(transitions.observation_t),
        )

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimiser and counter; the intrinsic reward keeps its own state."""
        return {
            "network": self.network.state_dict(),
            "target": self.target.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "memories": self._memories,
            "generator": self._generator.get_state(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.target.load_state_dict(state["target"])
        load_adam(self._optimiser, state["optimiser"])
        self._memories = state["memories"].to(self._device)
        self._generator.set_state(state["generator"])
        self.updates = state["updates"]

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self._device, non_blocking=True)
