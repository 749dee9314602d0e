"""The equations of NGU's reward as pure functions of tensors.

Source: Never Give Up (Badia et al., 2020, arXiv 2002.06038), equations 1 and 2 and Algorithm 1.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def normalised_distances(
    squared_distances: Float[Tensor, "*batch K"],
    mean_squared_distance: Float[Tensor, ""] | float,
) -> Float[Tensor, "*batch K"]:
    """Return d^2 / d_m^2 (Never Give Up, Algorithm 1), with 0 for 0 / 0.

    Args:
        squared_distances: d^2, squared Euclidean distances to neighbours [..., K].
        mean_squared_distance: d_m^2, the running mean of such distances, of at least 0.

    Returns:
        Distances in units of the mean [..., K].
    """
    normalised = squared_distances / mean_squared_distance
    return torch.where(squared_distances == 0, torch.zeros_like(normalised), normalised)


def kernel(
    normalised: Float[Tensor, "*batch K"], *, epsilon: float, cluster_distance: float
) -> Float[Tensor, "*batch K"]:
    """Return eps / (max(d_n - xi, 0) + eps), how similar each neighbour is (Algorithm 1).

    Args:
        normalised: Normalised squared distances [..., K].
        epsilon: eps, the kernel's width.
        cluster_distance: xi, the distance up to which two states count as the same.

    Returns:
        Kernel values [..., K], between 0 (infinitely far) and 1 (the same).
    """
    return epsilon / ((normalised - cluster_distance).clamp_min(0) + epsilon)


def similarity(
    kernel_values: Float[Tensor, "*batch K"], pseudo_count: float
) -> Float[Tensor, "*batch"]:
    """Return sqrt(sum over neighbours of K) + c (Algorithm 1)."""
    return kernel_values.sum(-1).sqrt() + pseudo_count


def episodic_novelty(
    squared_distances: Float[Tensor, "*batch K"],
    mean_squared_distance: Float[Tensor, ""] | float,
    *,
    epsilon: float,
    cluster_distance: float,
    pseudo_count: float,
    max_similarity: float,
) -> Float[Tensor, "*batch"]:
    """Return how new a state is in its episode, from the distances to its nearest neighbours.

    Never Give Up, Algorithm 1: with d_n = max(d^2 / d_m^2 - xi, 0) and K = eps / (d_n + eps), the
    similarity is s = sqrt(sum over neighbours of K) + c, with c outside the root as in Algorithm 1,
    and the novelty is 1 / s, or 0 where s > s_max. As K is at most 1, s is at most sqrt(k) + c:
    with 10 neighbours s_max = 8 never fires and the novelty lies between 0.316 and 1 / c.

    What the paper leaves open: an infinite distance is an absent neighbour and adds nothing (the
    limit of K), so that a state with no neighbour at all is worth 1 / c. While the mean is 0, every
    distance seen was 0: a distance of 0 then counts as 0 (0 / 0), any other as infinitely far.

    Args:
        squared_distances: Squared Euclidean distances to the k nearest neighbours [..., K].
        mean_squared_distance: d_m^2, the running mean of such distances, of at least 0.
        epsilon: eps, the kernel's width; sets the reward's scale.
        cluster_distance: xi, the normalised distance up to which two states count as the same.
        pseudo_count: c, keeps the novelty finite.
        max_similarity: s_max, the similarity above which the novelty is 0.

    Returns:
        The novelty [...].
    """
    normalised = normalised_distances(squared_distances, mean_squared_distance)
    values = kernel(normalised, epsilon=epsilon, cluster_distance=cluster_distance)
    s = similarity(values, pseudo_count)
    return torch.where(s > max_similarity, torch.zeros_like(s), 1 / s)


def lifelong_modulator(
    error: Float[Tensor, "*batch"],
    mean: Shaped[Tensor, ""] | float,
    std: Shaped[Tensor, ""] | float,
    *,
    maximum: float,
) -> Float[Tensor, "*batch"]:
    """Return the factor that lifelong novelty multiplies episodic novelty with.

    Never Give Up, equation 1: alpha = 1 + (err - mean) / std, clipped to [1, L]. While the standard
    deviation is 0 there is no scale to compare an error with, and the factor is 1.

    Args:
        error: Prediction error of random network distillation [...].
        mean: Running mean of the errors.
        std: Running standard deviation of the errors.
        maximum: L, the largest factor, of at least 1.

    Returns:
        The factor [...], between 1 and ``maximum``.
    """
    std = torch.as_tensor(std, device=error.device)
    alpha = 1 + (error - mean) / std
    return torch.where(std > 0, alpha, 1.0).to(error.dtype).clamp(1.0, maximum)
