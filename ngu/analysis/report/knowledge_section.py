"""What an embedding knows of the game: probes, and which dimension knows what."""

from __future__ import annotations

from collections.abc import Mapping

from ngu.analysis.disentanglement import Disentanglement, Knowledge
from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.probes import ProbeResult
from ngu.analysis.report.section import Figure, Number, Section, Table, error_bars
from ngu.analysis.report.words import plotly_text

Probes = Mapping[str, ProbeResult | NotMeasured]


def knowledge_section(
    linear: Probes, network: Probes, told: Knowledge, apart: Disentanglement
) -> Section:
    """Probes and disentanglement.

    Args:
        linear: what a linear probe reads, by variable.
        network: what a small network reads.
        told: bits of each variable that each dimension tells.
        apart: whether variables have dimensions of their own.
    """
    return Section(
        key="knowledge",
        title="What it knows",
        how=(
            "A probe is a small classifier that reads a variable of the game from the embedding; "
            "it is scored on episodes that it was not trained on. An F1 of 1 is always right; the "
            "grey mark is what always guessing the most common value scores. What a linear probe "
            "reads lies open; what only the small network reads is there, but folded. The heat map "
            "shows which dimension tells how much of which variable: a row with one bright cell is "
            "a variable that has a dimension of its own."
        ),
        numbers=(
            Number(
                "mean_f1",
                "mean F1",
                mean_f1(linear),
                "of a linear probe over all variables; its interval is as wide as theirs are on "
                "average",
            ),
            *(
                Number(
                    f"f1/{name}",
                    f"F1 of {name}",
                    found.f1 if isinstance(found, ProbeResult) else found,
                    "of a linear probe on held-out episodes",
                    listed=False,
                )
                for name, found in linear.items()
            ),
            Number(
                "mig",
                "MIG",
                apart.mig,
                "mutual information gap: 1 where each variable has one dimension of its own",
            ),
            Number(
                "sap",
                "SAP",
                apart.sap,
                "the same gap in how well a variable is read off a single dimension",
            ),
            Number(
                "disentanglement",
                "DCI disentanglement",
                apart.disentanglement,
                "1 where each dimension serves one variable only",
            ),
            Number(
                "completeness",
                "DCI completeness",
                apart.completeness,
                "1 where each variable is served by one dimension only",
            ),
            Number(
                "informativeness",
                "DCI informativeness",
                apart.informativeness,
                "how far above the most common value a forest reads the variables; 1 is always "
                "right",
            ),
        ),
        figures=(_scores(linear, network), _heat(told)) if linear else (),
        tables=(_table(linear, network),) if linear else (),
    )


def mean_f1(probes: Probes) -> Estimate | NotMeasured:
    """Mean over the variables that were scored, with the mean of their intervals' ends."""
    scores = [found.f1 for found in probes.values() if isinstance(found, ProbeResult)]
    if not probes:
        return NotMeasured("there are no labels")
    if not scores:
        return next(found for found in probes.values() if isinstance(found, NotMeasured))
    count = len(scores)
    value = sum(score.value for score in scores) / count
    lows = [score.low for score in scores if score.low is not None]
    highs = [score.high for score in scores if score.high is not None]
    if len(lows) < count or len(highs) < count:
        return Estimate(value)
    return Estimate(value, sum(lows) / count, sum(highs) / count)


def f1_scores(probes: Probes) -> dict[str, Estimate]:
    """F1 of the variables that were scored."""
    return {name: found.f1 for name, found in probes.items() if isinstance(found, ProbeResult)}


def known(probes: Probes) -> dict[str, tuple[str, float]]:
    """How well each variable is read: F1, or R2 where it is read better as a number; best first."""
    best: dict[str, tuple[str, float]] = {}
    for name, found in probes.items():
        if not isinstance(found, ProbeResult):
            continue
        number = found.r2.value if isinstance(found.r2, Estimate) else -1.0
        f1 = found.f1.value
        best[name] = ("F1", f1) if f1 >= number else ("R2", number)
    return dict(sorted(best.items(), key=lambda item: -item[1][1]))


def _scores(linear: Probes, network: Probes) -> Figure | NotMeasured:
    named = f1_scores(linear)
    if not named:
        return next(found for found in linear.values() if isinstance(found, NotMeasured))
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "y": [plotly_text(name) for name in named],
            "x": [estimate.value for estimate in found.values()],
            "error_x": error_bars(list(found.values())),
            "name": title,
            "hovertemplate": "%{y}: F1 %{x:.3f}<extra>%{fullData.name}</extra>",
        }
        for title, found in (("linear probe", named), ("small network", f1_scores(network)))
    ]
    guesses = [found.majority for found in linear.values() if isinstance(found, ProbeResult)]
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "y": traces[0]["y"],
            "x": guesses,
            "name": "most common value",
            "marker": {"symbol": "line-ns", "size": 22, "line": {"width": 3, "color": "#8a8f98"}},
            "hovertemplate": "%{y}: F1 %{x:.3f}<extra>most common value</extra>",
        }
    )
    return Figure(
        traces=traces,
        layout={
            "title": {"text": "What probes read, on episodes held out"},
            "xaxis": {"title": {"text": "F1, weighted"}, "range": [0, 1.02]},
            "yaxis": {"type": "category", "autorange": "reversed"},
        },
        summary="F1 of " + ", ".join(f"{name} {found.value:.2f}" for name, found in named.items()),
        height=_height(len(named)),
    )


def _heat(told: Knowledge) -> Figure | NotMeasured:
    if not told.labels:
        return NotMeasured("no label varies")
    share = told.share.T
    return Figure(
        traces=[
            {
                "type": "heatmap",
                "z": (100 * share).round(2).tolist(),
                "x": list(range(share.shape[1])),
                "y": [plotly_text(name) for name in told.labels],
                "colorscale": "Viridis",
                "zmin": 0,
                "colorbar": {"title": {"text": "% of its bits", "side": "right"}, "thickness": 12},
                "hovertemplate": "dimension %{x} tells %{z:.3g} % of %{y}<extra></extra>",
            }
        ],
        layout={
            "title": {"text": "Which dimension knows what"},
            "xaxis": {"title": {"text": "dimension"}},
            "yaxis": {"type": "category", "autorange": "reversed"},
        },
        summary="; ".join(
            f"dimension {int(row.argmax())} tells most of {name}, {100 * row.max():.0f} %"
            for name, row in zip(told.labels, share, strict=True)
        ),
        height=_height(len(told.labels)),
    )


def _height(variables: int) -> int:
    """Pixels of a figure with a row for each variable."""
    return 220 + 36 * max(variables, 4)


def _table(linear: Probes, network: Probes) -> Table:
    rows = []
    for name, found in linear.items():
        other = network[name]
        if isinstance(found, NotMeasured) or isinstance(other, NotMeasured):
            rows.append((name, "", found, "", ""))
            continue
        rows.append(
            (
                f"{name} ({found.classes} values)",
                f"{found.majority:.3f}",
                found.f1,
                other.f1,
                found.r2,
            )
        )
    head = ("variable", "most common value", "linear F1", "small network F1", "linear R2")
    return Table(head, tuple(rows))
