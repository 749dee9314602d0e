"""The learned transform: a rotation, and what a shallow network adds to it on either side.

Sources: learned analysis and synthesis, Balle et al. (arXiv 1611.01704); a hyperprior, numbers that
are coded first and tell the coder what to expect, Balle et al. (arXiv 1802.01436).

All of it begins at zero: an untrained transform is the rotation, its hyperprior is always 0 and
costs nothing.

Shapes: N states, D dimensions, M numbers of the hyperprior.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn
from torch.nn import functional

from ngu.analysis.coding.scalar_code import Rotation

HYPER = 4
"""Numbers of the hyperprior M."""
_HIDDEN = 64
_MOST_HYPER = 31


class Transform(nn.Module):
    """Analysis, synthesis and the hyperprior's analysis, which only the encoder computes.

    Args:
        rotation: where it begins.
        scale: standard deviation of each of the rotation's coordinates, above 0.
        generator: draws the weights; a CPU one.
    """

    def __init__(
        self, rotation: Rotation, scale: Float64[np.ndarray, " D"], *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.rotation = rotation
        dim = len(scale)
        self.register_buffer("scale", torch.from_numpy(scale).float())
        self.scale: Tensor
        self.analysis = _Added(dim, dim, generator=generator)
        self.synthesis = _Added(dim, dim, generator=generator)
        self.hyper_analysis = _Added(dim, HYPER, generator=generator)

    def forward(self, coordinates: Float[Tensor, "N D"], told_step: Float[Tensor, "N 1"]) -> Tensor:
        """Learned coordinates of the rotation's."""
        added = self.analysis(coordinates / self.scale, told_step)
        return coordinates + added * self.scale

    def invert(self, coordinates: Float[Tensor, "N D"], told_step: Float[Tensor, "N 1"]) -> Tensor:
        """The rotation's coordinates of learned ones, as near as synthesis comes."""
        added = self.synthesis(coordinates / self.scale, told_step)
        return coordinates + added * self.scale

    def analyse(
        self, embeddings: Float[np.ndarray, "N D"], told_step: float
    ) -> Float64[np.ndarray, "N D"]:
        """Learned coordinates of embeddings."""
        coordinates = self.rotation.analyse(embeddings)
        with torch.no_grad():
            standard = _single(coordinates) / self.scale
            added = self.analysis(standard, _told(coordinates, told_step)) * self.scale
        return coordinates + added.double().numpy()

    def synthesise(
        self, coordinates: Float64[np.ndarray, "N D"], told_step: float
    ) -> Float64[np.ndarray, "N D"]:
        """Embeddings of learned coordinates."""
        with torch.no_grad():
            standard = _single(coordinates) / self.scale
            added = self.synthesis(standard, _told(coordinates, told_step)) * self.scale
        return self.rotation.synthesise(coordinates + added.double().numpy())

    def hyperprior(
        self, scores: Float64[np.ndarray, "N D"], told_step: float
    ) -> Int64[np.ndarray, "N M"]:
        """The hyperprior's integers of coordinates' scores."""
        with torch.no_grad():
            numbers = self.hyper_analysis(_single(scores), _told(scores, told_step))
        return numbers.round().clamp(-_MOST_HYPER, _MOST_HYPER).long().numpy()

    @property
    def decoder_numbers(self) -> int:
        """Numbers of the synthesis."""
        rotation = self.rotation
        learned = sum(weight.numel() for weight in self.synthesis.parameters())
        return learned + rotation.axes.size + len(rotation.centre)


class _Added(nn.Module):
    """A linear map and a layer of hidden units, both of which begin at zero."""

    def __init__(self, inputs: int, outputs: int, *, generator: torch.Generator) -> None:
        super().__init__()
        drawn = torch.randn(_HIDDEN, inputs + 1, generator=generator) / math.sqrt(inputs + 1)
        self.first = nn.Parameter(drawn)
        self.first_bias = nn.Parameter(torch.rand(_HIDDEN, generator=generator) - 0.5)
        self.second = nn.Parameter(torch.zeros(outputs, _HIDDEN))
        self.skip = nn.Parameter(torch.zeros(outputs, inputs + 1))

    def forward(self, numbers: Float[Tensor, "N D"], told_step: Float[Tensor, "N 1"]) -> Tensor:
        """What is added."""
        inputs = torch.cat((numbers, told_step), dim=1)
        hidden = functional.linear(inputs, self.first, self.first_bias).relu()
        return functional.linear(hidden, self.second) + functional.linear(inputs, self.skip)


def _single(numbers: Float64[np.ndarray, "N D"]) -> Float[Tensor, "N D"]:
    return torch.from_numpy(numbers).float()


def _told(numbers: Float64[np.ndarray, "N D"], told_step: float) -> Float[Tensor, "N 1"]:
    return torch.full((len(numbers), 1), told_step)
