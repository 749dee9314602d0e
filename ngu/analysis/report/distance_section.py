"""What distances in the embedding are worth to a nearest-neighbour bonus."""

from __future__ import annotations

from collections.abc import Mapping

from ngu.analysis.distances import SpaceMeasures
from ngu.analysis.estimate import Estimate
from ngu.analysis.report.section import Figure, Number, Section, Table, error_bars

_SPACES = {"embedding": "as it is", "whitened": "whitened", "transformed": "transform-coded"}
_MEASURES = {
    "steps": ("distance follows steps", "rank correlation with the steps between two states"),
    "position": (
        "distance follows position",
        "rank correlation with how far apart two states of a room are",
    ),
    "near_duplicates": (
        "near-duplicates",
        "share of states that have an earlier one within the cluster distance",
    ),
    "hubness": ("hubness", "skewness of how often a state is a neighbour; 0 without hubs"),
    "bonus_rank": ("same order of novelty", "rank correlation with the bonus as it is"),
    "bonus_top": (
        "same newest tenth",
        "share of the tenth paid most that is the same; .1 by chance",
    ),
}
"""Of `SpaceMeasures`: name, and what it is."""
_KEYS = {
    "steps": "distance_follows_steps",
    "position": "distance_follows_position",
    "near_duplicates": "near_duplicates",
    "hubness": "hubness",
    "bonus_rank": "same_order_of_novelty",
    "bonus_top": "same_newest_tenth",
}
_DRAWN = ("steps", "position", "bonus_rank", "bonus_top")


def distance_section(spaces: Mapping[str, SpaceMeasures]) -> Section:
    """Distances as they are, whitened, and transform-coded.

    Args:
        spaces: as `distance_measures` returns.
    """
    numbers = []
    for space, found in spaces.items():
        for measure, (name, meaning) in _MEASURES.items():
            if space == "embedding" and measure.startswith("bonus"):
                continue
            key = "" if space == "embedding" else f"{space}/"
            where = "" if space == "embedding" else f", {_SPACES[space]}"
            unit = "%" if measure == "near_duplicates" else ""
            value = getattr(found, measure)
            numbers.append(
                Number(
                    f"{key}{_KEYS[measure]}", f"{name}{where}", value, meaning, unit, listed=False
                )
            )
    return Section(
        key="distance",
        title="Does distance follow the game?",
        how=(
            "A bonus by nearest neighbours is only as good as the distance. If that follows the "
            "game, states that are many steps or pixels apart are far apart in the embedding too: "
            "a rank correlation near 1. Whitening gives all directions the same weight: if that "
            "changes who is new (the newest tenth), a few directions ruled the distance. "
            "Transform-coded is the embedding without what its dimensions share. Many "
            "near-duplicates mean that the embedding cannot tell states apart; hubs are states "
            "that are everybody's neighbours."
        ),
        figures=(_bars(spaces),),
        tables=(_table(spaces),),
        numbers=tuple(numbers),
    )


def _bars(spaces: Mapping[str, SpaceMeasures]) -> Figure:
    traces = []
    for space, found in spaces.items():
        values = [(name, getattr(found, name)) for name in _DRAWN]
        measured = [(name, value) for name, value in values if isinstance(value, Estimate)]
        traces.append(
            {
                "type": "bar",
                "x": [_MEASURES[name][0].replace(" ", "<br>") for name, _ in measured],
                "y": [value.value for _, value in measured],
                "error_y": error_bars([value for _, value in measured]),
                "name": _SPACES[space],
                "hovertemplate": "%{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
            }
        )
    return Figure(
        traces=traces,
        layout={
            "title": {"text": "What distances are worth"},
            "yaxis": {"title": {"text": "correlation, or share"}},
            "xaxis": {"type": "category"},
        },
        summary="what distances are worth, in each form of the embedding",
        height=380,
    )


def _table(spaces: Mapping[str, SpaceMeasures]) -> Table:
    rows = tuple(
        (f"{name}: {meaning}", *(getattr(found, measure) for found in spaces.values()))
        for measure, (name, meaning) in _MEASURES.items()
    )
    return Table(("measure", *(_SPACES[space] for space in spaces)), rows)
