"""One HTML file that holds everything: text, style, scripts, plotly.js, numbers and pictures.

It asks no network for anything, and its content security policy forbids it: only the scripts whose
hashes stand in it run, so that a label that tries to be one does not.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from ngu.analysis.estimate import Estimate, NotMeasured
from ngu.analysis.report.assemble import Report, Tile
from ngu.analysis.report.comparison import compare
from ngu.analysis.report.section import COUNT, Figure, Number, Section, Table
from ngu.analysis.report.words import interval, said


def write_page(reports: Sequence[Report], pictures: Sequence[str], made: str) -> str:
    """The page of one report, or of two side by side.

    Args:
        reports: one or two, of the same sections.
        pictures: data URIs that their states refer to.
        made: by which versions and when, a line.
    """
    figures: list[dict[str, Any]] = []
    body = [_header(reports), _navigation(reports), "</header><main>"]
    if len(reports) == 2:
        body.append(_comparison(reports))
    for i in range(len(reports[0].sections)):
        body.append(_section([report.sections[i] for report in reports], reports, figures))
    body += [_states(reports), _everything(reports), "</main>", _footer(reports, made)]
    data = {
        "figures": figures,
        "states": [report.states for report in reports],
        "pictures": list(pictures),
    }
    return _document(_title(reports), "\n".join(body), data)


def embedded_json(value: Any) -> str:
    """JSON that no HTML parser takes for anything else."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _document(title: str, body: str, data: dict[str, Any]) -> str:
    folder = files("ngu.analysis.report")
    scripts = [_plotly(), folder.joinpath("page.js").read_text(encoding="utf-8")]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    )
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<header>",
            body,
            f'<script type="application/json" id="page-data">{embedded_json(data)}</script>',
            *(f"<script>{script}</script>" for script in scripts),
            "</body>\n</html>\n",
        ]
    )


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _title(reports: Sequence[Report]) -> str:
    return " and ".join(_called(report, reports) for report in reports)


def _called(report: Report, reports: Sequence[Report]) -> str:
    """A short name, unless two have the same."""
    same = len({report.name for report in reports}) < len(reports)
    return report.data.source if same else report.name


def _header(reports: Sequence[Report]) -> str:
    parts = []
    for report in reports:
        told = "".join(f"<p>{_text(sentence)}</p>" for sentence in report.verdict)
        heading = "h1" if len(reports) == 1 else "h2"
        parts.append(
            f'<div class="panel"><{heading}>{_text(_called(report, reports))}</{heading}>'
            f'<p class="soft small">{_text(report.about)}</p>'
            f'<div class="verdict">{told}</div>'
            f'<div class="tiles">{"".join(map(_tile, report.tiles))}</div></div>'
        )
    title = "" if len(reports) == 1 else "<h1>Two embeddings side by side</h1>"
    return title + _panels(parts)


def _tile(tile: Tile) -> str:
    kind = "value" if tile.measured else "value none"
    small = f" <small>{_text(tile.after)}</small>" if tile.after else ""
    return (
        f'<div class="tile"><div class="name">{_text(tile.name)}</div>'
        f'<div class="{kind}">{_text(tile.value)}{small}</div>'
        f'<div class="range">{_text(tile.below)}</div></div>'
    )


def _navigation(reports: Sequence[Report]) -> str:
    links = [(section.key, section.title) for section in reports[0].sections]
    links += [("map", "The states"), ("why", "Why was this new?"), ("numbers", "Every number")]
    anchors = "".join(f'<a href="#{key}">{_text(title)}</a>' for key, title in links)
    return f"<nav>{anchors}</nav>"


def _section(
    sections: Sequence[Section], reports: Sequence[Report], figures: list[dict[str, Any]]
) -> str:
    first = sections[0]
    parts = []
    for section, report in zip(sections, reports, strict=True):
        drawn = "".join(_figure(figure, figures) for figure in section.figures)
        more = " three" * (len(section.figures) == 3)
        listed = [number for number in section.numbers if number.listed]
        parts.append(
            f'<div class="panel">{_name(report, reports)}<div class="figures{more}">{drawn}</div>'
            f"{_numbers(listed)}{''.join(map(_table, section.tables))}</div>"
        )
    return (
        f'<section id="{first.key}"><h2>{_text(first.title)}</h2>'
        f'<p class="how">{_text(first.how)}</p>{_panels(parts)}</section>'
    )


def _figure(figure: Figure | NotMeasured, figures: list[dict[str, Any]]) -> str:
    if isinstance(figure, NotMeasured):
        return f'<div class="none-here">{_missing(figure)}</div>'
    name = f"figure-{len(figures)}"
    figures.append({"id": name, "traces": figure.traces, "layout": figure.layout})
    return (
        f'<div class="figure" id="{name}" style="height:{figure.height}px" role="img" '
        f'aria-label="{_text(figure.summary)}"></div>'
    )


def _numbers(numbers: Sequence[Number]) -> str:
    if not numbers:
        return ""
    rows = "".join(
        f"<tr><td>{_text(number.name)}</td>{_cell(number.found, number.unit)}"
        f'<td class="meaning">{_text(number.meaning)}</td></tr>'
        for number in numbers
    )
    head = "<tr><th>measure</th><th>value, 95 % interval</th><th>what it is</th></tr>"
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _cell(found: str | Estimate | NotMeasured, unit: str = "") -> str:
    if isinstance(found, str):
        return f"<td>{_text(found)}</td>"
    if isinstance(found, NotMeasured):
        return f'<td class="soft">{_missing(found)}</td>'
    name = "" if unit in ("", "%", COUNT) else f" {_text(unit)}"
    return (
        f'<td class="number">{_text(said(found.value, unit))}{name}<br>'
        f'<span class="range">{_text(interval(found, unit))}</span></td>'
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in table.head)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _missing(found: NotMeasured) -> str:
    return f"not measured, because {_text(found.reason)}"


def _comparison(reports: Sequence[Report]) -> str:
    first, second = reports
    rows = []
    for row in compare(first.numbers, second.numbers):
        found = (row.first.found, row.second.found, row.difference)
        cells = "".join(_cell(value, row.first.unit) for value in found)
        rows.append(f"<tr><td>{_text(row.first.name)}</td>{cells}</tr>")
    return (
        '<section id="comparison"><h2>Both numbers, and the difference</h2><p class="how">The '
        "difference is the second less the first. Its interval is that of two measures that do not "
        "depend on one another; where it holds 0, the two may be the same.</p>"
        '<div class="scroll"><table><thead><tr><th>measure</th>'
        f"<th>{_text(_called(first, reports))}</th><th>{_text(_called(second, reports))}</th>"
        "<th>difference</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _states(reports: Sequence[Report]) -> str:
    maps, whys = [], []
    for i, report in enumerate(reports):
        shape = f"--shape:{_shape(report)}"
        planes = "".join(
            f'<button type="button" data-plane="{key}" aria-pressed="{str(j == 0).lower()}">'
            f"{_text(plane['name'])}</button>"
            for j, (key, plane) in enumerate(report.states["planes"].items())
        )
        maps.append(
            f'<div class="panel" id="map-{i}" style="{shape}">{_name(report, reports)}'
            f'<div class="controls">{planes}<label>colour by <select data-part="by"></select>'
            '</label></div><div class="explore"><div><div class="figure" data-part="plot" '
            'style="height:480px" role="img" aria-label="The states as points of a plane"></div>'
            '<div class="legend" data-part="legend"></div></div>'
            '<div class="card" data-part="card"></div></div></div>'
        )
        count = len(report.states["pictures"])
        whys.append(
            f'<div class="panel" id="why-{i}" style="{shape}">{_name(report, reports)}'
            '<div class="controls"><label class="wide">state <input type="range" min="0" '
            f'max="{count - 1}" data-part="slider" aria-label="state shown"></label>'
            '<button type="button" data-part="newest">the newest</button>'
            '<button type="button" data-part="oldest">the least new</button></div>'
            '<p data-part="sentence" aria-live="polite"></p><div class="why">'
            '<div data-part="self"></div><div><div class="near" data-part="near"></div>'
            '<div class="near" data-part="rest"></div></div></div>'
            f'<p class="soft small">{_text(report.states["why"]["origin"])}</p></div>'
        )
    shown = len(reports[0].states["pictures"])
    return (
        f'<section id="map"><h2>The states</h2><p class="how">{shown:,} states, drawn evenly, as '
        "points of a plane. Principal components keep the embedding's long distances: axes are in "
        "its own units. t-SNE keeps near states near; how far its clusters lie apart means "
        "nothing. Point at a state to see it, click to see why it was new.</p>"
        f'{_panels(maps)}</section><section id="why"><h2>Why was this new?</h2><p class="how">A '
        "state is new where nothing like it was seen before in its episode. Below are the nearest "
        "of those before it: how far they are, and the kernel value, which is 1 for a repeat and "
        "near 0 for what looks different. Their sum makes the novelty. If the nearest look the "
        "same but count as far, the distance measures something that you do not see.</p>"
        f"{_panels(whys)}</section>"
    )


def _everything(reports: Sequence[Report]) -> str:
    parts = [
        f'<div class="panel">{_name(report, reports)}{_numbers(report.numbers)}</div>'
        for report in reports
    ]
    return (
        '<section id="numbers"><h2>Every number</h2><p class="how">As in the JSON file beside '
        "this page, which has the curves and matrices too. What could not be measured says why."
        f"</p><details><summary>show the table</summary>{_panels(parts)}</details></section>"
    )


def _footer(reports: Sequence[Report], made: str) -> str:
    sources = "; ".join(f"{report.data.source}: {report.about}" for report in reports)
    return f"<footer>{_text(sources)}<br>{_text(made)}</footer>"


def _panels(parts: Sequence[str]) -> str:
    return f'<div class="panels{" two" * (len(parts) == 2)}">{"".join(parts)}</div>'


def _name(report: Report, reports: Sequence[Report]) -> str:
    return f"<h3>{_text(_called(report, reports))}</h3>" if len(reports) == 2 else ""


def _text(text: str) -> str:
    return html.escape(text)


def _shape(report: Report) -> str:
    """Width / height of the pictures, so that those which are still decoded take their place."""
    if report.data.frames is None:
        return "1"
    height, width = report.data.frames[0].shape[:2]
    return f"{width}/{height}"
