"""Training of the recurrent network that predicts latents, on encoded sequences in memory.

Source: Ha and Schmidhuber, "World Models" (arXiv 1803.10122), appendix A.2: each picture is kept as
the mean and standard deviation of its posterior, and a latent is drawn from it anew in each update.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ngu.adam import load_adam
from ngu.seeding import Seeds, generator_state, set_generator_state
from ngu.world.distributions import Gaussian, sample_gaussian
from ngu.world.mdn_rnn import MDNRNN, Losses


class Sequences(NamedTuple):
    """What E environments showed in T steps: row t is what was seen, done, and what came of it."""

    mean: Float[Tensor, "T E Z"]
    """Of the posterior of what was seen."""
    std: Float[Tensor, "T E Z"]
    action: Float[Tensor, "T E A"]
    """Encoded."""
    first: Bool[Tensor, "T E"]
    """What was seen is the first of an episode, and nothing before led to it."""
    reward: Float[Tensor, "T E"]
    """Of the step to the next row."""
    terminated: Bool[Tensor, "T E"]
    """The step to the next row ended the episode."""

    def rows(self, start: int, stop: int) -> Sequences:
        """The rows from one to before another."""
        return Sequences(*(column[start:stop] for column in self))


class Batch(NamedTuple):
    """Sequences of L steps, N = L + 1, their latents drawn."""

    latents: Float[Tensor, "N B Z"]
    actions: Float[Tensor, "L B A"]
    first: Bool[Tensor, "N B"]
    reward: Float[Tensor, "L B"]
    terminated: Bool[Tensor, "L B"]


@dataclass(frozen=True)
class MDNRNNTrainingConfig:
    """How the network is trained."""

    updates: int = 4000
    """Updates in all."""
    batch_size: int = 32
    """Sequences in an update."""
    sequence_length: int = 64
    """Steps of a sequence, from any step of an episode on (World Models: whole episodes)."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    max_gradient_norm: float = 100.0
    """Norm to which the gradient, of a loss in nats for a step, is clipped."""
    held_out_share: float = 0.05
    """Share of the steps, the last ones, that are only evaluated on."""

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "sequence_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "max_gradient_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 < self.held_out_share < 1:
            raise ValueError(f"held_out_share must be between 0 and 1, got {self.held_out_share}")

    def trained_on(self, steps: int) -> int:
        """How many of so many steps of each environment, the first ones, are trained on.

        Raises:
            ValueError: they are too few for a sequence, or the others for one step.
        """
        held_out = max(2, round(steps * self.held_out_share))
        if steps - held_out < self.sequence_length + 1:
            raise ValueError(
                f"there must be at least {self.sequence_length + 1} steps of each environment, for "
                f"a sequence, beside the {held_out} held out, got {steps} in all"
            )
        return steps - held_out


class MDNRNNReport(NamedTuple):
    """What the network foresees of sequences; means over their steps."""

    latent_nats: float
    """Negative log-likelihood of what is seen next."""
    still_nats: float
    """The same of a Gaussian around what is seen now, as wide as changes are in training."""
    reward_error: float
    """Root of the mean squared error."""
    reward_deviation: float
    """That of the mean reward in training."""
    end_nats: float
    """Negative log-likelihood of whether the episode ends."""


class MDNRNNTraining:
    """Updates of the network, on sequences drawn uniformly.

    Args:
        rnn: trained in place.
        sequences: what it is trained on, and in their last rows evaluated.
        config: how.
        seed: of the draws.
        device: where it computes.

    Attributes:
        updates: so far.

    Raises:
        ValueError: latents or actions are of another width, or the sequences are too short.
    """

    def __init__(
        self,
        rnn: MDNRNN,
        sequences: Sequences,
        config: MDNRNNTrainingConfig,
        *,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        for name, expected, found in (
            ("latents", rnn.latent_dim, sequences.mean.shape[-1]),
            ("actions", rnn.action_size, sequences.action.shape[-1]),
        ):
            if found != expected:
                raise ValueError(f"{name} must be {expected} numbers wide, got {found}")
        self.config = config
        self.updates = 0
        self.rnn = rnn.to(device)
        self._device = torch.device(device)
        trained_on = config.trained_on(len(sequences.mean))
        self._sequences = sequences.rows(0, trained_on)
        self._held_out = sequences.rows(trained_on, len(sequences.mean))
        self._seeds = Seeds(seed)
        self._starts = self._seeds.numpy("sequences")
        self._noise = self._seeds.torch("latents of sequences", self._device)
        self._optimiser = torch.optim.Adam(
            self.rnn.parameters(), lr=config.learning_rate, fused=True
        )
        rewards = self._sequences.reward[:-1][~self._sequences.first[1:]]
        self._mean_reward = rewards.mean() if len(rewards) else torch.zeros(())
        deviation = (rewards - self._mean_reward).square().mean().sqrt()
        rnn.reward_scale.fill_(deviation.item() if deviation > 0 else 1.0)

    @property
    def done(self) -> bool:
        """Whether all updates are made."""
        return self.updates >= self.config.updates

    def update(self) -> dict[str, float]:
        """One update; returns its metrics.

        Raises:
            FloatingPointError: the loss is not finite; the weights are from before it.
        """
        batch = self.draw(self.config.batch_size, self._starts, self._noise)
        losses = self.rnn.losses(*batch)
        value = losses.total.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} in update {self.updates + 1}")
        self._optimiser.zero_grad(set_to_none=True)
        losses.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.rnn.parameters(), self.config.max_gradient_norm)
        self._optimiser.step()
        self.updates += 1
        return _named(losses) | {"gradient_norm": norm.item()}

    def draw(self, count: int, starts: np.random.Generator, noise: torch.Generator | None) -> Batch:
        """Sequences of what is trained on.

        Args:
            count: how many.
            starts: chooses them.
            noise: draws their latents; None takes the posteriors' means.
        """
        length = self.config.sequence_length
        steps, envs = self._sequences.first.shape
        begin = torch.from_numpy(starts.integers(steps - length, size=count))
        env = torch.from_numpy(starts.integers(envs, size=count))
        time = begin + torch.arange(length + 1).unsqueeze(-1)
        return self._batch(Sequences(*(column[time, env] for column in self._sequences)), noise)

    @torch.no_grad()
    def evaluate(self) -> MDNRNNReport:
        """What comes out on the steps held out, followed as one sequence; the same each time."""
        batch = self._batch(self._held_out, self._seeds.torch("held-out latents", self._device))
        losses = self.rnn.losses(*batch)
        counted = ~batch.first[1:]
        rewards = batch.reward[counted]
        return MDNRNNReport(
            latent_nats=losses.latent.item(),
            still_nats=self._still(batch),
            reward_error=(2 * losses.reward).sqrt().item() * self.rnn.reward_scale.item(),
            reward_deviation=(rewards - self._mean_reward.to(rewards))
            .square()
            .mean()
            .sqrt()
            .item(),
            end_nats=losses.end.item(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next updates depend on, but the sequences."""
        return {
            "rnn": self.rnn.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "starts": generator_state(self._starts),
            "noise": self._noise.get_state(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.rnn.load_state_dict(state["rnn"])
        load_adam(self._optimiser, state["optimiser"])
        set_generator_state(self._starts, state["starts"])
        self._noise.set_state(state["noise"])
        self.updates = state["updates"]

    def _batch(self, rows: Sequences, noise: torch.Generator | None) -> Batch:
        mean, std, action, first, reward, terminated = (part.to(self._device) for part in rows)
        latents = sample_gaussian(Gaussian(mean, std), noise)
        return Batch(latents, action[:-1], first, reward[:-1], terminated[:-1])

    def _still(self, batch: Batch) -> float:
        """Nats of the next latents by a Gaussian around the last ones; see `MDNRNNReport`."""
        noise = self._seeds.torch("latents of what stays", self._device)
        trained = self._batch(self._sequences, noise)
        changes = (trained.latents.diff(dim=0))[~trained.first[1:]]
        variance = changes.square().mean(0)
        found = batch.latents.diff(dim=0)[~batch.first[1:]].square().mean(0)
        return 0.5 * (found / variance + torch.log(2 * math.pi * variance)).sum().item()


def _named(losses: Losses) -> dict[str, float]:
    parts = losses._asdict() | {"total": losses.total}
    return {f"loss/{name}": value.item() for name, value in parts.items()}
