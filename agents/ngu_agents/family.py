"""The family of policies that one network plays, from exploiting to exploring.

Source: Badia et al., "Never Give Up", https://arxiv.org/abs/2002.06038, appendix A; the spread of
exploration rates over actors is that of Horgan et al., "Ape-X", https://arxiv.org/abs/1803.00933.

Shapes: N policies, E environments (one actor each).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def intrinsic_weights(num_policies: int, beta: float) -> Float[Tensor, " N"]:
    """Weight of the intrinsic reward in each policy's reward, r_i = r_ext + beta_i * r_int.

    beta_0 = 0, beta_{N-1} = beta and beta_i = beta * sigmoid(10 (2i - (N-2)) / (N-2)) between.

    Args:
        num_policies: N. A family of one explores: its weight is `beta`.
        beta: The largest weight, at least 0.

    Returns:
        The weights [N], rising, the first 0 where N > 1.

    Raises:
        ValueError: If `num_policies` is below 1 or `beta` is negative or not finite.
    """
    _check_count("num_policies", num_policies)
    if not (math.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta must be a finite number of at least 0, got {beta}")
    if num_policies == 1:
        return torch.tensor([beta], dtype=torch.float32)
    weights = torch.zeros(num_policies, dtype=torch.float64)
    weights[-1] = beta
    if num_policies > 2:
        middle = num_policies - 2
        between = torch.arange(1, num_policies - 1, dtype=torch.float64)
        weights[1:-1] = beta * torch.sigmoid(10 * (2 * between - middle) / middle)
    return weights.float()


def discounts(
    num_policies: int, gamma_max: float = 0.997, gamma_min: float = 0.99
) -> Float[Tensor, " N"]:
    """Discount of each policy: the exploiting one looks farthest ahead.

    gamma_i = 1 - exp(((N-1-i) ln(1-gamma_max) + i ln(1-gamma_min)) / (N-1)): 1 - gamma_i is
    spaced evenly on a logarithmic scale.

    Args:
        num_policies: N. A family of one has `gamma_max`.
        gamma_max: Discount of policy 0, in [gamma_min, 1).
        gamma_min: Discount of policy N-1, in [0, gamma_max].

    Returns:
        The discounts [N], falling.

    Raises:
        ValueError: If `num_policies` is below 1 or not 0 <= gamma_min <= gamma_max < 1.
    """
    _check_count("num_policies", num_policies)
    if not 0 <= gamma_min <= gamma_max < 1:
        raise ValueError(
            "expected 0 <= gamma_min <= gamma_max < 1, "
            f"got gamma_min {gamma_min} and gamma_max {gamma_max}"
        )
    logs = torch.linspace(
        math.log1p(-gamma_max), math.log1p(-gamma_min), num_policies, dtype=torch.float64
    )
    return (-torch.expm1(logs)).float()


def actor_epsilons(
    num_actors: int, base: float = 0.4, exponent: float = 8.0
) -> Float[Tensor, " E"]:
    """Share of random actions of each actor, epsilon_l = base^(1 + exponent * l / (L-1)).

    Args:
        num_actors: L. A lone actor has `base`.
        base: The largest share, in [0, 1].
        exponent: How far the shares spread, at least 0.

    Returns:
        The shares [L], falling.

    Raises:
        ValueError: If `num_actors` is below 1, `base` outside [0, 1] or `exponent` negative.
    """
    _check_count("num_actors", num_actors)
    if not 0 <= base <= 1:
        raise ValueError(f"base must be in [0, 1], got {base}")
    if not (math.isfinite(exponent) and exponent >= 0):
        raise ValueError(f"exponent must be a finite number of at least 0, got {exponent}")
    powers = torch.linspace(1, 1 + exponent, num_actors, dtype=torch.float64)
    return (torch.tensor(base, dtype=torch.float64) ** powers).float()


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
