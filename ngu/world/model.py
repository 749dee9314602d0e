"""A latent world model: it learns from sequences what comes of actions, and imagines it.

An encoder embeds observations, the recurrent state-space model follows them, and from its states
a decoder shows the observations again, a reward head predicts rewards and a continue head whether
the episode goes on. Source: Hafner et al., DreamerV3 (arXiv 2301.04104), section "World model
learning", whose loss and weights are the defaults.

Shapes: T time, B sequences, F embedding, A encoded action, S features of a state. At index t stand
the observation x_t, the action a_{t-1} that led to it, and the reward and the end that came with
it; where x_t is the first of an episode, action and reward are 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import linear
from ngu.spaces import ActionSpec
from ngu.world.codec import make_codec
from ngu.world.distributions import symexp_bins, two_hot_loss, two_hot_mean
from ngu.world.layers import Dense
from ngu.world.rssm import RSSM, Observed, RSSMConfig, State


class Parts(NamedTuple):
    """What the loss is made of, without its weights, and what was observed on the way."""

    reconstruction: Float[Tensor, "T B"]
    """Squared error of the decoded observation."""
    reward: Float[Tensor, "T B"]
    """Cross-entropy of the reward's bins, nats."""
    continuation: Float[Tensor, "T B"]
    """Cross-entropy of whether the episode goes on, nats."""
    dynamics: Float[Tensor, "T B"]
    """Divergence that trains the prior, nats."""
    representation: Float[Tensor, "T B"]
    """Divergence that trains the posterior, nats."""
    observed: Observed
    """States and beliefs, with gradient: where imagination starts, and what surprised."""


class Prediction(NamedTuple):
    """What is expected at each step of given actions, N steps."""

    observations: Shaped[Tensor, "N B ..."]
    """Of the space's shape and dtype."""
    reward: Float[Tensor, "N B"]
    """The mean reward that comes with the observation."""
    continue_probability: Float[Tensor, "N B"]
    """The probability that the episode has not terminated there."""


@dataclass(frozen=True)
class WorldModelConfig:
    """Sizes of the networks around the recurrent model, and weights of the loss."""

    rssm: RSSMConfig = field(default_factory=RSSMConfig)
    """The recurrent state-space model."""
    filters: int = 16
    """Of the first convolution for pictures."""
    hidden: int = 256
    """Width of the layers for vectors, rewards and ends."""
    dynamics_weight: float = 1.0
    """Weight of the divergence that trains the prior."""
    representation_weight: float = 0.1
    """Weight of the divergence that trains the posterior."""

    def __post_init__(self) -> None:
        for name in ("filters", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("dynamics_weight", "representation_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


class WorldModel(nn.Module):
    """The model. Under `torch.autocast` its matrix products run in that type, all else in float32.

    Args:
        observation_space: a Box of vectors, or of pictures at least 16 pixels high and wide.
        action_space: Discrete, MultiDiscrete of one dimension, or a Box of floats.
        config: sizes and weights.
        generator: draws the weights; a CPU one. Global random state is not touched.

    Raises:
        TypeError: a space is of another kind.
    """

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: WorldModelConfig | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = WorldModelConfig() if config is None else config
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        self.actions = ActionSpec(action_space)
        features, hidden = config.rssm.features, config.hidden
        self.codec = make_codec(
            observation_space,
            features,
            filters=config.filters,
            hidden=hidden,
            generator=generator,
        )
        self.rssm = RSSM(
            self.codec.out_features, self.actions.size, config.rssm, generator=generator
        )
        self.bins: Tensor
        self.register_buffer("bins", symexp_bins(), persistent=False)
        self.reward_head = nn.Sequential(
            Dense((features,), hidden, generator=generator),
            linear(hidden, len(self.bins), generator=generator, gain=0.0),
        )
        self.continue_head = nn.Sequential(
            Dense((features,), hidden, generator=generator),
            linear(hidden, 1, generator=generator, gain=1.0),
        )

    def observe(
        self,
        observations: Shaped[Tensor, "T B ..."],
        action_tm1: Shaped[Tensor, "T B ..."],
        first: Bool[Tensor, "T B"],
        state: State | None = None,
        generator: torch.Generator | None = None,
    ) -> Observed:
        """States of sequences.

        Args:
            observations: x_t as the environment gave them.
            action_tm1: actions that led to them, as the environment takes them.
            first: x_t is the first of an episode: what was before it counts as nothing.
            state: before the first step, [B, ...]; None for the state before an episode.
            generator: of the samples, on the model's device; None takes the likeliest.

        Raises:
            TypeError: the observations are of another dtype than the space.
            ValueError: there is no step, or a shape is another than expected.
        """
        steps, batch = self._check(observations, first)
        _check_shape("action_tm1", action_tm1, (steps, batch, *self.actions.shape))
        embedded = self.codec.encode(observations.flatten(0, 1)).unflatten(0, (steps, batch))
        encoded = self.encode_actions(action_tm1, first)
        state = self.rssm.initial(batch) if state is None else state
        return self.rssm.observe(embedded, encoded, first, state, generator)

    def loss(
        self,
        observations: Shaped[Tensor, "T B ..."],
        action_tm1: Shaped[Tensor, "T B ..."],
        reward: Float[Tensor, "T B"],
        terminated: Bool[Tensor, "T B"],
        first: Bool[Tensor, "T B"],
        state: State | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, ""], Parts]:
        """What training makes small, and its parts.

        The mean over steps of -ln p(x_t, r_t, c_t | h_t, z_t) + dynamics + 0.1 representation, of
        "World model learning", with the config's weights.

        Args:
            observations: x_t as the environment gave them; true final ones included.
            action_tm1: actions that led to them, as the environment takes them.
            reward: that came with x_t.
            terminated: x_t ended its episode for good.
            first: x_t is the first of an episode.
            state: before the first step, [B, ...]; None for the state before an episode.
            generator: of the samples, on the model's device; None takes the likeliest.

        Raises:
            TypeError: the observations are of another dtype than the space.
            ValueError: there is no step, or a shape is another than expected.
        """
        lead = self._check(observations, first)
        _check_shape("reward", reward, lead)
        _check_shape("terminated", terminated, lead)
        seen = self.observe(observations, action_tm1, first, state, generator)
        features = self.rssm.features(seen.states)
        error = self.codec.loss(features.flatten(0, 1), observations.flatten(0, 1))
        continues = self.continue_head(features).float().squeeze(-1)
        parts = Parts(
            error.unflatten(0, lead),
            two_hot_loss(self.reward_head(features).float(), reward.float(), self.bins),
            functional.binary_cross_entropy_with_logits(
                continues, (~terminated).float(), reduction="none"
            ),
            *self.rssm.kl_losses(seen.posterior, seen.prior),
            seen,
        )
        total = (
            parts.reconstruction
            + parts.reward
            + parts.continuation
            + self.config.dynamics_weight * parts.dynamics
            + self.config.representation_weight * parts.representation
        )
        return total.mean(), parts

    @torch.no_grad()
    def predict(
        self,
        observations: Shaped[Tensor, "C B ..."],
        action_tm1: Shaped[Tensor, "T B ..."],
        first: Bool[Tensor, "C B"],
        generator: torch.Generator | None = None,
    ) -> Prediction:
        """Look at C observations, then say what comes of N = T - C further actions, unseen.

        Args:
            observations: the context, as the environment gave it.
            action_tm1: actions that led to the context, then those to imagine.
            first: an observation of the context is the first of an episode.
            generator: of the samples, on the model's device; None takes the likeliest.

        Raises:
            TypeError: the observations are of another dtype than the space.
            ValueError: there is no action to imagine, or a shape is another than expected.
        """
        context = len(observations)
        if len(action_tm1) <= context:
            raise ValueError(
                f"action_tm1 must have more steps than the {context} of the context, "
                f"got {len(action_tm1)}"
            )
        seen = self.observe(observations, action_tm1[:context], first, None, generator)
        further = self.encode_actions(action_tm1[context:])
        imagined = self.rssm.imagine(seen.states.at(-1), further, generator=generator)
        features = self.rssm.features(imagined.states)
        decoded = self.codec.decode(features.flatten(0, 1))
        return Prediction(
            decoded.unflatten(0, features.shape[:2]),
            self.expected_reward(features),
            self.continue_probability(features),
        )

    def expected_reward(self, features: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch"]:
        """The mean reward of states."""
        return two_hot_mean(self.reward_head(features).float().softmax(-1), self.bins)

    def continue_probability(self, features: Float[Tensor, "*batch S"]) -> Float[Tensor, "*batch"]:
        """The probability that a state is not the last of its episode by termination."""
        return torch.sigmoid(self.continue_head(features).float().squeeze(-1))

    def encode_actions(
        self, actions: Shaped[Tensor, "T B ..."], first: Bool[Tensor, "T B"] | None = None
    ) -> Float[Tensor, "T B A"]:
        """Actions as the recurrent model reads them; those before first observations are any."""
        if first is not None and self.actions.kind != "box":
            # The 0 that stands there may lie outside the space, whose least action is this.
            least = actions - self.actions.index(actions)
            where = first.reshape(*first.shape, *(1 for _ in self.actions.shape))
            actions = torch.where(where, least, actions)
        return self.actions.encode(actions)

    def _check(self, observations: Tensor, first: Tensor) -> tuple[int, int]:
        """T and B, or an error."""
        spec = self.codec.spec
        if observations.dtype != spec.dtype:
            raise TypeError(
                f"observations must be of dtype {spec.dtype}, as the space is, got "
                f"{observations.dtype}"
            )
        shape = tuple(observations.shape)
        if len(shape) < 2 or shape[0] < 1 or shape[2:] != spec.shape:
            expected = ", ".join(("T", "B", *map(str, spec.shape)))
            raise ValueError(
                f"observations must have shape [{expected}], T at least 1, got {list(shape)}"
            )
        _check_shape("first", first, shape[:2])
        return shape[0], shape[1]


def _check_shape(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {list(shape)}, got {list(tensor.shape)}")
