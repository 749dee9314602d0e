"""How far the measures of `ngu.analysis` are from answers that are known: the tables of the docs.

    python benchmarks/estimators.py

Prints Markdown; about two minutes on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float64
from scipy.special import digamma, gammaln

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.gaussian_information import (
    dual_total_correlation,
    gaussian_information,
    total_correlation,
)
from ngu.analysis.information import Information, information
from ngu.analysis.intrinsic_dimension import intrinsic_dimension
from ngu.analysis.neighbour_information import pair_terms
from ngu.analysis.resampling import make_groups
from ngu.analysis.spectrum import spectrum

FINE = 0.01
"""A resolution at which the answers are those of the real numbers."""
CROSSED = 0.95
Generator = np.random.Generator
States = Float64[np.ndarray, "N D"]


def sphere(generator: Generator, rows: int, dim: int) -> States:
    """Uniform on a sphere of so many dimensions, turned into 32."""
    states = generator.normal(size=(rows, dim + 1))
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    return states @ np.linalg.qr(generator.normal(size=(32, dim + 1)))[0].T


def roll(generator: Generator, rows: int) -> States:
    """A swiss roll: a plane, bent in three dimensions."""
    angle, height = 4 + generator.uniform(size=(2, rows)) * np.array([[9], [20]])
    return np.stack([angle * np.cos(angle), height, angle * np.sin(angle)], axis=1)


def gaussian(generator: Generator, rows: int, dim: int) -> tuple[States, float, float]:
    """Gaussian states of a random covariance; their total and dual total correlation in bits."""
    mixing = np.random.default_rng(dim).normal(size=(dim, dim))
    covariance = mixing.T @ mixing + 0.3 * np.eye(dim)
    states = generator.normal(size=(rows, dim)) @ np.linalg.cholesky(covariance).T
    return states, float(total_correlation(covariance)), float(dual_total_correlation(covariance))


def student(generator: Generator, rows: int, dim: int) -> tuple[States, float, float]:
    """Student's t, 3 degrees of freedom: no correlation, one scale that all dimensions share."""
    scale = np.sqrt(3 / generator.chisquare(3, size=(rows, 1)))

    def entropy(d: int) -> float:
        constant = gammaln((3 + d) / 2) - gammaln(1.5) - d / 2 * math.log(3 * math.pi)
        return float((3 + d) / 2 * (digamma((3 + d) / 2) - digamma(1.5)) - constant) / math.log(2)

    total = dim * entropy(1) - entropy(dim)
    dual = dim * entropy(dim - 1) - (dim - 1) * entropy(dim)
    return generator.normal(size=(rows, dim)) * scale, total, dual


def crossed(generator: Generator, rows: int, dim: int) -> tuple[States, float, float]:
    """Pairs (x, y) of which y is x or -x, and noise; pairs know nothing of each other."""
    x, noise = generator.normal(size=(2, rows, dim // 2))
    sign = generator.choice([-1, 1], size=x.shape)
    y = CROSSED * sign * x + math.sqrt(1 - CROSSED**2) * noise
    bits = dim // 2 * crossed_bits()
    return np.stack([x, y], axis=2).reshape(rows, dim), bits, bits


def crossed_bits() -> float:
    """The mutual information of one such pair, by summing over a fine grid."""
    x, y = np.meshgrid(np.linspace(-6, 6, 1_201), np.linspace(-6, 6, 1_201))
    variance = 1 - CROSSED**2
    both = sum(np.exp(-((y - s * CROSSED * x) ** 2) / 2 / variance) for s in (-1, 1))
    ratio = both / 2 / math.sqrt(variance) / np.exp(-(y**2) / 2)
    density = np.exp(-(x**2 + y**2) / 2) * ratio
    return float((density * np.log2(np.maximum(ratio, 1e-300))).sum() / density.sum())


def bent_plane(generator: Generator, rows: int, dim: int) -> tuple[States, float, float]:
    """A plane bent into all dimensions by a random network, and noise of a fifth of it."""
    network = np.random.default_rng(dim)
    first, shift = network.normal(size=(2, 16)), network.normal(size=16)
    second = network.normal(size=(16, dim)) / 4
    noise = 0.2

    def bend(rows: int) -> States:
        return np.tanh(generator.normal(size=(rows, 2)) @ first + shift) @ second

    states = bend(rows) + noise * generator.normal(size=(rows, dim))
    centres = bend(30_000)
    joint = each = without = 0.0
    tried = states[:250]
    for state in tried:
        squares = (state - centres) ** 2 / (2 * noise**2)
        whole = squares.sum(1)
        joint += _log_mean(-whole)
        each += _log_mean(-squares).sum()
        without += _log_mean(squares - whole[:, None]).sum()
    bits = 1 / math.log(2) / len(tried)
    return states, float(joint - each) * bits, float((dim - 1) * joint - without) * bits


def _log_mean(values: Float64[np.ndarray, "M *rest"]) -> Float64[np.ndarray, "*rest"]:
    most = values.max(0)
    return np.asarray(most + np.log(np.exp(values - most).mean(0)))


def shown(estimate: Estimate | NotMeasured) -> str:
    """A measured value, or a dash."""
    return "-" if isinstance(estimate, NotMeasured) else f"{estimate.value:.2f}"


def dimensions() -> None:
    """Intrinsic dimension of manifolds in 32 dimensions."""
    print("\n| manifold | dimension | states | TwoNN | Levina-Bickel |\n|---|---|---|---|---|")
    kinds: list[tuple[str, int, Callable[[Generator, int], States]]] = [
        ("sphere in 32 dimensions", d, lambda g, n, d=d: sphere(g, n, d)) for d in (1, 2, 5, 10, 20)
    ]
    kinds.append(("swiss roll", 2, roll))
    for name, dim, make in kinds:
        for rows in (500, 2_000, 10_000):
            states = make(np.random.default_rng(rows), rows).astype(np.float32)
            got = intrinsic_dimension(states)
            print(
                f"| {name} | {dim} | {rows:,} | {shown(got.two_nn)} | {shown(got.levina_bickel)} |"
            )


def pairs() -> None:
    """Mutual information of two numbers: mean and spread of ten samples."""
    print("\n| pair | bits | 500 states | 2,000 states |\n|---|---|---|---|")
    for name, rho in (("Gaussian", 0.0), ("Gaussian", 0.6), ("Gaussian", 0.9), ("crossed", None)):
        truth = crossed_bits() if rho is None else 0.0 - math.log2(1 - rho**2) / 2
        cells = []
        for rows in (500, 2_000):
            found = []
            for seed in range(10):
                generator = np.random.default_rng(seed)
                if rho is None:
                    states = crossed(generator, rows, 2)[0]
                else:
                    states = generator.normal(size=(rows, 2))
                    states[:, 1] = rho * states[:, 0] + math.sqrt(1 - rho**2) * states[:, 1]
                found.append(pair_terms(states[:, 0], states[:, 1]).mean())
            cells.append(f"{np.mean(found):.3f} ± {np.std(found):.3f}")
        title = name if rho is None else f"{name}, correlation {rho}"
        print(f"| {title} | {truth:.3f} | {' | '.join(cells)} |")


def shared() -> None:
    """Total and dual total correlation of all dimensions."""
    print(
        "\n| states | D | N | total: known | Gaussian | copula | neighbours "
        "| dual: known | Gaussian | copula | neighbours |\n|" + "---|" * 11
    )
    kinds = {"Gaussian": gaussian, "Student's t": student, "crossed": crossed, "plane": bent_plane}
    for name, make in kinds.items():
        for dim in (4, 8, 16, 32):
            for rows in (1_000, 4_000) if dim == 16 else (4_000,):
                states, total, dual = make(np.random.default_rng(1), rows, dim)
                got = information(states.astype(np.float32), resolution=FINE)
                print(f"| {name} | {dim} | {rows:,} | {_row(got, total, dual)} |")


def _row(got: Information, total: float, dual: float) -> str:
    kinds = (got.gaussian, got.copula, got.neighbours)
    totals = [shown(kind.total_correlation_bits) for kind in kinds]
    duals = [shown(kind.dual_total_correlation_bits) for kind in kinds]
    return " | ".join([f"{total:.2f}", *totals, f"{dual:.2f}", *duals])


def coverage() -> None:
    """How often 95 % intervals hold the truth: processes that start anew in each episode."""
    print("\n| measure | over episodes | over steps |\n|---|---|---|")
    dim, count, length, memory, tries = 4, 40, 50, 0.9, 60
    covariance = np.full((dim, dim), 0.5) + 0.5 * np.eye(dim)
    root = np.linalg.cholesky(covariance)
    roots = np.sqrt(np.linalg.eigvalsh(covariance))
    share = roots / roots.sum()
    truth = {
        "effective rank": math.exp(-(share * np.log(share)).sum()),
        "participation ratio": dim**2 / float((roots**4).sum()),
        "total correlation, Gaussian": float(total_correlation(covariance)),
        "total correlation, neighbours": float(total_correlation(covariance)),
        "TwoNN": 4.0,
    }
    held: dict[str, list[list[bool]]] = {name: [[], []] for name in truth}
    for seed in range(tries):
        noise = np.random.default_rng(seed).normal(size=(count, length, dim)) @ root.T
        states = noise.copy()
        for t in range(1, length):
            states[:, t] = memory * states[:, t - 1] + math.sqrt(1 - memory**2) * noise[:, t]
        embeddings = states.reshape(-1, dim).astype(np.float32)
        for kind, episodes in enumerate(
            (np.repeat(np.arange(count), length), np.arange(count * length))
        ):
            groups = make_groups(episodes, len(embeddings))
            of_spectrum = spectrum(embeddings, groups)
            of_gaussian = gaussian_information(embeddings, groups, resolution=FINE)
            measured = {
                "effective rank": of_spectrum.effective_rank,
                "participation ratio": of_spectrum.participation_ratio,
                "total correlation, Gaussian": of_gaussian.total_correlation_bits,
            }
            if kind == 0 and seed < tries // 2:
                got = information(embeddings, groups, resolution=FINE)
                measured["total correlation, neighbours"] = got.neighbours.total_correlation_bits
                measured["TwoNN"] = intrinsic_dimension(embeddings, groups).two_nn
            for name, estimate in measured.items():
                if isinstance(estimate, NotMeasured):
                    raise RuntimeError(f"{name} was not measured: {estimate.reason}")
                low, high = estimate.low or -math.inf, estimate.high or math.inf
                held[name][kind].append(low <= truth[name] <= high)
    for name, kinds in held.items():
        cells = [f"{np.mean(hits):.0%} of {len(hits)}" if hits else "-" for hits in kinds]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    dimensions()
    pairs()
    shared()
    coverage()
