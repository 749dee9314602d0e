"""Convolutions that halve a picture down to features, and others that grow it again.

Source: Ha and Schmidhuber, "World Models" (arXiv 1803.10122), appendix A.1, whose layers these are
for 64 x 64 pixels; for other sizes there are as many of the same kind as fit.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import convolution, linear

SMALLEST_SIDE = 16
"""The least height and width of a picture, in pixels."""

_ENCODER_KERNEL = 4
_LONGEST = 6
_DECODER_KERNELS = (_LONGEST, 5)  # of an even and of an odd length
_SIGMOID_SLOPE = 0.25
_DECODER_FEATURES = 32  # for each filter of the last layer but one


class PictureShape(NamedTuple):
    """The sizes of a picture, wherever its channels are."""

    channels: int
    height: int
    width: int


def picture_shape(shape: tuple[int, ...]) -> PictureShape:
    """The sizes of pictures of bytes [H, W, C], [C, H, W] or [H, W].

    The channel axis of three is the smaller one of the first and the last.

    Raises:
        ValueError: there are other than two or three dimensions, or a side has below 16 pixels.
    """
    if len(shape) not in (2, 3):
        raise ValueError(
            f"pictures must have shape [H, W], [H, W, C] or [C, H, W], got {list(shape)}"
        )
    if len(shape) == 2:
        sizes = PictureShape(1, *shape)
    elif shape[0] <= shape[2]:
        sizes = PictureShape(*shape)
    else:
        sizes = PictureShape(shape[2], shape[0], shape[1])
    if min(sizes.height, sizes.width) < SMALLEST_SIDE:
        raise ValueError(
            f"pictures must be at least {SMALLEST_SIDE} pixels high and wide, got "
            f"{sizes.height} x {sizes.width}"
        )
    return sizes


def channels_first(pictures: UInt8[Tensor, "B ..."]) -> UInt8[Tensor, "B C H W"]:
    """Pictures in any order of dimensions as [B, C, H, W], a view."""
    if pictures.dim() == 3:
        return pictures.unsqueeze(1)
    return pictures if pictures.shape[1] <= pictures.shape[3] else pictures.permute(0, 3, 1, 2)


def as_colours(pictures: UInt8[np.ndarray, "N ..."]) -> UInt8[np.ndarray, "N H W 3"]:
    """Pictures as they are shown: of other than 3 channels the last one, in grey."""
    shown = channels_first(torch.from_numpy(pictures)).permute(0, 2, 3, 1).numpy()
    return shown if shown.shape[-1] == 3 else np.repeat(shown[..., -1:], 3, axis=-1)


def resized(pictures: UInt8[np.ndarray, "N ..."], size: int | None) -> UInt8[np.ndarray, "N ..."]:
    """Pictures of another height and width, each pixel an average; None leaves them as they are."""
    shape = pictures.shape
    if size is None or picture_shape(shape[1:])[1:] == (size, size):
        return pictures.copy()
    sized = functional.interpolate(
        channels_first(torch.from_numpy(pictures)), (size, size), mode="bilinear", antialias=True
    )
    if len(shape) == 3:
        return sized.squeeze(1).numpy()
    first = shape[1] <= shape[3]
    return np.ascontiguousarray((sized if first else sized.permute(0, 2, 3, 1)).numpy())


class PictureEncoder(nn.Module):
    """Convolutions 4 x 4 of stride 2 until a side has less than 6 pixels; twice the filters each.

    Args:
        shape: of the pictures.
        filters: of the first layer; no layer has more than eight times as many.
        generator: draws the weights; a CPU one.

    Attributes:
        out_features: numbers in the last layer's output.
    """

    def __init__(self, shape: PictureShape, *, filters: int = 32, generator: torch.Generator):
        super().__init__()
        inputs, sides = shape.channels, [shape.height, shape.width]
        layers: list[nn.Module] = []
        outputs = filters
        while min(sides) >= 6:
            layers += [
                convolution(inputs, outputs, _ENCODER_KERNEL, 2, generator=generator),
                nn.ReLU(inplace=True),
            ]
            sides = [(side - _ENCODER_KERNEL) // 2 + 1 for side in sides]
            inputs, outputs = outputs, min(2 * outputs, 8 * filters)
        self.layers = nn.Sequential(*layers)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        self.out_features = inputs * math.prod(sides)

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """Features of pictures in [0, 1]; in channels_last memory nothing is copied."""
        return self.layers(pictures).permute(0, 2, 3, 1).flatten(1)


class PictureDecoder(nn.Module):
    """A linear layer, then transposed convolutions of stride 2; half the filters each.

    Kernels have 6 or 5 pixels, so that each layer's output is exactly what the next one needs. For
    64 x 64 pixels and 32 filters these are World Models' layers, whose first has 1024 features.

    Args:
        inputs: width of what it decodes.
        shape: of the pictures.
        filters: of the last layer but one.
        generator: draws the weights; a CPU one.
    """

    def __init__(
        self, inputs: int, shape: PictureShape, *, filters: int = 32, generator: torch.Generator
    ):
        super().__init__()
        sides, kernels = (shape.height, shape.width), list[tuple[int, int]]()
        while True:
            kernel = (_DECODER_KERNELS[sides[0] % 2], _DECODER_KERNELS[sides[1] % 2])
            smaller = tuple((side - k) // 2 + 1 for side, k in zip(sides, kernel, strict=True))
            if min(smaller) < 1:
                break
            kernels.insert(0, kernel)
            sides = (smaller[0], smaller[1])
        count = len(kernels)
        first = max(_DECODER_FEATURES * filters // math.prod(sides), filters)
        widths = [first, *(filters << (count - 2 - i) for i in range(count - 1)), shape.channels]
        self._start = (*sides, first)
        outputs = math.prod(self._start)
        # An orthogonal matrix's columns have norm 1: with this each output is as large as an input.
        gain = math.sqrt(max(1, outputs / inputs))
        self.first = linear(inputs, outputs, generator=generator, gain=gain)
        layers: list[nn.Module] = []
        for i, kernel in enumerate(kernels):
            layers += [
                TransposedConvolution(widths[i], widths[i + 1], kernel, generator=generator),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B C H W"]:
        """Pictures of about 0 to 1, float32.

        World Models has a sigmoid here. Where it has saturated, at pixels that are dark in most
        pictures, its gradient is lost and with it what is seldom there. So there is none, but its
        slope at rest: without that, steps of a size that suits the layers before would leave noise.
        """
        x = self.first(features).unflatten(1, self._start)
        return self.layers(x.permute(0, 3, 1, 2)).float() * _SIGMOID_SLOPE + 0.5


class TransposedConvolution(nn.Module):
    """A transposed convolution of stride 2; a single pixel grows by a matrix, which is faster.

    Args:
        inputs: channels I of the input.
        outputs: channels O of the output.
        kernel: its height and width.
        generator: draws the weights; a CPU one.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: tuple[int, int], *, generator: torch.Generator
    ):
        super().__init__()
        weight = torch.empty(inputs, outputs, *kernel)
        self.weight = nn.Parameter(weight.to(memory_format=torch.channels_last))
        self.bias = nn.Parameter(torch.zeros(outputs))
        # An output pixel sums a quarter of the kernel's pixels of each input channel; the gain is
        # that before a ReLU, sqrt 2.
        bound = math.sqrt(3 * 2 / (inputs * math.prod(kernel) / 4))
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)

    def forward(self, x: Float[Tensor, "B I h w"]) -> Float[Tensor, "B O H W"]:
        """The larger picture: n pixels become 2 n + kernel - 2."""
        if x.shape[2:] != (1, 1):
            if x.device.type == "cpu":
                return _GrownByParity.apply(x, self.weight, self.bias)
            return functional.conv_transpose2d(x, self.weight, self.bias, stride=2)
        inputs, outputs, rows, columns = self.weight.shape
        matrix = self.weight.permute(2, 3, 1, 0).reshape(-1, inputs)
        grown = functional.linear(x.flatten(1), matrix, self.bias.repeat(rows * columns))
        return grown.view(-1, rows, columns, outputs).permute(0, 3, 1, 2)


class _GrownByParity(torch.autograd.Function):
    """A transposed convolution of stride 2, its forward pass in another order.

    Output pixels of the same parity of row and column are those of a convolution of stride 1 with
    every second pixel of the kernel. On a processor that is two to four times as fast as the same
    sums in their own order, while the backward pass is not.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        weight = weight.to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.kept = bias.dtype
        inputs, outputs, rows, columns = weight.shape
        padded = functional.pad(weight, (0, _LONGEST - columns, 0, _LONGEST - rows))
        # [I, O, row / 2, its parity, column / 2, its parity]
        apart = padded.reshape(inputs, outputs, _LONGEST // 2, 2, _LONGEST // 2, 2).flip(2, 4)
        of_parities = apart.permute(1, 3, 5, 0, 2, 4).flatten(0, 2)
        grown = functional.conv2d(
            x,
            of_parities.contiguous(memory_format=torch.channels_last),
            bias.to(x.dtype).repeat_interleave(4),
            padding=_LONGEST // 2 - 1,
        )
        grown = functional.pixel_shuffle(grown, 2)
        surplus = (_LONGEST - rows, _LONGEST - columns)
        if not any(surplus):
            return grown
        height, width = grown.shape[2] - surplus[0], grown.shape[3] - surplus[1]
        # A copy, which the layer after it may change in place.
        return grown[:, :, :height, :width].clone(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight,
            [weight.shape[1]],
            [2, 2],
            [0, 0],
            [1, 1],
            True,
            [0, 0],
            1,
            [True, True, False],
        )
        # The bias's gradient would take it as long as the weight's.
        of_bias = gradient.sum((0, 2, 3))
        return of_x, of_weight.to(ctx.kept), of_bias.to(ctx.kept)
