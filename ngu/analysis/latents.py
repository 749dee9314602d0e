"""What each dimension of an autoencoder's latent tells, and which pictures lie near a latent.

A dimension tells as much as its posteriors differ from the prior: their divergence in nats, Kingma
and Welling (arXiv 1312.6114), appendix B. Active units are those of Burda et al. (arXiv
1509.00519), section 5.3.

Shapes: N pictures, Z latent dimensions, S steps of a film strip, K neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped, UInt8

from ngu.world.convolutions import channels_first
from ngu.world.vae import ConvVAE, kl_divergence
from ngu.world.vae_training import ACTIVE_VARIANCE

LEAST_CORRELATION = 0.3
"""A weaker rank correlation is not told: neighbouring pictures alone make some."""

_AT_ONCE = 256


class Relation(NamedTuple):
    """What a dimension goes with."""

    name: str
    """Of a label or of a property of pictures."""
    correlation: float
    """Spearman's rank correlation over the recorded pictures, -1 to 1."""


@dataclass(frozen=True)
class Dimension:
    """One number of the latent."""

    index: int
    """Its place in the latent, from 0."""
    kl: float | None
    """Nats of its posteriors from the prior, a mean over pictures; None: there were no pictures."""
    effect: float
    """How far a pixel moves, of 255, where it goes from -1 to 1 and all others are 0; a mean."""
    active: bool
    """Whether its posteriors' means vary over pictures; without pictures all count as active."""
    relation: Relation | None
    """The strongest; None where none is strong enough to be told."""


@dataclass(frozen=True)
class SeenPictures:
    """Recorded pictures, and how an autoencoder sees them."""

    pictures: UInt8[np.ndarray, "N ..."]
    """Of the autoencoder's shape."""
    means: Float32[np.ndarray, "N Z"]
    """Of their posteriors: where they lie in the latent space."""
    kl: Float32[np.ndarray, " Z"]
    """Nats of each dimension's posteriors from the prior, a mean; 0 where there are none."""

    @property
    def active(self) -> Bool[np.ndarray, " Z"]:
        """Dimensions whose posteriors' means vary by more than .01."""
        return self.means.var(0) > ACTIVE_VARIANCE

    def nearest(
        self, latent: Float32[np.ndarray, " Z"], k: int
    ) -> tuple[Float32[np.ndarray, " K"], Int64[np.ndarray, " K"]]:
        """Euclidean distances to the nearest pictures' means, ascending, and their rows.

        Args:
            latent: finite.
            k: at least 1; where there are fewer pictures, all of them.
        """
        squared, rows = self._search.search(latent[None], k)
        found = rows[0] >= 0
        return np.sqrt(np.maximum(squared[0, found], 0)), rows[0, found]

    @cached_property
    def _search(self) -> Any:
        index = faiss.IndexFlatL2(self.means.shape[1])
        index.add(np.ascontiguousarray(self.means))
        return index


@torch.no_grad()
def see(vae: ConvVAE, pictures: UInt8[np.ndarray, "N ..."]) -> SeenPictures:
    """Encode pictures.

    Args:
        vae: the autoencoder, on the CPU.
        pictures: of its shape; there may be none.

    Raises:
        TypeError: they are no bytes.
        ValueError: they have another shape.
    """
    means = [np.empty((0, vae.config.latent_dim), np.float32)]
    kl = np.zeros(vae.config.latent_dim, np.float32)
    for first in range(0, len(pictures), _AT_ONCE):
        part = np.ascontiguousarray(pictures[first : first + _AT_ONCE])
        posterior = vae.encode(torch.from_numpy(part))
        means.append(posterior.mean.numpy())
        kl += kl_divergence(posterior).sum(0).numpy() / np.float32(len(pictures))
    return SeenPictures(pictures, np.concatenate(means), kl)


def dimensions(
    vae: ConvVAE, seen: SeenPictures, known: Mapping[str, Shaped[np.ndarray, " N"]]
) -> list[Dimension]:
    """The latent's dimensions, those that tell most first, those that tell nothing last.

    They are ordered by their divergence, and by their effect where no pictures were seen.

    Args:
        vae: the autoencoder, on the CPU.
        seen: recorded pictures.
        known: numbers of each of them that a dimension may go with, by name.
    """
    effect = effects(vae)
    if not len(seen.pictures):
        order = np.argsort(-effect, kind="stable").tolist()
        return [Dimension(i, None, float(effect[i]), True, None) for i in order]
    correlations = {name: rank_correlation(seen.means, known[name]) for name in known}
    active = seen.active
    found = list[Dimension]()
    for i in np.lexsort((-seen.kl, ~active)).tolist():
        relations = [Relation(name, float(values[i])) for name, values in correlations.items()]
        strongest = max(relations, key=lambda relation: abs(relation.correlation), default=None)
        if not active[i] or strongest is None or abs(strongest.correlation) < LEAST_CORRELATION:
            strongest = None
        found.append(Dimension(i, float(seen.kl[i]), float(effect[i]), bool(active[i]), strongest))
    return found


@torch.no_grad()
def effects(vae: ConvVAE) -> Float[np.ndarray, " Z"]:
    """How far a pixel moves, of 255, where a dimension goes from -1 to 1 and all others are 0."""
    steps = torch.eye(vae.config.latent_dim)
    low, high = (vae.decode(sign * steps).float().flatten(1) for sign in (-1, 1))
    return (high - low).abs().mean(1).numpy()


def rank_correlation(
    values: Shaped[np.ndarray, "N Z"], other: Shaped[np.ndarray, " N"]
) -> Float[np.ndarray, " Z"]:
    """Spearman's rank correlation of each column with other numbers; 0 where either is constant."""
    ranks = np.stack([_ranks(column) for column in values.T], axis=1)
    others = _ranks(other)
    ranks, others = ranks - ranks.mean(0), others - others.mean()
    norm = np.sqrt((ranks**2).sum(0) * (others**2).sum())
    return np.divide(others @ ranks, norm, out=np.zeros(len(norm)), where=norm > 0)


def _ranks(values: Shaped[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Places in ascending order; equal numbers share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def image_statistics(pictures: UInt8[np.ndarray, "N ..."]) -> dict[str, Float[np.ndarray, " N"]]:
    """Properties of pictures that anybody can check by eye, by name; of bytes / 255."""
    shown = channels_first(torch.from_numpy(pictures))
    light = shown.float().mean(1) / 255
    height, width = light.shape[1] // 2, light.shape[2] // 2
    statistics = {
        "brightness": light.mean((1, 2)),
        "contrast": light.flatten(1).std(1, correction=0),
        "brighter on the right": light[:, :, -width:].mean((1, 2))
        - light[:, :, :width].mean((1, 2)),
        "brighter below": light[:, -height:].mean((1, 2)) - light[:, :height].mean((1, 2)),
    }
    if shown.shape[1] == 3:
        colours = shown.float().mean((2, 3)) / 255
        for i, name in enumerate(("red", "green", "blue")):
            statistics[name] = colours[:, i] - colours.mean(1)
    return {name: values.numpy() for name, values in statistics.items()}
