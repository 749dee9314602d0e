"""Layers of a recurrent world model: dense ones with layer norm, and a recurrent cell with it.

Source: Hafner et al., DreamerV3 (arXiv 2301.04104) and its code: linear, layer norm, SiLU; the cell
is the gated recurrent unit of DreamerV2 (arXiv 2010.02193), whose gates are normalised together.
Norms and what follows them are float32; under `torch.autocast` the matrix products are not.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import linear

_EPSILON = 1e-3  # of the norms, as in the authors' code
_UPDATE_BIAS = -1.0


class Dense(nn.Module):
    """A linear layer of inputs side by side, layer norm, SiLU.

    What one input adds can be computed apart (`part`), for instance for all time steps at once
    where the others depend on the step before.

    Args:
        widths: of the inputs.
        outputs: width O of the output.
        generator: draws the weights; a CPU one.
    """

    def __init__(self, widths: tuple[int, ...], outputs: int, *, generator: torch.Generator):
        super().__init__()
        self.linear = linear(sum(widths), outputs, generator=generator)
        self.norm = nn.LayerNorm(outputs, eps=_EPSILON)
        self._ends = (0, *accumulate(widths))

    def forward(self, *inputs: Float[Tensor, "..."]) -> Float[Tensor, "... O"]:
        """The output for all inputs."""
        return self.join(*(self.part(i, x) for i, x in enumerate(inputs)))

    def part(self, index: int, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        """What one input adds before the norm; the first one's holds the bias."""
        weight = self.linear.weight[:, self._ends[index] : self._ends[index + 1]]
        return functional.linear(x, weight, self.linear.bias if index == 0 else None)

    def join(self, *parts: Float[Tensor, "*batch O"]) -> Float[Tensor, "*batch O"]:
        """The output, float32, once all parts are there."""
        total = parts[0].float()
        for part in parts[1:]:
            total = total + part
        return functional.silu(self.norm(total))


class NormedGRU(nn.Module):
    """A gated recurrent unit with one layer norm for all its gates.

    (r, c, u) = LN(W [x, h_tm1] + b) and, with v = sigmoid(u - 1),
    h_t = v tanh(sigmoid(r) c) + (1 - v) h_tm1.
    The bias of -1 makes it remember at the start.

    Args:
        inputs: width I of x.
        size: width H of h.
        generator: draws the weights; a CPU one.
    """

    def __init__(self, inputs: int, size: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.gates = linear(inputs + size, 3 * size, generator=generator, gain=1.0)
        self.norm = nn.LayerNorm(3 * size, eps=_EPSILON)

    def forward(
        self, x: Float[Tensor, "B I"], hidden_tm1: Float[Tensor, "B H"]
    ) -> Float[Tensor, "B H"]:
        """The hidden state h_t, float32."""
        gates = self.norm(self.gates(torch.cat((x, hidden_tm1), dim=-1)).float())
        reset, candidate, update = gates.chunk(3, dim=-1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(hidden_tm1, candidate, torch.sigmoid(update + _UPDATE_BIAS))
