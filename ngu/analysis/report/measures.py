"""Every measure of an embedding, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from ngu.analysis.coding import Redundancy, redundancy
from ngu.analysis.data import EmbeddingData
from ngu.analysis.disentanglement import Disentanglement, Knowledge, disentanglement, knowledge
from ngu.analysis.distances import ROOM, SpaceMeasures, distance_measures
from ngu.analysis.estimate import NotMeasured
from ngu.analysis.information import Information, information
from ngu.analysis.intrinsic_dimension import IntrinsicDimension, intrinsic_dimension
from ngu.analysis.latent_information import LatentInformation, latent_information
from ngu.analysis.probe_training import Kind
from ngu.analysis.probes import ProbeResult, probe
from ngu.analysis.resampling import make_groups
from ngu.analysis.resolution import spread
from ngu.analysis.spectrum import Spectrum, spectrum

STAGES = (
    "spectrum",
    "intrinsic dimension",
    "shared information",
    "bits and redundancy",
    "probes",
    "which dimension knows what",
    "distances",
)
"""What is measured, in this order; `measure` tells each as it begins."""


@dataclass(frozen=True)
class Measures:
    """All that was measured of one embedding; what could not be says why in its place."""

    over: str
    """What intervals are over, a clause."""
    spectrum: Spectrum
    intrinsic: IntrinsicDimension
    information: Information
    posteriors: LatentInformation | None
    """Of a variational autoencoder; None: the embeddings are no posterior means."""
    coding: Redundancy
    spread: float
    """Root of the mean variance of the dimensions: the unit of resolutions."""
    linear: Mapping[str, ProbeResult | NotMeasured]
    """What a linear probe reads, by variable."""
    network: Mapping[str, ProbeResult | NotMeasured]
    """What a small network reads."""
    told: Knowledge
    apart: Disentanglement
    distances: Mapping[str, SpaceMeasures]


def measure(data: EmbeddingData, seed: int, tell: Callable[[str, float], None]) -> Measures:
    """Measure everything.

    Args:
        data: at least one state.
        seed: of all that is drawn.
        tell: called with the name of each of `STAGES` as it begins, and with the share of it that
            is done.
    """
    groups = make_groups(data.episodes, len(data.embeddings))
    tell("spectrum", 0.0)
    found = spectrum(data.embeddings, groups, seed=seed)
    tell("intrinsic dimension", 0.0)
    intrinsic = intrinsic_dimension(data.embeddings, groups, seed=seed)
    tell("shared information", 0.0)
    shared = information(data.embeddings, groups, seed=seed)
    posteriors = None
    if data.stds is not None:
        posteriors = latent_information(data.embeddings, data.stds, groups, seed=seed)
    tell("bits and redundancy", 0.0)
    coding = redundancy(
        data.embeddings,
        data.episodes,
        seed=seed,
        progress=lambda share: tell("bits and redundancy", share),
    )
    tell("probes", 0.0)
    pictures = None
    if data.frames is not None and data.episodes is not None:
        pictures = data.frames.contents()
    linear, network = (_probed(data, kind, seed, pictures) for kind in ("linear", "mlp"))
    tell("which dimension knows what", 0.0)
    told = knowledge(data.embeddings, data.labels)
    apart = disentanglement(data.embeddings, data.labels, data.episodes, seed=seed)
    tell("distances", 0.0)
    innovations = None if coding.code is None else coding.code.innovations(data.embeddings)
    transformed = None if innovations is None else innovations.astype(np.float32)
    distances = distance_measures(data, transformed, seed=seed)
    return Measures(
        over=groups.description,
        spectrum=found,
        intrinsic=intrinsic,
        information=shared,
        posteriors=posteriors,
        coding=coding,
        spread=spread(data.embeddings),
        linear=linear,
        network=network,
        told=told,
        apart=apart,
        distances=distances,
    )


def _probed(
    data: EmbeddingData, kind: Kind, seed: int, pictures: Int64[np.ndarray, " N"] | None
) -> dict[str, ProbeResult | NotMeasured]:
    """Probes; held-out states that look as one trained on are not scored."""
    if data.episodes is None:
        reason = NotMeasured("the episodes are not known, and none can be held out")
        return dict.fromkeys(data.labels, reason)
    ordinal = [name for name in data.labels if name != ROOM]
    return probe(
        data.embeddings,
        data.labels,
        data.episodes,
        kind=kind,
        seed=seed,
        ordinal=ordinal,
        pictures=pictures,
    )
