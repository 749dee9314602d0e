"""Every measure of an embedding, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ngu.analysis.coding import Redundancy, redundancy
from ngu.analysis.data import EmbeddingData
from ngu.analysis.gaussian_information import SharedInformation, gaussian_information
from ngu.analysis.resampling import make_groups
from ngu.analysis.resolution import spread
from ngu.analysis.spectrum import Spectrum, spectrum

STAGES = ("spectrum", "shared information", "bits and redundancy")
"""What is measured, in this order; `measure` tells each as it begins."""


@dataclass(frozen=True)
class Measures:
    """All that was measured of one embedding; what could not be says why in its place."""

    over: str
    """What intervals are over, a clause."""
    spectrum: Spectrum
    shared: SharedInformation
    coding: Redundancy
    spread: float
    """Root of the mean variance of the dimensions: the unit of resolutions."""


def measure(data: EmbeddingData, seed: int, tell: Callable[[str], None]) -> Measures:
    """Measure everything.

    Args:
        data: at least one state.
        seed: of all that is drawn.
        tell: called with the name of each of `STAGES` as it begins.
    """
    groups = make_groups(data.episodes, len(data.embeddings))
    tell("spectrum")
    found = spectrum(data.embeddings, groups, seed=seed)
    tell("shared information")
    shared = gaussian_information(data.embeddings, groups, seed=seed)
    tell("bits and redundancy")
    coding = redundancy(data.embeddings, data.episodes, seed=seed)
    return Measures(groups.description, found, shared, coding, spread(data.embeddings))
