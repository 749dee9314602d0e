"""Distributions of a latent world model: what it believes, how that is drawn, compared and scored.

Source: Hafner et al., "Mastering Diverse Domains through World Models" (DreamerV3, arXiv
2301.04104): sections "World model learning" and "Robust predictions", and the authors' code
(github.com/danijar/dreamerv3); Bengio et al. (arXiv 1308.3432) for straight-through gradients.

Shapes: G latents, K classes, Z numbers in a Gaussian latent, N bins.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


class Categorical(NamedTuple):
    """Independent latents, each one of K classes."""

    log_probability: Float[Tensor, "*batch G K"]
    """Of each class, in nats."""


class Gaussian(NamedTuple):
    """Independent Gaussian numbers."""

    mean: Float[Tensor, "*batch Z"]
    std: Float[Tensor, "*batch Z"]


class KLLosses(NamedTuple):
    """The two sides of a balanced divergence, in nats."""

    dynamics: Float[Tensor, "*batch"]
    """Trains the prior alone: it learns to predict the posterior."""
    representation: Float[Tensor, "*batch"]
    """Trains the posterior alone: it becomes easier to predict."""


def symlog(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return sign(x) ln(|x| + 1), of DreamerV3, "Robust predictions"."""
    return torch.sign(x) * torch.log1p(x.abs())


def symexp(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Return sign(x) (e^|x| - 1), the inverse of `symlog`."""
    return torch.sign(x) * torch.expm1(x.abs())


def symexp_bins(count: int = 255, limit: float = 20.0) -> Float[Tensor, " N"]:
    """Values symexp(linspace(-limit, limit)), exactly symmetric around 0.

    Args:
        count: N, odd, so that 0 is one of them.
        limit: symlog of the largest.

    Raises:
        ValueError: `count` is even or below 3, or `limit` is not positive.
    """
    if count < 3 or count % 2 == 0:
        raise ValueError(f"count must be odd and at least 3, got {count}")
    if not limit > 0:
        raise ValueError(f"limit must be above 0, got {limit}")
    low = symexp(torch.linspace(-limit, 0, count // 2 + 1, dtype=torch.float64))
    return torch.cat((low, -low[:-1].flip(0))).float()


def two_hot(
    values: Float[Tensor, "*batch"], bins: Float[Tensor, " N"]
) -> Float[Tensor, "*batch N"]:
    """Weights of the two bins next to each value, whose mean is the value ("Robust predictions").

    w_k = (b_{k+1} - x) / (b_{k+1} - b_k) and w_{k+1} = 1 - w_k for b_k <= x <= b_{k+1}.

    Args:
        values: numbers; those outside the bins count as the outermost bin.
        bins: rising values, at least two.
    """
    values = values.clamp(bins[0], bins[-1]).contiguous()
    below = (torch.searchsorted(bins, values.detach(), right=True) - 1).clamp(0, len(bins) - 2)
    low, high = bins[below], bins[below + 1]
    share = (values - low) / (high - low)
    weights = values.new_zeros(*values.shape, len(bins))
    weights = weights.scatter(-1, below.unsqueeze(-1), (1 - share).unsqueeze(-1))
    return weights.scatter(-1, below.unsqueeze(-1) + 1, share.unsqueeze(-1))


def two_hot_mean(
    probability: Float[Tensor, "*batch N"], bins: Float[Tensor, " N"]
) -> Float[Tensor, "*batch"]:
    """The mean of a distribution over bins.

    A bin and its mirror image are summed first, so that equal probabilities of symmetric bins give
    exactly 0, whose largest values are 10^8 times a reward.
    """
    terms, half = probability * bins, len(bins) // 2
    pairs = terms[..., :half].flip(-1) + terms[..., len(bins) - half :]
    return pairs.sum(-1) + terms[..., half : len(bins) - half].sum(-1)


def two_hot_loss(
    logits: Float[Tensor, "*batch N"], values: Float[Tensor, "*batch"], bins: Float[Tensor, " N"]
) -> Float[Tensor, "*batch"]:
    """Cross-entropy of predicted bins with the two-hot value, in nats ("Robust predictions")."""
    return -(two_hot(values, bins) * functional.log_softmax(logits, dim=-1)).sum(-1)


def unimix(logits: Float[Tensor, "*batch K"], share: float = 0.01) -> Float[Tensor, "*batch K"]:
    """Log-probabilities of softmax(logits), mixed with the uniform distribution.

    p = (1 - share) softmax(logits) + share / K ("World model learning"): no class has less than
    share / K, so that no divergence is infinite.

    Raises:
        ValueError: `share` lies outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}")
    if share == 0:
        return functional.log_softmax(logits, dim=-1)
    return torch.log((1 - share) * logits.softmax(-1) + share / logits.shape[-1])


def sample_categorical(
    latents: Categorical, generator: torch.Generator | None
) -> Float[Tensor, "*batch G K"]:
    """One-hot samples whose gradient is that of the probabilities (straight-through).

    Args:
        latents: what is drawn from.
        generator: of one uniform number a latent, on the latents' device; None takes the likeliest
            classes.
    """
    probability = latents.log_probability.exp()
    classes = probability.shape[-1]
    if generator is None:
        index = probability.argmax(-1)
    else:
        sums = probability.detach().cumsum(-1)
        uniform = torch.empty_like(sums[..., :1]).uniform_(generator=generator)
        # The product can round up to the last sum, which would count all classes.
        index = (sums <= uniform * sums[..., -1:]).sum(-1).clamp_max(classes - 1)
    one_hot = torch.zeros_like(probability).scatter_(-1, index.unsqueeze(-1), 1.0)
    if not probability.requires_grad:
        return one_hot
    return one_hot + (probability - probability.detach())


def sample_gaussian(
    latents: Gaussian, generator: torch.Generator | None
) -> Float[Tensor, "*batch Z"]:
    """Samples through which gradients pass (reparameterised).

    Args:
        latents: what is drawn from.
        generator: of one normal number a latent, on the latents' device; None takes the means.
    """
    if generator is None:
        return latents.mean
    return latents.mean + latents.std * torch.empty_like(latents.mean).normal_(generator=generator)


def categorical_kl(left: Categorical, right: Categorical) -> Float[Tensor, "*batch"]:
    """KL(left || right) in nats, summed over the latents."""
    difference = left.log_probability - right.log_probability
    return (left.log_probability.exp() * difference).sum((-2, -1))


def gaussian_kl(left: Gaussian, right: Gaussian) -> Float[Tensor, "*batch"]:
    """KL(left || right) in nats, in closed form, summed over the numbers.

    With r = std_left / std_right and d = (mean_left - mean_right) / std_right, each is
    1/2 (r^2 + d^2 - ln r^2 - 1).
    """
    ratio = (left.std / right.std).square()
    distance = ((left.mean - right.mean) / right.std).square()
    return 0.5 * (ratio + distance - ratio.log() - 1).sum(-1)


def kl_balance(
    posterior: Categorical | Gaussian, prior: Categorical | Gaussian, free_nats: float = 1.0
) -> KLLosses:
    """The divergence of the posterior from the prior, once for each side's gradient.

    dynamics = max(free, KL(sg(posterior) || prior)) and
    representation = max(free, KL(posterior || sg(prior))), of "World model learning". The maximum
    is taken after the sum over the latents; below it there is no gradient.

    Args:
        posterior: what is believed with the observation.
        prior: what was believed before it, of the same kind.
        free_nats: divergence that costs nothing.

    Raises:
        TypeError: the two are of different kinds.
    """
    return KLLosses(
        _divergence(_stopped(posterior), prior).clamp_min(free_nats),
        _divergence(posterior, _stopped(prior)).clamp_min(free_nats),
    )


def _divergence(left: Categorical | Gaussian, right: Categorical | Gaussian) -> Tensor:
    if isinstance(left, Categorical) and isinstance(right, Categorical):
        return categorical_kl(left, right)
    if isinstance(left, Gaussian) and isinstance(right, Gaussian):
        return gaussian_kl(left, right)
    raise TypeError(
        "posterior and prior must be of the same kind, got "
        f"{type(left).__name__} and {type(right).__name__}"
    )


def _stopped(latents: Categorical | Gaussian) -> Categorical | Gaussian:
    """The same numbers, through which no gradient passes: sg of the paper."""
    if isinstance(latents, Categorical):
        return Categorical(latents.log_probability.detach())
    return Gaussian(latents.mean.detach(), latents.std.detach())
