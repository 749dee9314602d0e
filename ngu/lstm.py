"""A long short-term memory layer whose state restarts where a sequence enters a new episode.

Source: Hochreiter and Schmidhuber (1997) with forget gates, gate order (input, forget, cell,
output) as in ``torch.nn.LSTM``. Library layers cannot reset the state inside a sequence, and
automatic differentiation of a loop over time adds one weight gradient per step; here all steps
share one matrix product for the inputs, and one for each weight gradient.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class _Unroll(torch.autograd.Function):
    """The recurrence over time; its backward pass is written out to batch the weight gradients."""

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, weight: Tensor, keep: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, batch, gates_size = projected.shape
        size = gates_size // 4
        gates = torch.empty_like(projected, dtype=hidden.dtype)
        hiddens = hidden.new_empty(steps + 1, batch, size)
        cells = hidden.new_empty(steps + 1, batch, size)
        inner = hidden.new_empty(steps, batch, size)  # tanh(c_t)
        hiddens[0], cells[0] = hidden, cell
        transposed = weight.t()
        for t in range(steps):
            hidden_tm1 = (hiddens[t] * keep[t]).to(weight.dtype)
            gate = gates[t]
            torch.add(projected[t], hidden_tm1 @ transposed, out=gate)
            gate[:, : 2 * size].sigmoid_()
            gate[:, 2 * size : 3 * size].tanh_()
            gate[:, 3 * size :].sigmoid_()
            i, f, g, o = gate.split(size, dim=1)
            torch.mul(f, cells[t] * keep[t], out=cells[t + 1]).addcmul_(i, g)
            torch.tanh(cells[t + 1], out=inner[t])
            torch.mul(o, inner[t], out=hiddens[t + 1])
        ctx.save_for_backward(weight, keep, gates, hiddens, cells, inner)
        ctx.projected_dtype = projected.dtype
        return hiddens[1:], hiddens[-1].clone(), cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, Tensor, Tensor]:
        grad_outputs, grad_hidden, grad_cell = grads
        weight, keep, gates, hiddens, cells, inner = ctx.saved_tensors
        steps, _, size = inner.shape
        grad_gates = torch.empty_like(gates)
        grad_hidden, grad_cell = grad_hidden.clone(), grad_cell.clone()
        for t in reversed(range(steps)):
            i, f, g, o = gates[t].split(size, dim=1)
            di, df, dg, do = grad_gates[t].split(size, dim=1)
            grad_hidden = grad_hidden + grad_outputs[t]
            torch.mul(grad_hidden * inner[t], o * (1 - o), out=do)
            grad_cell = grad_cell.addcmul(grad_hidden * o, 1 - inner[t] * inner[t])
            torch.mul(grad_cell * g, i * (1 - i), out=di)
            torch.mul(grad_cell * (cells[t] * keep[t]), f * (1 - f), out=df)
            torch.mul(grad_cell * i, 1 - g * g, out=dg)
            grad_cell = grad_cell * f * keep[t]
            grad_hidden = (grad_gates[t].to(weight.dtype) @ weight).to(keep.dtype) * keep[t]
        flat = grad_gates.flatten(0, 1).to(weight.dtype)
        inputs = (hiddens[:-1] * keep).flatten(0, 1).to(weight.dtype)
        grad_weight = flat.t() @ inputs
        return grad_gates.to(ctx.projected_dtype), grad_weight, None, grad_hidden, grad_cell


class ResettableLSTM(nn.Module):
    """One layer over time-major sequences that forgets its state where an episode begins.

    Args:
        input_size: features of an input.
        hidden_size: units H.
        generator: draws the initial weights, uniform in +-1/sqrt(H).
    """

    def __init__(self, input_size: int, hidden_size: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        bound = 1.0 / math.sqrt(hidden_size)

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator))

        self.weight_input = uniform(4 * hidden_size, input_size)
        self.weight_hidden = uniform(4 * hidden_size, hidden_size)
        self.bias = uniform(4 * hidden_size)

    def forward(
        self,
        inputs: Float[Tensor, "T B F"],
        first: Bool[Tensor, "T B"],
        state: Float[Tensor, "2 B H"],
    ) -> tuple[Float[Tensor, "T B H"], Float[Tensor, "2 B H"]]:
        """Unroll over T steps.

        Args:
            inputs: input of each step; its dtype is that of the matrix products.
            first: True where the input is the first of an episode: the state before it is zero.
            state: hidden and cell state before the first step, float32.

        Returns:
            The outputs of all steps and the state after the last, float32.
        """
        dtype = inputs.dtype
        projected = nn.functional.linear(inputs, self.weight_input.to(dtype), self.bias.to(dtype))
        keep = (~first).to(state.dtype).unsqueeze(-1)
        outputs, hidden, cell = _Unroll.apply(
            projected, self.weight_hidden.to(dtype), keep, state[0], state[1]
        )
        return outputs, torch.stack((hidden, cell))
