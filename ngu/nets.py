"""Trunks that read observations: convolutions for images and grids, layers for vectors.

A trunk is everything before a network's own last layers, so that a user may run it in bfloat16 and
keep what follows in float32. Sources: the convolutions of Never Give Up (arXiv 2002.06038, tables
6 and 7); initialisation orthogonal with gain sqrt 2, as in RND (arXiv 1810.12894).
"""

import math
from collections.abc import Callable
from typing import Any, cast

import gymnasium as gym
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from ngu.spaces import ObservationSpec

VECTOR_WIDTH = 128
"""Width of both layers of the trunk for vectors."""

_BLOCK = 4
# Types as wide as a row of a block, for pixels of a width in bytes: rows are copied as one number.
_ROW_TYPE = {1: torch.int32, 2: torch.int64, 4: torch.complex128}


def linear(
    inputs: int, outputs: int, *, generator: torch.Generator, gain: float = math.sqrt(2)
) -> nn.Linear:
    """Return a linear layer, its weights orthogonal times ``gain``, its biases zero.

    Args:
        inputs: Width of its input.
        outputs: Width of its output.
        generator: Draws the weights; a CPU one. Global random state is not touched.
        gain: Factor of the weights: sqrt 2 before a ReLU, 1 before nothing.
    """
    layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, inputs, outputs))
    _initialise(layer, generator, gain)
    return layer


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    *,
    generator: torch.Generator,
) -> nn.Conv2d:
    """Return a square convolution before a ReLU, initialised as `linear` is."""
    layer = cast(
        nn.Conv2d,
        nn.utils.skip_init(nn.Conv2d, inputs, outputs, kernel, stride=stride, padding=padding),
    )
    _initialise(layer, generator, math.sqrt(2))
    return layer


class Trunk(nn.Module):
    """What reads observations; its output is [..., out_features] after a ReLU.

    It takes observations as they come, bytes included, with any leading dimensions, arranges them
    for its first layer, converts them once to the type that this computes in, and scales the
    layer's weights in the observations' place, which costs less and is exact. Trunks for the same
    space arrange alike.

    Args:
        spec: What it reads.
        scaled: Whether observations are multiplied with ``spec.scale``; False for a user that
            normalises them itself.
    """

    out_features: int

    def __init__(self, spec: ObservationSpec, *, scaled: bool) -> None:
        super().__init__()
        self.spec = spec
        self.scale = spec.scale if scaled else 1.0

    def forward(
        self, observations: Shaped[Tensor, "*batch_and_shape"]
    ) -> Float[Tensor, "*batch features"]:
        """Return the features [..., out_features] of observations [..., *shape]."""
        observations = self.spec.numeric(observations)
        dims = len(self.spec.numeric_shape)
        lead = observations.shape[: observations.dim() - dims]
        flat = observations.reshape(
            math.prod(lead), *observations.shape[observations.dim() - dims :]
        )
        dtype = self.compute_dtype
        if flat.element_size() > dtype.itemsize:
            flat = flat.to(dtype)  # the narrower type is what is arranged
        features = self.features(self.arrange(flat).to(dtype))
        return features if len(lead) == 1 else features.reshape(*lead, self.out_features)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type that the first layer computes in now: autocast's, or the weights' own."""
        weight = next(self.parameters())
        if torch.is_autocast_enabled(weight.device.type):
            return torch.get_autocast_dtype(weight.device.type)
        return weight.dtype

    def arrange(self, observations: Shaped[Tensor, "batch *shape"]) -> Shaped[Tensor, "batch ..."]:
        """Return the observations' numbers in the order of the first layer.

        They keep their type, if it has at most 4 bytes; a wider one becomes float32.
        """
        raise NotImplementedError

    def features(self, arranged: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
        """Return the features of what `arrange` returned, converted to ``compute_dtype``."""
        raise NotImplementedError

    def _scaled(self, weight: Tensor) -> Tensor:
        return weight if self.scale == 1.0 else weight * self.scale


class ConvTrunk(Trunk):
    """Convolutions for images and grids.

    Images (height and width of at least 36): 32 filters 8x8 stride 4, 64 4x4 stride 2, 64 3x3
    stride 1. Grids: 16 and 32 filters 3x3, stride 1, padding 1. The features are in the order
    height, width, channel.

    An image's first layer is computed as 2x2 stride 1 over blocks of 4x4 pixels, which is the same
    sum, and faster: an image has few channels, a block 16 times as many.

    Args:
        spec: An image or a grid.
        generator: Draws the weights; a CPU one.
        scaled: Whether observations are multiplied with ``spec.scale``.
    """

    def __init__(
        self, spec: ObservationSpec, *, generator: torch.Generator, scaled: bool = True
    ) -> None:
        super().__init__(spec, scaled=scaled)
        channels, height, width = spec.image_shape
        if spec.kind == "image":
            layers = [
                convolution(channels, 32, 2 * _BLOCK, _BLOCK, generator=generator),
                convolution(32, 64, 4, 2, generator=generator),
                convolution(64, 64, 3, 1, generator=generator),
            ]
            for kernel, stride in ((2 * _BLOCK, _BLOCK), (4, 2), (3, 1)):
                height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        else:
            layers = [
                convolution(channels, 16, 3, 1, 1, generator=generator),
                convolution(16, 32, 3, 1, 1, generator=generator),
            ]
        for layer in layers:
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        self.layers = nn.ModuleList(layers)
        self.out_features = height * width * layers[-1].out_channels

    def arrange(self, observations: Shaped[Tensor, "batch *shape"]) -> Shaped[Tensor, "batch ..."]:
        """Return images as blocks [B, height / 4, width / 4, 16 C], grids as [B, H, W, C]."""
        if self.spec.kind == "image":
            if observations.element_size() not in _ROW_TYPE:
                observations = observations.float()
            return _image_blocks(observations, self.spec.channel_axis)
        if self.spec.channel_axis is None:
            observations = observations.unsqueeze(3)
        elif self.spec.channel_axis == 0:
            observations = observations.permute(0, 2, 3, 1)
        return observations.contiguous()

    def features(self, arranged: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
        """Return the features of what `arrange` returned, converted to ``compute_dtype``."""
        layers = cast(list[nn.Conv2d], list(self.layers))
        # The memory of [B, H, W, C] is that of channels_last.
        x = arranged.permute(0, 3, 1, 2)
        for layer in layers:
            weight, stride = layer.weight, layer.stride
            if layer is layers[0]:
                weight = self._scaled(weight)
                if self.spec.kind == "image":
                    weight, stride = _block_weights(weight, self.spec.channel_axis), (1, 1)
            x = functional.conv2d(x, weight, layer.bias, stride, layer.padding).relu_()
        # In channels_last memory this order is the memory's own: no copy.
        return x.permute(0, 2, 3, 1).flatten(1)


class VectorTrunk(Trunk):
    """Two layers of 128 for vectors, and for a Discrete observation as a one-hot vector.

    Args:
        spec: A vector or discrete.
        generator: Draws the weights; a CPU one.
        scaled: Whether observations are multiplied with ``spec.scale``.
    """

    def __init__(
        self, spec: ObservationSpec, *, generator: torch.Generator, scaled: bool = True
    ) -> None:
        super().__init__(spec, scaled=scaled)
        self.first = linear(spec.size, VECTOR_WIDTH, generator=generator)
        self.second = linear(VECTOR_WIDTH, VECTOR_WIDTH, generator=generator)
        self.out_features = VECTOR_WIDTH

    def arrange(self, observations: Shaped[Tensor, "batch *shape"]) -> Shaped[Tensor, "batch ..."]:
        """Return the observations as they are."""
        return observations

    def features(self, arranged: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch features"]:
        """Return the features of the observations, converted to ``compute_dtype``."""
        x = functional.linear(arranged, self._scaled(self.first.weight), self.first.bias).relu()
        return self.second(x).relu()


class Torso(nn.Module):
    """A trunk, then one linear layer with a ReLU: [..., features].

    Args:
        trunk: Reads the observations.
        features: Width of the output.
        generator: Draws the weights; a CPU one.
    """

    def __init__(self, trunk: Trunk, features: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk = trunk
        self.out_features = features
        self.last = linear(trunk.out_features, features, generator=generator)

    def forward(
        self, observations: Shaped[Tensor, "*batch_and_shape"]
    ) -> Float[Tensor, "*batch features"]:
        """Return the features [..., features] of observations [..., *shape]."""
        return self.last(self.trunk(observations)).relu()


def make_trunk(
    observation_space: gym.Space[Any], *, generator: torch.Generator, scaled: bool = True
) -> Trunk:
    """Return the trunk that fits a space: convolutions for images and grids, layers for vectors.

    Args:
        observation_space: A Box of one to three dimensions, or a Discrete.
        generator: Draws the weights; a CPU one. Global random state is not touched.
        scaled: Whether the trunk scales integer observations by their bound; False for a user
            that normalises them itself.

    Raises:
        TypeError: The space is of another kind; names the wrapper that flattens it.
        ValueError: The space has no or more than three dimensions.
    """
    spec = ObservationSpec(observation_space)
    kind: Callable[..., Trunk] = ConvTrunk if spec.kind in ("image", "grid") else VectorTrunk
    return kind(spec, generator=generator, scaled=scaled)


def make_torso(
    observation_space: gym.Space[Any], features: int, *, generator: torch.Generator
) -> Torso:
    """Return the trunk that fits a space with one linear layer of ``features`` and a ReLU.

    Args:
        observation_space: A Box of one to three dimensions, or a Discrete.
        features: Width of the output.
        generator: Draws the weights; a CPU one. Global random state is not touched.

    Raises:
        TypeError: The space is of another kind; names the wrapper that flattens it.
        ValueError: The space has no or more than three dimensions.
    """
    return Torso(make_trunk(observation_space, generator=generator), features, generator=generator)


def _image_blocks(images: Tensor, channel_axis: int | None) -> Tensor:
    """Blocks of 4x4 pixels as vectors [B, height / 4, width / 4, 16 C], in the images' own type.

    A block's numbers are in the order channel, row, column, where the images' channels come last in
    the order row, column, channel. Rows and columns that fill no block are read by no 8x8 filter of
    stride 4 and left out.
    """
    if channel_axis == 2:
        count, height, width, channels = images.shape
        rows, columns = height // _BLOCK, width // _BLOCK
        images = images[:, : rows * _BLOCK, : columns * _BLOCK]
        blocks = images.reshape(count, rows, _BLOCK, columns, _BLOCK * channels).transpose(2, 3)
        return blocks.reshape(count, rows, columns, -1)
    if channel_axis is None:
        images = images.unsqueeze(1)
    count, channels, height, width = images.shape
    rows, columns = height // _BLOCK, width // _BLOCK
    images = images[:, :, : rows * _BLOCK, : columns * _BLOCK].contiguous()
    numbers = images.view(_ROW_TYPE[images.element_size()])
    # Two copies of whole lines, then of a plain transposition, are faster than one of everything.
    lines = numbers.view(count, channels, rows, _BLOCK, columns).transpose(1, 2)
    lines = lines.reshape(count * rows, channels * _BLOCK, columns)
    blocks = lines.transpose(1, 2).contiguous().view(images.dtype)
    return blocks.view(count, rows, columns, -1)


def _block_weights(weight: Tensor, channel_axis: int | None) -> Tensor:
    """Weights [O, C, 8, 8] as those of 2x2 filters over blocks, [O, 16 C, 2, 2]."""
    parts = weight.unflatten(3, (2, _BLOCK)).unflatten(2, (2, _BLOCK))
    order = (0, 3, 5, 1, 2, 4) if channel_axis == 2 else (0, 1, 3, 5, 2, 4)
    blocks = parts.permute(order).flatten(1, 3)
    return blocks.contiguous(memory_format=torch.channels_last)


def _initialise(layer: nn.Linear | nn.Conv2d, generator: torch.Generator, gain: float) -> None:
    nn.init.orthogonal_(layer.weight, gain, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
