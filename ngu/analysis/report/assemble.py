"""From measures to a report: sections, headline, verdict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ngu.analysis.data import EmbeddingData
from ngu.analysis.estimate import NotMeasured
from ngu.analysis.report.coding_section import coding_section
from ngu.analysis.report.dimensions_section import dimensions_section
from ngu.analysis.report.distance_section import distance_section
from ngu.analysis.report.information_section import information_section
from ngu.analysis.report.knowledge_section import knowledge_section, known, mean_f1
from ngu.analysis.report.measures import Measures
from ngu.analysis.report.section import Number, Section
from ngu.analysis.report.verdict import verdict
from ngu.analysis.report.words import interval, said

_NAMED = 3
"""Variables that the first screen names, at most."""


class Tile(NamedTuple):
    """One of the first screen's four numbers."""

    name: str
    value: str
    after: str
    """Small, behind the value: its unit."""
    below: str
    """The interval, or the reason."""
    measured: bool


@dataclass(frozen=True)
class Report:
    """All that the page and the JSON file tell of one embedding."""

    name: str
    """Of the file, short."""
    about: str
    """How many states, and how they were drawn."""
    data: EmbeddingData
    measures: Measures
    verdict: tuple[str, ...]
    """Sentences."""
    tiles: tuple[Tile, ...]
    """Four."""
    sections: tuple[Section, ...]
    states: dict[str, Any]
    """Those shown, ready for JSON."""

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Of all sections."""
        return tuple(number for section in self.sections for number in section.numbers)


def assemble(data: EmbeddingData, measures: Measures, states: dict[str, Any]) -> Report:
    """Make the report of what was measured."""
    dim = data.embeddings.shape[1]
    sections = (
        dimensions_section(measures.spectrum, measures.intrinsic, measures.over),
        information_section(measures.information, measures.posteriors, measures.over),
        coding_section(measures.coding, measures.spread),
        knowledge_section(measures.linear, measures.network, measures.told, measures.apart),
        distance_section(measures.distances),
    )
    numbers = {number.key: number for section in sections for number in section.numbers}
    tiles = (
        _tile("effective dimensions", numbers["effective_rank"], f"of {dim}"),
        _tile("redundancy", numbers["redundancy"], ""),
        _tile("bits per state", numbers["bits_per_state"], ""),
        _knowledge(measures),
    )
    return Report(
        name="/".join(Path(data.source).parts[-2:]).removeprefix("//"),
        about=f"{dim} dimensions, {data.sampling}",
        data=data,
        measures=measures,
        verdict=verdict(numbers, dim, known(measures.linear)),
        tiles=tiles,
        sections=sections,
        states=states,
    )


def _tile(name: str, number: Number, after: str) -> Tile:
    found = number.found
    if isinstance(found, NotMeasured):
        return Tile(name, "not measured", "", f"because {found.reason}", False)
    return Tile(name, said(found.value, number.unit), after, interval(found, number.unit), True)


def _knowledge(measures: Measures) -> Tile:
    """The mean F1, and below it the variables, the best first."""
    found = mean_f1(measures.linear)
    if isinstance(found, NotMeasured):
        return Tile("what it knows", "not measured", "", f"because {found.reason}", False)
    best = known(measures.linear)
    named = [f"{name} {kind} {score:.2f}" for name, (kind, score) in best.items()][:_NAMED]
    below = f"{interval(found)}, over {len(best)} variable{'s' * (len(best) > 1)}"
    return Tile(
        "what it knows", f"{found.value:.2f}", "mean F1", f"{below}; {', '.join(named)}", True
    )
