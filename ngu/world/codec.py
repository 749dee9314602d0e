"""How a world model reads observations and shows them again: pictures, small grids, or vectors.

Source: Hafner et al., DreamerV3 (arXiv 2301.04104), sections "World model learning" and "Robust
predictions": summed squared errors, of pixels in [0, 1] and of symlog vectors. As in the authors'
code they have no factor 1/2. The convolutions are those of `ngu.world.convolutions`.

Shapes: N observations, F embedding, S features of a state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import gymnasium as gym
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import linear
from ngu.spaces import ObservationSpec
from ngu.world.convolutions import (
    SMALLEST_SIDE,
    PictureDecoder,
    PictureEncoder,
    PictureShape,
)
from ngu.world.distributions import symexp, symlog
from ngu.world.layers import Dense

_MOST_SYMBOLS = 64


class Codec(nn.Module, ABC):
    """Reads observations, and predicts them from features of states.

    Attributes:
        spec: what the observations are.
        out_features: width F of an embedding.
    """

    out_features: int

    def __init__(self, spec: ObservationSpec) -> None:
        super().__init__()
        self.spec = spec

    @abstractmethod
    def encode(self, observations: Shaped[Tensor, "N ..."]) -> Float[Tensor, "N F"]:
        """Embeddings of observations as the environment gave them."""

    @abstractmethod
    def decode(self, features: Float[Tensor, "N S"]) -> Shaped[Tensor, "N ..."]:
        """The likeliest observations, of the space's shape and dtype, without gradient."""

    @abstractmethod
    def loss(
        self, features: Float[Tensor, "N S"], observations: Shaped[Tensor, "N ..."]
    ) -> Float[Tensor, " N"]:
        """The squared error of each observation, summed over its numbers, float32."""


class PictureCodec(Codec):
    """Pictures of bytes, or of floats in [0, 1], with or without channels.

    Args:
        spec: of pictures at least 16 pixels high and wide.
        features: width S of a state's features.
        filters: of the encoder's first and the decoder's last layer but one.
        generator: draws the weights; a CPU one.
    """

    def __init__(
        self, spec: ObservationSpec, features: int, *, filters: int, generator: torch.Generator
    ) -> None:
        super().__init__(spec)
        shape = PictureShape(*spec.image_shape)
        self.encoder = PictureEncoder(shape, filters=filters, generator=generator)
        self.decoder = PictureDecoder(features, shape, filters=filters, generator=generator)
        self.out_features = self.encoder.out_features

    def encode(self, observations: Shaped[Tensor, "N ..."]) -> Float[Tensor, "N F"]:
        """Embeddings, of the type that the convolutions compute in."""
        weight = next(self.parameters())
        dtype = weight.dtype
        if torch.is_autocast_enabled(weight.device.type):
            dtype = torch.get_autocast_dtype(weight.device.type)
        pictures = self._channels_first(observations)
        pictures = pictures.contiguous(memory_format=torch.channels_last).to(dtype)
        return self.encoder(pictures * self.spec.scale)

    @torch.no_grad()
    def decode(self, features: Float[Tensor, "N S"]) -> Shaped[Tensor, "N ..."]:
        """The likeliest pictures; bytes are rounded."""
        pictures = self.decoder(features).clamp(0, 1)
        if self.spec.dtype == torch.uint8:
            pictures = (pictures / self.spec.scale).round_()
        pictures = pictures.to(self.spec.dtype)
        if self.spec.channel_axis is None:
            return pictures.squeeze(1)
        return pictures if self.spec.channel_axis == 0 else pictures.permute(0, 2, 3, 1)

    def loss(
        self, features: Float[Tensor, "N S"], observations: Shaped[Tensor, "N ..."]
    ) -> Float[Tensor, " N"]:
        """Squared errors of pixels in [0, 1], summed over a picture."""
        shown = (self._channels_first(observations) * self.spec.scale).float()
        error = self.decoder(features) - shown
        # Flattened first they would be copied, as their channels come last.
        return error.square().sum((1, 2, 3))

    def _channels_first(self, pictures: Shaped[Tensor, "N ..."]) -> Shaped[Tensor, "N C H W"]:
        if self.spec.channel_axis is None:
            return pictures.unsqueeze(1)
        return pictures if self.spec.channel_axis == 0 else pictures.permute(0, 3, 1, 2)


class GridCodec(Codec):
    """Small grids of symbols: which symbol is where, as one-hot vectors.

    The loss is the cross-entropy of each place in nats: symbols next to each other in number are no
    more alike than others, which a squared error would claim.

    Args:
        spec: of grids.
        symbols: how many there are, numbered from 0.
        features: width S of a state's features.
        hidden: width of the layers.
        generator: draws the weights; a CPU one.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        symbols: int,
        features: int,
        *,
        hidden: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__(spec)
        self.symbols = symbols
        width = spec.size * symbols
        self.encoder = _encoder(width, hidden, generator)
        self.decoder = _decoder(features, hidden, width, generator)
        self.out_features = hidden

    def encode(self, observations: Shaped[Tensor, "N ..."]) -> Float[Tensor, "N F"]:
        """Embeddings of one-hot symbols."""
        symbols = functional.one_hot(observations.flatten(1).long(), self.symbols)
        return self.encoder(symbols.flatten(1).float())

    @torch.no_grad()
    def decode(self, features: Float[Tensor, "N S"]) -> Shaped[Tensor, "N ..."]:
        """The likeliest symbol of each place."""
        symbols = self._logits(features).argmax(-1).to(self.spec.dtype)
        return symbols.unflatten(1, self.spec.shape)

    def loss(
        self, features: Float[Tensor, "N S"], observations: Shaped[Tensor, "N ..."]
    ) -> Float[Tensor, " N"]:
        """Cross-entropies in nats, summed over a grid."""
        logits, symbols = self._logits(features), observations.flatten(1).long()
        return functional.cross_entropy(logits.mT, symbols, reduction="none").sum(-1)

    def _logits(self, features: Float[Tensor, "N S"]) -> Float[Tensor, "N D K"]:
        return self.decoder(features).float().unflatten(-1, (self.spec.size, self.symbols))


class VectorCodec(Codec):
    """Vectors of any scale: two layers in, two layers and a linear one out, all in symlog.

    Args:
        spec: of vectors.
        features: width S of a state's features.
        hidden: width of the layers.
        generator: draws the weights; a CPU one.
    """

    def __init__(
        self, spec: ObservationSpec, features: int, *, hidden: int, generator: torch.Generator
    ) -> None:
        super().__init__(spec)
        self.encoder = _encoder(spec.size, hidden, generator)
        self.decoder = _decoder(features, hidden, spec.size, generator)
        self.out_features = hidden

    def encode(self, observations: Shaped[Tensor, "N D"]) -> Float[Tensor, "N F"]:
        """Embeddings of symlog vectors."""
        return self.encoder(symlog(observations.float()))

    @torch.no_grad()
    def decode(self, features: Float[Tensor, "N S"]) -> Shaped[Tensor, "N D"]:
        """The likeliest vectors; integers are rounded and kept in their type's range."""
        vectors, dtype = symexp(self.decoder(features).float()), self.spec.dtype
        if not dtype.is_floating_point:
            bounds = torch.iinfo(dtype)
            vectors = vectors.double().round_().clamp_(bounds.min, bounds.max)
        return vectors.to(dtype)

    def loss(
        self, features: Float[Tensor, "N S"], observations: Shaped[Tensor, "N D"]
    ) -> Float[Tensor, " N"]:
        """Squared errors of symlog numbers, summed over a vector."""
        error = self.decoder(features).float() - symlog(observations.float())
        return error.square().sum(-1)


def _encoder(inputs: int, hidden: int, generator: torch.Generator) -> nn.Module:
    return nn.Sequential(
        Dense((inputs,), hidden, generator=generator),
        Dense((hidden,), hidden, generator=generator),
    )


def _decoder(features: int, hidden: int, outputs: int, generator: torch.Generator) -> nn.Module:
    return nn.Sequential(
        Dense((features,), hidden, generator=generator),
        Dense((hidden,), hidden, generator=generator),
        linear(hidden, outputs, generator=generator, gain=1.0),
    )


def make_codec(
    observation_space: gym.Space[Any],
    features: int,
    *,
    filters: int,
    hidden: int,
    generator: torch.Generator,
) -> Codec:
    """The codec that fits a space.

    Args:
        observation_space: a Box of vectors, of pictures at least 16 pixels high and wide, or of
            smaller grids of symbols.
        features: width S of a state's features.
        filters: of the first convolution for pictures.
        hidden: width of the layers for vectors and grids.
        generator: draws the weights; a CPU one. Global random state is not touched.

    Raises:
        TypeError: the space is of another kind, or its pictures are neither bytes nor floats in
            [0, 1].
    """
    spec = ObservationSpec(observation_space)
    if spec.kind == "vector":
        return VectorCodec(spec, features, hidden=hidden, generator=generator)
    if spec.kind != "discrete" and min(spec.image_shape[1:]) >= SMALLEST_SIDE:
        if not _is_scaled(observation_space):
            raise TypeError(
                "observation_space must be of bytes 0 to 255 or of floats 0 to 1 for pictures, got "
                f"{observation_space}"
            )
        return PictureCodec(spec, features, filters=filters, generator=generator)
    symbols = _symbols(observation_space)
    if symbols is None:
        raise TypeError(
            "observation_space must be of vectors, of pictures at least "
            f"{SMALLEST_SIDE} pixels high and wide, or of smaller grids of at most "
            f"{_MOST_SYMBOLS} symbols numbered from 0, got {observation_space}"
        )
    return GridCodec(spec, symbols, features, hidden=hidden, generator=generator)


def _symbols(space: gym.Space[Any]) -> int | None:
    """How many symbols there are in a grid; None where its numbers are no symbols."""
    if not isinstance(space, gym.spaces.Box) or space.dtype.kind not in "iu":
        return None
    symbols = int(space.high.max()) + 1
    return symbols if space.low.min() >= 0 and symbols <= _MOST_SYMBOLS else None


def _is_scaled(space: gym.Space[Any]) -> bool:
    if not isinstance(space, gym.spaces.Box):
        return False
    if space.dtype == "uint8":
        return True
    return space.dtype.kind == "f" and bool(space.low.min() >= 0 and space.high.max() <= 1)
