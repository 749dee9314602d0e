"""The learning side of the dreamer: a world model from the replay, behaviour from imagination.

Source: Hafner et al., DreamerV3 (arXiv 2301.04104). Decided here: an intrinsic return with a critic
and a range of its own; the range of extrinsic returns has a floor of 1 as in the paper, intrinsic
ones, which are dense and of any scale, have none.

A batch is divided into shards that threads work on side by side, each operation on one core, as PPO
does it. Shards have a fixed size and their gradients are summed in order, so that results do not
depend on the number of threads.

Shapes: T time, B sequences of a shard, H imagined steps, N imagined trajectories, S features.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from ngu.adam import load_adam
from ngu.precision import autocast
from ngu.stopwatch import Stopwatch
from ngu.world.model import WorldModel
from ngu.world.rssm import State
from ngu_agents.base import Figures
from ngu_agents.dreamer_config import DreamerConfig
from ngu_agents.dreamer_network import Behaviour
from ngu_agents.imagined_novelty import (
    Dreamt,
    ImaginedReward,
    Passed,
    RememberedNovelty,
    Replayed,
)
from ngu_agents.imagined_returns import ReturnRange, lambda_returns
from ngu_agents.sequence_batch import SequenceBatch

_SHARD = 8
"""Sequences in a shard on a CPU."""
_LEAST_NORM = 1e-3
"""What a tensor of smaller norm counts as where its gradient is clipped."""
_RANGE_FLOOR = {"ext": 1.0, "int": 1e-8}


class Sequences(NamedTuple):
    """A shard of replayed sequences; at index t is what came with the observation x_t."""

    observation: Shaped[Tensor, "T B ..."]
    action_tm1: Shaped[Tensor, "T B ..."]
    reward: Float[Tensor, "T B"]
    reward_int: Float[Tensor, "T B"]
    terminated: Bool[Tensor, "T B"]
    first: Bool[Tensor, "T B"]
    envs: Int[np.ndarray, " B"]


class Modelled(NamedTuple):
    """What learning the model from a shard comes to."""

    gradients: Sequence[Tensor]
    loss: Tensor
    figures: dict[str, Tensor]
    states: State
    features: Float[Tensor, "T+1 B S"]
    """Of the states, and of the one before them."""
    embedded: Float[Tensor, "T+1 B D"] | None
    """What was seen in those, see `RememberedNovelty.embed`."""
    embedding_errors: Float[Tensor, "T B"]
    """Of the states, zeros where nothing is embedded."""


@dataclass
class Dream:
    """Imagined trajectories of a shard and what they are worth."""

    features: Float[Tensor, "H N S"]
    """Of the states that actions were taken in."""
    rows: Shaped[Tensor, "H N D"]
    """Those actions, as the policy's head draws them."""
    weight: Float[Tensor, "H N"]
    """Discounted probability that the state is still part of the episode."""
    returns: dict[str, Float[Tensor, "H N"]]
    """By name."""
    values: dict[str, Float[Tensor, "H N"]]
    """Of the same states, by name."""
    rewards: dict[str, Float[Tensor, "H N"]]
    """Of the states reached, by name."""


class DreamerLearner:
    """Trains a world model and a behaviour; owns their optimisers.

    Args:
        model: trained in place.
        behaviour: trained in place.
        imagined: pays imagined states, and is trained beside the model; None pays nothing.
        config: the agent's settings.
        burn_in: steps of each sequence that only bring the state up.
        num_envs: environments E that the replay is of.
        generator: of the samples; a CPU one.
        pool: its threads work on the shards.
        stopwatch: measures the stages.
        device: of all of these.
        dtype: float type of the matrix products.

    Attributes:
        updates: so far.
    """

    def __init__(
        self,
        model: WorldModel,
        behaviour: Behaviour,
        imagined: ImaginedReward | None,
        config: DreamerConfig,
        *,
        burn_in: int,
        num_envs: int,
        generator: torch.Generator,
        pool: Executor,
        stopwatch: Stopwatch,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.model, self.behaviour, self.imagined = model, behaviour, imagined
        self.updates = 0
        self._config = config
        # One observation more than what is learned from: it brings the first action's state.
        self._context = burn_in + 1
        self._num_envs = num_envs
        self._generator = generator
        self._pool, self._stopwatch = pool, stopwatch
        self._device, self._dtype = device, dtype
        self._embeds = imagined if isinstance(imagined, RememberedNovelty) else None
        heads = [] if self._embeds is None else [self._embeds.embedding]
        trained = {"model": [model, *heads], "behaviour": [behaviour]}
        self._optimisers = {
            name: torch.optim.Adam(
                [p for part in parts for p in part.parameters() if p.requires_grad],
                lr=config.learning_rate,
                eps=config.adam_epsilon,
                fused=True,
            )
            for name, parts in trained.items()
        }
        self._gamma = {"ext": config.gamma_ext, "int": config.gamma_int}
        self._weight = {"ext": config.extrinsic_weight, "int": config.intrinsic_weight}
        self._ranges = {name: ReturnRange(floor=_RANGE_FLOOR[name]) for name in behaviour.critics}

    def update(self, batch: SequenceBatch) -> Figures:
        """Train once on replayed sequences, and on what is imagined from their states.

        Returns:
            Metrics.

        Raises:
            FloatingPointError: a loss is not finite; what it trains is as before.
        """
        shards = self.shards(batch)
        shares = [len(shard.envs) / len(batch.ids) for shard in shards]
        with self._stopwatch("learner: model"):
            modelled = self._on_all(self.learn_model, shards, self._seeds(len(shards)))
            losses = [(part.gradients, part.loss) for part in modelled]
            figures = self._step("model", losses, shares)
            for name in modelled[0].figures:
                figures[f"loss/{name}"] = _mean([part.figures[name] for part in modelled], shares)
        if self.imagined is not None:
            with self._stopwatch("learner: imagined novelty"):
                learned = self.imagined.learn(self._replayed(shards, modelled))
            figures |= {f"loss/{name.removesuffix('_loss')}": x for name, x in learned.items()}
        with self._stopwatch("learner: imagination"):
            dreams = self._on_all(self.dream, shards, modelled, self._seeds(len(shards)))
        for name, range_ in self._ranges.items():
            range_.update(torch.cat([dream.returns[name].flatten() for dream in dreams]))
            figures[f"imagined_return_{name}"] = _mean([d.returns[name] for d in dreams], shares)
            figures[f"imagined_reward_{name}"] = _mean([d.rewards[name] for d in dreams], shares)
            figures[f"return_scale_{name}"] = range_.scale
        with self._stopwatch("learner: behaviour"):
            behaved = self._on_all(self.learn_behaviour, dreams)
            figures |= self._step("behaviour", [(part[0], part[1]) for part in behaved], shares)
            for name in behaved[0][2]:
                figures[name] = _mean([part[2][name] for part in behaved], shares)
        for critic in self._critics().values():
            critic.follow(self._config.slow_decay)
        self.updates += 1
        return figures

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, ranges and the generator."""
        return {
            "model": self.model.state_dict(),
            "behaviour": self.behaviour.state_dict(),
            "imagined": None if self.imagined is None else self.imagined.state_dict(),
            "optimisers": {name: adam.state_dict() for name, adam in self._optimisers.items()},
            "ranges": {name: range_.state_dict() for name, range_ in self._ranges.items()},
            "generator": self._generator.get_state(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.behaviour.load_state_dict(state["behaviour"])
        if self.imagined is not None:
            self.imagined.load_state_dict(state["imagined"])
        for name, adam in self._optimisers.items():
            load_adam(adam, state["optimisers"][name])
        for name, range_ in self._ranges.items():
            range_.load_state_dict(state["ranges"][name])
        self._generator.set_state(state["generator"].cpu())
        self.updates = state["updates"]

    def learn_model(self, shard: Sequences, seed: int) -> Modelled:
        """The gradients of the model's loss on a shard, and the states that were followed."""
        generator, context = self._drawing(seed), self._context
        observation, action_tm1, first = shard.observation, shard.action_tm1, shard.first
        with autocast(self._device, self._dtype):
            with torch.no_grad():
                before = self.model.observe(
                    observation[:context], action_tm1[:context], first[:context], None, generator
                ).states.at(-1)
            loss, parts = self.model.loss(
                observation[context:],
                action_tm1[context:],
                shard.reward[context:],
                shard.terminated[context:],
                first[context:],
                before,
                generator,
            )
        parts_of_loss = parts._asdict()
        seen = parts_of_loss.pop("observed")
        figures = {name: part.detach().mean() for name, part in parts_of_loss.items()}
        embedded, errors = None, torch.zeros_like(shard.reward[context:])
        if self._embeds is not None:
            embedded = self._embeds.embed(observation[context - 1 :])
            nats, figures["imagined_embedding"], errors = self._embeds.embedding_loss(
                self.model.rssm.features(seen.states), embedded[1:], first[context:].cumsum(0)
            )
            loss = loss + nats
        gradients = torch.autograd.grad(loss, self._parameters("model"))
        states = State(*(part.detach() for part in seen.states))
        features = self.model.rssm.features(
            State(*(torch.cat((a.unsqueeze(0), b)) for a, b in zip(before, states, strict=True)))
        )
        return Modelled(gradients, loss.detach(), figures, states, features, embedded, errors)

    @torch.no_grad()
    def dream(self, shard: Sequences, modelled: Modelled, seed: int) -> Dream:
        """Imagine on from states of a shard, and value it."""
        generator, model, behaviour = self._drawing(seed), self.model, self.behaviour
        steps = len(modelled.states.deterministic)
        count = min(steps, self._config.starts_per_sequence or steps)
        chosen = torch.randperm(steps, generator=generator, device=self._device)[:count]
        start = State(*(part[chosen].flatten(0, 1) for part in modelled.states))
        rows: list[Tensor] = []

        def act(state: State) -> Tensor:
            parameters = behaviour.policy(model.rssm.features(state))
            rows.append(behaviour.head.sample(parameters, generator))
            return behaviour.head.encode(rows[-1])

        with autocast(self._device, self._dtype):
            imagined = model.rssm.imagine(start, act, self._config.horizon, generator=generator)
            features = torch.cat(
                (model.rssm.features(start).unsqueeze(0), model.rssm.features(imagined.states))
            )
            reached = features[1:]
            goes_on = model.continue_probability(reached)
            rewards = {"ext": model.expected_reward(reached)}
            values = {name: critic(features) for name, critic in self._critics().items()}
        if self.imagined is not None:
            embedded = modelled.embedded
            passed = passed_before(
                modelled.features, embedded, shard.first[self._context - 1 :], chosen
            )
            envs = np.where(passed.whole.numpy(force=True), -1, np.tile(shard.envs, count))
            begun = None if embedded is None else embedded[1:][chosen].flatten(0, 1)
            dreamt = Dreamt(features, imagined.actions, envs, begun, passed)
            rewards["int"] = self.imagined.pay(dreamt)
        returns = {
            name: lambda_returns(
                rewards[name], self._gamma[name] * goes_on, value, self._config.trace_decay
            )
            for name, value in values.items()
        }
        begun = (~shard.terminated[self._context :][chosen]).flatten().float()
        discount = self._gamma["ext"] * goes_on
        weight = torch.cat((begun.unsqueeze(0), discount[:-1])).cumprod(0)
        before = {name: value[:-1] for name, value in values.items()}
        return Dream(features[:-1], torch.stack(rows), weight, returns, before, rewards)

    def learn_behaviour(self, dream: Dream) -> tuple[Sequence[Tensor], Tensor, dict[str, Tensor]]:
        """The gradients of the behaviour's loss on imagined trajectories, the loss, and figures."""
        advantage = torch.zeros_like(dream.weight)
        for name, returns in dream.returns.items():
            difference = (returns - dream.values[name]) / self._ranges[name].scale
            advantage += self._weight[name] * difference
        with autocast(self._device, self._dtype):
            parameters = self.behaviour.policy(dream.features)
            losses = {
                name: critic.loss(dream.features, dream.returns[name])
                for name, critic in self._critics().items()
            }
        head = self.behaviour.head
        entropy = head.entropy(parameters)
        gain = advantage * head.log_probability(parameters, dream.rows)
        policy_loss = -(gain + self._config.entropy_weight * entropy)
        value_loss = torch.stack(list(losses.values())).sum(0)
        loss = (dream.weight * (policy_loss + value_loss)).mean()
        gradients = torch.autograd.grad(loss, self._parameters("behaviour"))
        figures = {
            "loss/policy": (dream.weight * policy_loss).mean(),
            "loss/value": (dream.weight * value_loss).mean(),
            "policy_entropy": entropy.mean(),
        }
        return gradients, loss.detach(), {name: x.detach() for name, x in figures.items()}

    def _replayed(self, shards: Sequence[Sequences], modelled: Sequence[Modelled]) -> Replayed:
        """Some of the replayed states, of all shards alike."""
        context = self._context
        parts = []
        for shard, part in zip(shards, modelled, strict=True):
            first = shard.first[context:]
            columns = (
                part.features[1:],
                part.features[:-1],
                shard.action_tm1[context:],
                part.embedding_errors,
                shard.reward_int[context:],
                ~first,
            )
            count = first.numel()
            share = -(-self._config.bonus_batch_size // len(shards))
            chosen = torch.randperm(count, generator=self._generator)[:share].to(self._device)
            parts.append([column.flatten(0, 1)[chosen] for column in columns])
        return Replayed(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _step(
        self,
        name: str,
        parts: Sequence[tuple[Sequence[Tensor], Tensor]],
        shares: Sequence[float],
    ) -> Figures:
        """Take an optimiser's step by the mean over sequences of the shards' gradients."""
        loss = _mean([loss for _, loss in parts], shares)
        of_parameters = zip(*(gradients for gradients, _ in parts), strict=True)
        gradients = [_weighed(column, shares) for column in of_parameters]
        norm = nn.utils.get_total_norm(gradients).item()
        if not (np.isfinite(loss) and np.isfinite(norm)):
            raise FloatingPointError(
                f"the loss of the {name} is {loss} and its gradient's norm {norm} in update "
                f"{self.updates + 1}"
            )
        parameters = self._parameters(name)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        clip_adaptively(parameters, self._config.max_gradient_ratio)
        self._optimisers[name].step()
        self._optimisers[name].zero_grad(set_to_none=True)
        return {f"loss/{name}": loss}

    def shards(self, batch: SequenceBatch) -> list[Sequences]:
        """Divide a batch into what is worked on side by side."""
        count = len(batch.ids)
        size = count if self._device.type != "cpu" else _SHARD
        # At index 0 what came with the observation before is not known; it is context.
        ended = np.zeros_like(batch.first)
        ended[1:] = batch.terminated & ~batch.first[1:]
        columns = (
            batch.observation,
            batch.action_tm1,
            batch.reward_ext_tm1,
            batch.reward_int_tm1,
            ended,
            batch.first,
        )
        return [
            Sequences(
                *(self._tensor(column[:, first : first + size]) for column in columns),
                envs=batch.ids[first : first + size] % self._num_envs,
            )
            for first in range(0, count, size)
        ]

    def _on_all(self, function: Any, *columns: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, *columns))

    def _seeds(self, count: int) -> list[int]:
        return torch.randint(2**62, (count,), generator=self._generator).tolist()

    def _drawing(self, seed: int) -> torch.Generator:
        return torch.Generator(self._device).manual_seed(seed)

    def _parameters(self, name: str) -> list[nn.Parameter]:
        return self._optimisers[name].param_groups[0]["params"]

    def _critics(self) -> dict[str, Any]:
        return dict(self.behaviour.critics.items())

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)


def passed_before(
    features: Float[Tensor, "P B S"],
    embedded: Float[Tensor, "P B D"] | None,
    first: Bool[Tensor, "P B"],
    starts: Int[Tensor, " C"],
) -> Passed:
    """What the replayed sequences passed in an episode before imagination begins.

    Args:
        features: of P states, the one before the first that imagination may begin in included.
        embedded: what was seen in them.
        first: the state is the first of its episode.
        starts: where it begins, the same in all sequences; 0 is the second of these states.
    """
    episode = first.cumsum(0)
    times = torch.arange(len(first), device=first.device)
    earlier = times.unsqueeze(1) < starts + 1
    same = episode.unsqueeze(1) == episode[starts + 1]
    counted = (earlier.unsqueeze(-1) & same).flatten(1)
    return Passed(features, embedded, counted, (episode[starts + 1] > 0).flatten())


@torch.no_grad()
def clip_adaptively(parameters: Sequence[nn.Parameter], ratio: float) -> None:
    """Scale each tensor's gradient to at most a share of the tensor's norm, in place.

    Source: Brock et al. (arXiv 2102.06171), equation 3, with one norm for the whole tensor as in
    DreamerV3's code.

    Args:
        parameters: with gradients.
        ratio: the share.
    """
    for parameter in parameters:
        assert parameter.grad is not None
        limit = ratio * parameter.norm().clamp_min(_LEAST_NORM)
        parameter.grad.mul_((limit / parameter.grad.norm().clamp_min(1e-12)).clamp_max(1.0))


def _mean(values: Sequence[Tensor], shares: Sequence[float]) -> float:
    """Mean over the sequences of what shards have means of."""
    return _weighed([value.float().mean() for value in values], shares).item()


def _weighed(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    total = values[0] * shares[0]
    for value, share in zip(values[1:], shares[1:], strict=True):
        total.add_(value, alpha=share)
    return total
