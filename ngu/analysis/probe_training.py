"""Training of probes: small classifiers of a frozen embedding, many variables at once.

Source: Anand et al., "Unsupervised State Representation Learning in Atari" (arXiv 1906.08226),
whose probes are trained by Adam and stopped on validation episodes. Here the embedding is whitened
first, so that hundreds of steps reach what takes tens of thousands on raw features, and each probe
is the best of all rounds. A probe says the class of a variable, and its value as a number.

Shapes: N states, D dimensions, P of them that vary, C classes.
"""

from __future__ import annotations

import copy
import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from ngu.nets import linear
from ngu.seeding import Seeds

Kind = Literal["linear", "mlp"]

HIDDEN = 64
"""Units of the hidden layer of a small network."""

_BATCH = 512
_ROUNDS = 30  # of training; after each the probes are validated
_PATIENCE = 10  # rounds in which none gets better
_LEARNING_RATE = 0.01
# A direction of less variance than this share of the largest is rounding.
_ROUNDING = 1e-9
_LEAST_VARIANCE = 1e-30


class Split(NamedTuple):
    """Which states serve for what; whole episodes."""

    training: Bool[np.ndarray, " N"]
    validation: Bool[np.ndarray, " N"]
    test: Bool[np.ndarray, " N"]


class Target(NamedTuple):
    """A variable as what a probe is to say."""

    classes: Int64[np.ndarray, " N"]
    """Its values, counted from 0."""
    numbers: Float32[np.ndarray, " N"]
    """Its values in training's standard deviations from training's mean."""
    num_classes: int
    """C."""
    majority: int
    """The class most common in training."""
    ordinal: bool

    @classmethod
    def of(
        cls, values: Int64[np.ndarray, " N"], training: Bool[np.ndarray, " N"], *, ordinal: bool
    ) -> Target:
        """Make it of a variable's values."""
        found, classes = np.unique(values, return_inverse=True)
        trained = values[training]
        numbers = (values - trained.mean()) / max(trained.std(), 1e-9)
        majority = int(np.bincount(classes[training]).argmax())
        return cls(classes, numbers.astype(np.float32), len(found), majority, ordinal)


def whitened(
    embeddings: Float32[np.ndarray, "N D"], training: Bool[np.ndarray, " N"]
) -> Float32[Tensor, "N P"]:
    """Return the principal components of the training states in units of their deviations.

    Directions in which they do not vary are left out; if there is no other, one zero is left.
    """
    values = embeddings - embeddings[training].mean(0, dtype=np.float64)
    dim = values.shape[1]
    variances, directions = np.linalg.eigh(np.cov(values[training].T, bias=True).reshape(dim, dim))
    varying = variances > max(_ROUNDING * variances[-1], _LEAST_VARIANCE)
    if not varying.any():
        return torch.zeros(len(values), 1)
    scaled = directions[:, varying] / np.sqrt(variances[varying])
    return torch.from_numpy((values @ scaled).astype(np.float32))


def _network(kind: Kind, inputs: int, outputs: int, generator: torch.Generator) -> nn.Module:
    if kind == "linear":
        return linear(inputs, outputs, generator=generator, gain=0.0)
    hidden = linear(inputs, HIDDEN, generator=generator)
    return nn.Sequential(hidden, nn.ReLU(), linear(HIDDEN, outputs, generator=generator, gain=0.0))


def trained(
    inputs: Float32[Tensor, "N P"],
    targets: list[Target],
    split: Split,
    kind: Kind,
    updates: int,
    seeds: Seeds,
) -> list[nn.Module]:
    """A probe for each target; its outputs are C logits and the number."""
    generator = seeds.torch("training")
    probes = [_network(kind, inputs.shape[1], t.num_classes + 1, generator) for t in targets]
    classes = torch.from_numpy(np.stack([t.classes for t in targets]))
    numbers = torch.from_numpy(np.stack([t.numbers for t in targets]))
    if kind == "linear":
        # Of whitened inputs the least squares are known: the number needs no training.
        rows = torch.from_numpy(split.training)
        solution = numbers[:, rows] @ inputs[rows] / split.training.sum()
        for network, weights in zip(probes, solution, strict=True):
            next(network.parameters()).data[-1] = weights
    parameters = [p for network in probes for p in network.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=_LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    training = torch.from_numpy(np.flatnonzero(split.training))
    validation = torch.from_numpy(np.flatnonzero(split.validation))
    best = [copy.deepcopy(network.state_dict()) for network in probes]
    least, better_at = [math.inf] * len(probes), 0

    def losses(rows: Tensor) -> list[Tensor]:
        seen = inputs[rows]
        return [
            _loss(network(seen), classes[k, rows], numbers[k, rows])
            for k, network in enumerate(probes)
        ]

    period = max(1, updates // _ROUNDS)
    for update in range(1, updates + 1):
        rows = training[torch.randint(len(training), (_BATCH,), generator=generator)]
        optimiser.zero_grad()
        torch.stack(losses(rows)).sum().backward()
        optimiser.step()
        schedule.step()
        if update % period:
            continue
        with torch.no_grad():
            for k, loss in enumerate(losses(validation)):
                if loss < least[k]:
                    least[k], best[k], better_at = (
                        float(loss),
                        copy.deepcopy(probes[k].state_dict()),
                        update,
                    )
        if update - better_at >= _PATIENCE * period:
            break
    for network, state in zip(probes, best, strict=True):
        network.load_state_dict(state)
    return probes


def _loss(outputs: Tensor, classes: Tensor, numbers: Tensor) -> Tensor:
    error = functional.mse_loss(outputs[:, -1], numbers)
    return functional.cross_entropy(outputs[:, :-1], classes) + error
