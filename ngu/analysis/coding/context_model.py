"""What is known of a coordinate before it is read: by those before it, and by a hyperprior.

Sources: a mean and a scale for each number from a hyperprior and from what was decoded before,
Minnen et al. (arXiv 1809.02736); masks so that one network serves all numbers, Germain et al.,
"MADE" (arXiv 1502.03509); mixtures, Cheng et al. (arXiv 2001.01568).

The model works on scores: a cell's score is the normal quantile of its place in the coordinate's
own distribution, so that each coordinate by itself is standard normal whatever its distribution
was. The network mixes that standard normal with others of other means and scales: where nothing is
learned yet it is nearly the code of each coordinate by itself.

Encoder and decoder must get the same probabilities to the last bit. Weights and activations are
multiples of 2^-12 in float64: sums of their products are exact in any order, so that it does not
matter who multiplies matrices, nor that the decoder computes one unit after the other what the
encoder computes at once.

Shapes: N states, D coordinates, M numbers of the hyperprior, U hidden units, P parameters of a
coordinate's mixture, n cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn import functional

COMPONENTS = 2
"""Normals that are mixed with the coordinate's own distribution."""
PARAMETERS = 1 + 3 * COMPONENTS
"""Logits of all, means and logarithms of scales of the others."""
_GRID = 2.0**12
_WEIGHT_GRID = 2.0**14
_MOST = 2.0**6
"""Weights and activations are clipped here, so that sums stay exact."""
_FINEST = -6.0
_WIDEST_UNITS = 256
_OWN_LOGIT = 2.0


@dataclass(frozen=True)
class Mixture:
    """Normals on the scores' scale; the first is the coordinate's own distribution."""

    weights: Tensor
    """[..., 1 + COMPONENTS], they sum to 1."""
    means: Tensor
    """[..., 1 + COMPONENTS]."""
    scales: Tensor
    """[..., 1 + COMPONENTS]."""

    def mass(self, low: Tensor, high: Tensor) -> Tensor:
        """Probability of a score in between [...]."""
        low = (low.unsqueeze(-1) - self.means) / self.scales
        high = (high.unsqueeze(-1) - self.means) / self.scales
        # On the side where the normal's tail is small, differences keep their digits.
        flip = (low + high) > 0
        below = torch.where(flip, -high, low)
        above = torch.where(flip, -low, high)
        mass = torch.special.ndtr(above) - torch.special.ndtr(below)
        return (self.weights * mass).sum(-1)

    def below(self, score: Tensor) -> Tensor:
        """Probability of less than a score [..., n], with one axis more than the mixture."""
        standard = (score.unsqueeze(-1) - self.means.unsqueeze(-2)) / self.scales.unsqueeze(-2)
        return (self.weights.unsqueeze(-2) * torch.special.ndtr(standard)).sum(-1)


def mixture(parameters: Tensor) -> Mixture:
    """The mixture of parameters [..., P]."""
    logits, means, log_scales = parameters.split((1 + COMPONENTS, COMPONENTS, COMPONENTS), -1)
    own = torch.zeros_like(means[..., :1])
    scales = log_scales.clamp(_FINEST, 1.0).exp()
    return Mixture(
        logits.softmax(-1), torch.cat((own, means), -1), torch.cat((own + 1, scales), -1)
    )


class ContextModel(nn.Module):
    """The network, as it is trained.

    Args:
        dim: coordinates D.
        extra: numbers besides the scores that all coordinates are told: the hyperprior's, the step.
        generator: draws the weights; a CPU one.
    """

    def __init__(self, dim: int, extra: int, *, generator: torch.Generator) -> None:
        super().__init__()
        units = max(1, _WIDEST_UNITS // dim)
        self.dim, self.extra = dim, extra
        degree = torch.arange(dim).repeat_interleave(units)
        place = torch.arange(dim)
        outputs = place.repeat_interleave(PARAMETERS)
        told = torch.ones(1, extra, dtype=torch.bool)
        see = torch.cat((place < degree[:, None], told.expand(len(degree), -1)), 1)
        self.register_buffer("see", see)
        self.register_buffer("use", degree <= outputs[:, None])
        direct = torch.cat((place < outputs[:, None], told.expand(len(outputs), -1)), 1)
        self.register_buffer("direct", direct)
        self.see: Tensor
        self.use: Tensor
        self.direct: Tensor

        hidden = len(degree)
        drawn = torch.randn(hidden, dim + extra, generator=generator)
        self.first = nn.Parameter(drawn / math.sqrt(dim + extra))
        self.first_bias = nn.Parameter(2 * torch.rand(hidden, generator=generator) - 1)
        self.second = nn.Parameter(torch.zeros(len(outputs), hidden))
        self.skip = nn.Parameter(torch.zeros(len(outputs), dim + extra))
        bias = torch.zeros(dim, PARAMETERS)
        bias[:, 0] = _OWN_LOGIT
        # Components that are the same would stay the same.
        bias[:, 1 + COMPONENTS : 1 + 2 * COMPONENTS] = torch.linspace(-0.1, 0.1, COMPONENTS)
        self.bias = nn.Parameter(bias.flatten())

    def forward(self, inputs: Float[Tensor, "N I"]) -> Float[Tensor, "N D P"]:
        """Parameters of each coordinate from scores and what else is told, [scores, extra]."""
        hidden = functional.linear(inputs, self.first * self.see, self.first_bias).relu()
        outputs = functional.linear(hidden, self.second * self.use, self.bias)
        outputs = outputs + functional.linear(inputs, self.skip * self.direct)
        return outputs.unflatten(-1, (self.dim, PARAMETERS))

    def exact(self) -> ExactContextModel:
        """The network on the grid."""
        return ExactContextModel(
            self.dim,
            exact_weights((self.first * self.see).T),
            exact_weights(self.first_bias, _GRID),
            exact_weights((self.second * self.use).T),
            exact_weights((self.skip * self.direct).T),
            exact_weights(self.bias, _GRID),
        )


@dataclass(frozen=True)
class ExactContextModel:
    """The network whose sums are exact."""

    dim: int
    """Coordinates D."""
    first: Float64[np.ndarray, "I U"]
    """Inputs to hidden units; those of coordinate d follow each other and see what is before d."""
    first_bias: Float64[np.ndarray, " U"]
    """Of the hidden units."""
    second: Float64[np.ndarray, "U DP"]
    """Hidden units to parameters."""
    skip: Float64[np.ndarray, "I DP"]
    """Inputs to parameters."""
    bias: Float64[np.ndarray, " DP"]
    """Of the parameters."""

    def parameters(self, inputs: Float64[np.ndarray, "N I"]) -> Float64[np.ndarray, "N D P"]:
        """Parameters of all coordinates at once, for who knows all scores."""
        inputs = on_grid(inputs)
        hidden = on_grid(np.maximum(inputs @ self.first + self.first_bias, 0))
        outputs = hidden @ self.second + inputs @ self.skip + self.bias
        return outputs.reshape(len(inputs), self.dim, PARAMETERS)

    def reader(self, extra: Float64[np.ndarray, "N E"]) -> Reader:
        """For who learns of one coordinate after the other."""
        return Reader(self, extra)

    @property
    def numbers(self) -> int:
        """Weights that a decoder must know, masked ones aside."""
        arrays = (self.first, self.second, self.skip)
        dense = sum(int(np.count_nonzero(array)) for array in arrays)
        return dense + len(self.first_bias) + len(self.bias)


class Reader:
    """Gives parameters coordinate by coordinate; every unit is computed once."""

    def __init__(self, model: ExactContextModel, extra: Float64[np.ndarray, "N E"]) -> None:
        self._model = model
        self._hidden = np.zeros((len(extra), len(model.first_bias)))
        self._inputs = np.zeros((len(extra), len(model.first)))
        self._inputs[:, model.dim :] = on_grid(extra)
        self._place = 0

    def parameters(self) -> Float64[np.ndarray, "N P"]:
        """Of the next coordinate."""
        model, place = self._model, self._place
        units = len(model.first_bias) // model.dim
        new = slice(place * units, (place + 1) * units)
        sums = self._inputs @ model.first[:, new] + model.first_bias[new]
        self._hidden[:, new] = on_grid(np.maximum(sums, 0))
        own = slice(place * PARAMETERS, (place + 1) * PARAMETERS)
        known = self._hidden[:, : new.stop] @ model.second[: new.stop, own]
        return known + self._inputs @ model.skip[:, own] + model.bias[own]

    def tell(self, scores: Float64[np.ndarray, " N"]) -> None:
        """What the next coordinate turned out to be."""
        self._inputs[:, self._place] = on_grid(scores)
        self._place += 1


def on_grid(numbers: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Numbers within +-64 as multiples of 2^-12."""
    return np.rint(np.clip(numbers, -_MOST, _MOST) * _GRID) / _GRID


def exact_weights(
    weight: Float[Tensor, "*shape"], grid: float = _WEIGHT_GRID
) -> Float64[np.ndarray, "*shape"]:
    """A trained weight within +-64 as multiples of one over the grid."""
    numbers = weight.detach().double().clamp(-_MOST, _MOST).numpy()
    return np.rint(numbers * grid) / grid
