"""A recurrent state-space model: what was seen becomes a state that can be rolled on unseen.

A state has a deterministic part h, which a recurrent cell carries, and a stochastic part z. The
prior p(z_t | h_t) is what is believed before the observation x_t, the posterior q(z_t | h_t, x_t)
with it. Sources: Hafner et al., PlaNet (arXiv 1811.04551), section 3, Gaussian z; DreamerV2 (arXiv
2010.02193) and DreamerV3 (arXiv 2301.04104), section "World model learning", categorical z.

Shapes: T time, B sequences, F embedding, A encoded action, H deterministic, S stochastic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import linear
from ngu.world.distributions import (
    Categorical,
    Gaussian,
    KLLosses,
    kl_balance,
    sample_categorical,
    sample_gaussian,
    unimix,
)
from ngu.world.layers import Dense, NormedGRU

_LEAST_STD = 0.1  # of a Gaussian latent, as in PlaNet

Latents = Categorical | Gaussian


class State(NamedTuple):
    """What the model knows; [B, ...] at a time, [T, B, ...] over time."""

    deterministic: Float[Tensor, "*batch H"]
    """h, the recurrent part."""
    stochastic: Float[Tensor, "*batch S"]
    """z, a sample: one-hot vectors of all latents side by side, or Gaussian numbers."""

    def at(self, step: int) -> State:
        """The state at one step of a sequence."""
        return State(self.deterministic[step], self.stochastic[step])


class Observed(NamedTuple):
    """What observing a sequence yields, for each step."""

    states: State
    """[T, B, ...], the stochastic part drawn from the posterior."""
    posterior: Latents
    """Beliefs about z_t with x_t."""
    prior: Latents
    """Beliefs about z_t before x_t."""


class Imagined(NamedTuple):
    """What the model expects of actions, without observations."""

    states: State
    """[T, B, ...]: state t is what action t led to."""
    actions: Float[Tensor, "T B A"]
    """Action t was taken on state t - 1, the first on the state given."""


@dataclass(frozen=True)
class RSSMConfig:
    """Sizes and regularisation of a recurrent state-space model."""

    latent: Literal["categorical", "gaussian"] = "categorical"
    """Kind of the stochastic part: DreamerV3's classes or PlaNet's Gaussian numbers."""
    deterministic_size: int = 256
    """Width H of the recurrent part."""
    latents: int = 32
    """Stochastic latents: variables of several classes each, or Gaussian numbers."""
    classes: int = 16
    """Classes of a categorical latent; a Gaussian has none."""
    hidden: int = 256
    """Width of the layers before the cell and before the beliefs."""
    free_nats: float = 1.0
    """Divergence of a step that costs nothing, after the sum over the latents."""
    unimix: float = 0.01
    """Share of the uniform distribution in each categorical latent's probabilities."""

    def __post_init__(self) -> None:
        if self.latent not in ("categorical", "gaussian"):
            raise ValueError(f"latent must be 'categorical' or 'gaussian', got {self.latent!r}")
        for name, least in (("deterministic_size", 1), ("latents", 1), ("hidden", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.classes < 2:
            raise ValueError(f"classes must be at least 2, got {self.classes}")
        if not 0 <= self.free_nats < float("inf"):
            raise ValueError(f"free_nats must be at least 0, got {self.free_nats}")
        if not 0 <= self.unimix <= 1:
            raise ValueError(f"unimix must be in [0, 1], got {self.unimix}")

    @property
    def stochastic_size(self) -> int:
        """Width S of the stochastic part."""
        return self.latents * (self.classes if self.latent == "categorical" else 1)

    @property
    def features(self) -> int:
        """Width of a state as one vector."""
        return self.deterministic_size + self.stochastic_size


class RSSM(nn.Module):
    """The model. Beliefs and states are float32, also under `torch.autocast`.

    Random numbers are drawn step by step, so that a sequence observed in pieces with one generator
    gives what it gives as a whole.

    Args:
        embedding: width F of an embedded observation.
        action_size: width A of an encoded action.
        config: sizes and regularisation.
        generator: draws the weights; a CPU one. Global random state is not touched.
    """

    def __init__(
        self,
        embedding: int,
        action_size: int,
        config: RSSMConfig | None = None,
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.config = config = RSSMConfig() if config is None else config
        size, hidden, stochastic = config.deterministic_size, config.hidden, config.stochastic_size
        self.entry = Dense((stochastic, action_size), hidden, generator=generator)
        self.cell = NormedGRU(hidden, size, generator=generator)
        self.before = Dense((size,), hidden, generator=generator)
        self.after = Dense((size, embedding), hidden, generator=generator)
        outputs = stochastic if config.latent == "categorical" else 2 * stochastic
        self.prior = linear(hidden, outputs, generator=generator, gain=1.0)
        self.posterior = linear(hidden, outputs, generator=generator, gain=1.0)

    def initial(self, batch: int) -> State:
        """The state before an episode: zeros [B, ...]."""
        weight = self.prior.weight
        return State(
            weight.new_zeros(batch, self.config.deterministic_size),
            weight.new_zeros(batch, self.config.stochastic_size),
        )

    def features(self, state: State) -> Float[Tensor, "*batch features"]:
        """The state as one vector, for networks that read it."""
        return torch.cat((state.deterministic, state.stochastic), dim=-1)

    def observe(
        self,
        embedded: Float[Tensor, "T B F"],
        action_tm1: Float[Tensor, "T B A"],
        first: Bool[Tensor, "T B"],
        state: State,
        generator: torch.Generator | None,
    ) -> Observed:
        """Follow sequences, T at least 1.

        Args:
            embedded: observations x_t.
            action_tm1: encoded actions that led to them.
            first: x_t is the first of an episode: the state and the action before it count as 0.
            state: before the first step, [B, ...].
            generator: of the samples, on the model's device; None takes the likeliest.
        """
        keep = (~first).unsqueeze(-1).float()
        # Neither of these waits for the state: one matrix product for all steps.
        from_action = self.entry.part(1, action_tm1 * keep)
        from_embedded = self.after.part(1, embedded)
        deterministic, stochastic, beliefs = [], [], []
        hidden, sample = state
        # The sequences are few: to cast the weights at each step would cost more than it saves.
        with torch.autocast(embedded.device.type, enabled=False):
            for t in range(len(embedded)):
                inputs = self.entry.join(self.entry.part(0, sample * keep[t]), from_action[t])
                hidden = self.cell(inputs, hidden * keep[t])
                after = self.after.join(self.after.part(0, hidden), from_embedded[t])
                belief = self._beliefs(self.posterior(after))
                sample = self._sample(belief, generator)
                deterministic.append(hidden)
                stochastic.append(sample)
                beliefs.append(belief)
        states = State(torch.stack(deterministic), torch.stack(stochastic))
        posterior = type(beliefs[0])(*(torch.stack(x) for x in zip(*beliefs, strict=True)))
        return Observed(states, posterior, self.expect(states.deterministic))

    def imagine(
        self,
        state: State,
        actions: Float[Tensor, "T B A"] | Callable[[State], Tensor],
        steps: int | None = None,
        *,
        generator: torch.Generator | None,
    ) -> Imagined:
        """Roll states on by the prior.

        Args:
            state: [B, ...], where imagination starts.
            actions: encoded actions to take, or a policy that returns those [B, A] of a state.
            steps: T, at least 1; None with a tensor takes all its actions.
            generator: of the samples, on the model's device; None takes the likeliest.

        Raises:
            ValueError: `steps` is below 1, missing with a policy, or above the actions given.
        """
        if steps is None:
            if not isinstance(actions, Tensor):
                raise ValueError("steps must be given with a policy, got None")
            steps = len(actions)
        most = len(actions) if isinstance(actions, Tensor) else steps
        if not 1 <= steps <= most:
            raise ValueError(f"steps must be within 1 and the {most} actions, got {steps}")
        deterministic, stochastic, taken = [], [], []
        for t in range(steps):
            action = actions[t] if isinstance(actions, Tensor) else actions(state)
            hidden = self.cell(self.entry(state.stochastic, action), state.deterministic)
            state = State(hidden, self._sample(self.expect(hidden), generator))
            deterministic.append(state.deterministic)
            stochastic.append(state.stochastic)
            taken.append(action)
        states = State(torch.stack(deterministic), torch.stack(stochastic))
        return Imagined(states, torch.stack(taken))

    def expect(self, deterministic: Float[Tensor, "*batch H"]) -> Latents:
        """The prior: beliefs about z_t before x_t is seen."""
        return self._beliefs(self.prior(self.before(deterministic)))

    def kl_losses(self, posterior: Latents, prior: Latents) -> KLLosses:
        """The balanced divergences [T, B] of what `observe` returned, see `kl_balance`."""
        return kl_balance(posterior, prior, self.config.free_nats)

    def _beliefs(self, outputs: Float[Tensor, "*batch O"]) -> Latents:
        outputs = outputs.float()
        if self.config.latent == "gaussian":
            mean, raw = outputs.chunk(2, dim=-1)
            return Gaussian(mean, functional.softplus(raw) + _LEAST_STD)
        logits = outputs.unflatten(-1, (self.config.latents, self.config.classes))
        return Categorical(unimix(logits, self.config.unimix))

    def _sample(self, beliefs: Latents, generator: torch.Generator | None) -> Tensor:
        if isinstance(beliefs, Gaussian):
            return sample_gaussian(beliefs, generator)
        return sample_categorical(beliefs, generator).flatten(-2)
