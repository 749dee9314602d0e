"""A recurrent network that tells what is seen next as a mixture of Gaussians: World Models' M.

From a latent z_t of what is seen, an action a_t and what it remembers, an LSTM predicts z_{t+1};
two more outputs, for dreams, tell the reward of the step and whether the episode ends with it.
Sources: Ha and Schmidhuber, "World Models" (arXiv 1803.10122), section 2.3 and appendix A.2; Graves
(arXiv 1308.0850), section 4, for mixtures as outputs of a recurrent network. As in the code of
World Models each number of z has a mixture of its own.

Shapes: T time, N = T + 1, B sequences, Z latent dimensions, K Gaussians, A encoded action, H units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from ngu.lstm import ResettableLSTM
from ngu.nets import linear
from ngu.world.distributions import (
    Categorical,
    Gaussian,
    sample_categorical,
    sample_gaussian,
)


class Mixture(NamedTuple):
    """Independent numbers, each a mixture of K Gaussians."""

    log_weight: Float[Tensor, "*batch Z K"]
    """Logarithm of each Gaussian's share; the shares of a number sum to 1."""
    mean: Float[Tensor, "*batch Z K"]
    log_std: Float[Tensor, "*batch Z K"]


class Prediction(NamedTuple):
    """What a step leads to."""

    latent: Mixture
    """What is seen next."""
    reward: Float[Tensor, "*batch"]
    """The mean of the step's reward."""
    end: Float[Tensor, "*batch"]
    """Log-odds that the step ends the episode."""


class Dream(NamedTuple):
    """What the network expects of a policy's actions, T steps."""

    latents: Float[Tensor, "T B Z"]
    """What each step led to."""
    actions: Float[Tensor, "T B A"]
    """What each step did, encoded."""
    reward: Float[Tensor, "T B"]
    """Of each step; 0 once an episode has ended."""
    alive: Bool[Tensor, "T B"]
    """Whether the episode had not ended before the step."""


class Losses(NamedTuple):
    """Means over the steps, in nats, of the negative log-likelihood's three parts."""

    latent: Float[Tensor, ""]
    """Of what is seen next."""
    reward: Float[Tensor, ""]
    """Of the reward in its own scale, as of a Gaussian of variance 1 without its constant."""
    end: Float[Tensor, ""]
    """Of whether the episode ends."""

    @property
    def total(self) -> Float[Tensor, ""]:
        """What training makes small: the three together."""
        return self.latent + self.reward + self.end


@dataclass(frozen=True)
class MDNRNNConfig:
    """Sizes of the network; the defaults are those of World Models for CarRacing."""

    hidden: int = 256
    """Units H of the LSTM."""
    mixtures: int = 5
    """Gaussians K in each number's mixture."""

    def __post_init__(self) -> None:
        for name in ("hidden", "mixtures"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


def mixture_log_likelihood(
    mixture: Mixture, latents: Float[Tensor, "*batch Z"]
) -> Float[Tensor, "*batch"]:
    """Return log p(z) in nats, summed over the numbers: log sum_k w_k N(z; mean_k, std_k^2).

    The sum is taken of logarithms (World Models' equation of the mixture, Graves' 23), so that a
    number far from all Gaussians has a likelihood and a gradient.
    """
    distance = (latents.unsqueeze(-1) - mixture.mean) * torch.exp(-mixture.log_std)
    normal = -0.5 * distance.square() - mixture.log_std - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(mixture.log_weight + normal, dim=-1).sum(-1)


def sample_mixture(
    mixture: Mixture, generator: torch.Generator | None, *, temperature: float = 1.0
) -> Float[Tensor, "*batch Z"]:
    """Latents drawn at a temperature tau: shares w_k^(1 / tau) normalised, std_k sqrt(tau).

    Args:
        mixture: what is drawn from.
        generator: of one uniform and one normal number each, on the mixture's device; None takes
            the mean of the Gaussian with the largest share.
        temperature: above 1 more happens than was seen, towards 0 only the likeliest.

    Raises:
        ValueError: the temperature is not positive.
    """
    _check_temperature(temperature)
    shares = functional.log_softmax(mixture.log_weight / temperature, dim=-1)
    chosen = sample_categorical(Categorical(shares), generator)
    std = (chosen * mixture.log_std).sum(-1).exp() * math.sqrt(temperature)
    return sample_gaussian(Gaussian((chosen * mixture.mean).sum(-1), std), generator)


class MDNRNN(nn.Module):
    """The network. Under `torch.autocast` too, all that it predicts is float32.

    Args:
        latent_dim: width Z of a latent.
        action_size: width A of an encoded action.
        config: sizes.
        generator: draws the weights; a CPU one. Global random state is not touched.

    Attributes:
        reward_scale: what a reward is divided by before it is learned; set by training.
    """

    reward_scale: Tensor

    def __init__(
        self,
        latent_dim: int,
        action_size: int,
        config: MDNRNNConfig | None = None,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config = config = MDNRNNConfig() if config is None else config
        self.latent_dim, self.action_size = latent_dim, action_size
        self.lstm = ResettableLSTM(latent_dim + action_size, config.hidden, generator=generator)
        outputs = 3 * latent_dim * config.mixtures + 2
        self.outputs = linear(config.hidden, outputs, generator=generator, gain=1.0)
        self.register_buffer("reward_scale", torch.ones(()))

    def initial(self, batch: int) -> Float[Tensor, "2 B H"]:
        """What is remembered before an episode: zeros."""
        return self.outputs.weight.new_zeros(2, batch, self.config.hidden)

    def follow(
        self,
        latents: Float[Tensor, "T B Z"],
        actions: Float[Tensor, "T B A"],
        first: Bool[Tensor, "T B"],
        state: Float[Tensor, "2 B H"],
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "2 B H"]]:
        """Remember what was seen and done.

        Args:
            latents: z_t.
            actions: a_t, encoded.
            first: z_t is the first of an episode: what was before is forgotten.
            state: before the first step; its first half, h, is what a controller sees.

        Returns:
            h after each step, and the state after the last.
        """
        return self.lstm(torch.cat((latents, actions), dim=-1), first, state)

    def predict(self, hidden: Float[Tensor, "*batch H"]) -> Prediction:
        """What the step leads to that h, of `follow`, is after."""
        outputs = self.outputs(hidden).float()
        sizes = (3 * self.latent_dim * self.config.mixtures, 1, 1)
        mixture, reward, end = outputs.split(sizes, dim=-1)
        parts = mixture.unflatten(-1, (3, self.latent_dim, self.config.mixtures))
        logits, mean, log_std = parts.unbind(-3)
        latent = Mixture(functional.log_softmax(logits, dim=-1), mean, log_std)
        return Prediction(latent, reward.squeeze(-1) * self.reward_scale, end.squeeze(-1))

    def forward(
        self,
        latents: Float[Tensor, "T B Z"],
        actions: Float[Tensor, "T B A"],
        first: Bool[Tensor, "T B"],
        state: Float[Tensor, "2 B H"],
    ) -> tuple[Prediction, Float[Tensor, "2 B H"]]:
        """What each step leads to, and the state after the last; see `follow`."""
        hidden, state = self.follow(latents, actions, first, state)
        return self.predict(hidden), state

    def step(
        self,
        latents: Float[Tensor, "B Z"],
        actions: Float[Tensor, "B A"],
        state: Float[Tensor, "2 B H"],
    ) -> tuple[Prediction, Float[Tensor, "2 B H"]]:
        """What one step leads to, and the state after it."""
        first = torch.zeros(1, len(latents), dtype=torch.bool, device=latents.device)
        hidden, state = self.follow(latents[None], actions[None], first, state)
        return self.predict(hidden[0]), state

    def imagine(
        self,
        latents: Float[Tensor, "B Z"],
        state: Float[Tensor, "2 B H"],
        policy: Callable[[Tensor, Tensor], Tensor],
        steps: int,
        *,
        generator: torch.Generator | None,
        temperature: float = 1.0,
    ) -> Dream:
        """Dream for some steps.

        Args:
            latents: what is seen at the beginning.
            state: what is remembered then.
            policy: returns the encoded actions [B, A] of latents [B, Z] and of h [B, H].
            steps: T, at least 1.
            generator: of the latents and the ends of episodes, on the network's device; None takes
                the likeliest.
            temperature: of the latents, see `sample_mixture`.

        Raises:
            ValueError: `steps` is below 1, or the temperature is not positive.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        _check_temperature(temperature)
        alive = torch.ones(len(latents), dtype=torch.bool, device=latents.device)
        seen, done, rewards, alives = [], [], [], []
        for _ in range(steps):
            actions = policy(latents, state[0])
            prediction, state = self.step(latents, actions, state)
            latents = sample_mixture(prediction.latent, generator, temperature=temperature)
            seen.append(latents)
            done.append(actions)
            rewards.append(prediction.reward * alive)
            alives.append(alive)
            alive = alive & ~_drawn(prediction.end, generator)
        return Dream(*(torch.stack(parts) for parts in (seen, done, rewards, alives)))

    def losses(
        self,
        latents: Float[Tensor, "N B Z"],
        actions: Float[Tensor, "T B A"],
        first: Bool[Tensor, "N B"],
        reward: Float[Tensor, "T B"],
        terminated: Bool[Tensor, "T B"],
    ) -> Losses:
        """What it did not foresee of sequences, nothing remembered before their first steps.

        Args:
            latents: z_0 to z_T.
            actions: a_t, encoded.
            first: z_t is the first of an episode: nothing led to it.
            reward: of the steps from z_t to z_{t+1}.
            terminated: the step ended the episode; where a time limit did, it is False.
        """
        prediction, _ = self(latents[:-1], actions, first[:-1], self.initial(latents.shape[1]))
        counted = (~first[1:]).float()
        count = counted.sum().clamp_min(1)
        error = (prediction.reward - reward) / self.reward_scale
        end = functional.binary_cross_entropy_with_logits(
            prediction.end, terminated.float(), reduction="none"
        )
        each = (
            -mixture_log_likelihood(prediction.latent, latents[1:]),
            0.5 * error.square(),
            end,
        )
        return Losses(*((part * counted).sum() / count for part in each))


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0, got {temperature}")


def _drawn(log_odds: Float[Tensor, " B"], generator: torch.Generator | None) -> Bool[Tensor, " B"]:
    if generator is None:
        return log_odds > 0
    uniform = torch.empty_like(log_odds).uniform_(generator=generator)
    return uniform < torch.sigmoid(log_odds)
