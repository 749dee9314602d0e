"""The page to play with an autoencoder's latent, and its server; needs the extra ui.

Pictures travel inside the answers: the server hands out no file but the page's own, and the page
asks no other host for anything.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.themes import Default

from ngu.analysis.latent_views import LatentViews, Tile
from ngu.analysis.latents import Dimension

_CSS = """
.gradio-container {max-width: 1320px !important; overflow: clip !important}
.html-container {padding: 0 !important}
#swept {max-width: 360px; margin: 0 !important}
footer {display: none !important}
.pair {display: grid !important; grid-template-columns: 3fr 1fr; gap: 12px; align-items: end}
.pair img {border-radius: 8px}
.pair img, .tiles img {image-rendering: pixelated; width: 100%; display: block; margin: 0}
.pair small, .tiles small {display: block; text-align: center; font-size: 12px;
  line-height: 1.6; color: var(--body-text-color-subdued)}
.tiles {display: grid; gap: 2px; grid-template-columns: repeat(auto-fill, minmax(72px, 1fr))}
.six .tiles {grid-template-columns: repeat(6, 1fr)}
.tiles button {margin: 0; padding: 2px; border: 2px solid transparent; border-radius: 8px;
  background: none; font: inherit; color: inherit; cursor: pointer}
.tiles button:hover, .tiles button:focus-visible {border-color: var(--border-color-accent)}
.tiles button.chosen {border-color: var(--color-accent)}
.tiles img {border-radius: 4px}
#strip button {pointer-events: none}
.sliders .form {display: grid !important; gap: 1px; background: none; border: 0; padding: 1px;
  grid-template-columns: repeat(auto-fill, minmax(min(250px, 100%), 1fr))}
.sliders .form > .block {outline: 1px solid var(--border-color-primary)}
@media (min-width: 900px) {
  .held {position: sticky; top: 12px; align-self: flex-start}
  #strip .tiles {grid-template-columns: repeat(11, 1fr)}
  #nearest .tiles {grid-template-columns: repeat(12, 1fr)}
}
@media (max-width: 899px) {
  .gradio-container > .main {padding: 12px !important}
  .tab-container button {padding: 0 8px !important}
  .held {display: contents !important}
  .pair {position: sticky; top: 0; z-index: 50; background: var(--body-background-fill)}
}
"""
_TILES = """<div class="tiles">{{#each value}}
<button type="button" data-tile="{{@index}}" class="{{this.mark}}" title="{{this.title}}">
<img src="{{this.picture}}" alt="{{this.title}}"><small>{{this.caption}}</small></button>
{{/each}}</div>"""
_CHOOSE = """element.addEventListener('click', (event) => {
  const tile = event.target.closest('button');
  if (tile) trigger('select', {index: Number(tile.dataset.tile)});
});"""
# A picture follows its slider: no queue, no spinner, and of what comes meanwhile the last waits.
_AT_ONCE: dict[str, Any] = {
    "queue": False,
    "show_progress": "hidden",
    "trigger_mode": "always_last",
    "api_visibility": "private",
}


@dataclass(frozen=True)
class _Parts:
    """What of the page is asked or changed."""

    sliders: list[gr.Slider]
    picture: gr.HTML
    beginning: gr.HTML
    offered: gr.State
    """Rows of the recorded pictures in the sheets to start from."""
    frames: gr.HTML
    others: gr.Button
    ends: gr.State
    """Rows of the two recorded pictures to go between."""
    first: gr.HTML
    share: gr.Slider
    last: gr.HTML
    drawn: gr.Button
    middle: gr.Button
    swept: gr.Dropdown
    strip: gr.HTML
    nearest: gr.HTML
    near: gr.State
    """Rows of the nearest recorded pictures."""


def build(views: LatentViews, about: str) -> gr.Blocks:
    """The page, with a latent in it.

    Args:
        views: of the autoencoder.
        about: what is shown, in Markdown.
    """
    with gr.Blocks(title="The latent to play with", analytics_enabled=False) as page:
        _answer(views, _lay_out(views, about))
    return page


def _lay_out(views: LatentViews, about: str) -> _Parts:
    rows = views.offered()
    ends = (rows[0], rows[-1]) if rows else (None, None)
    begin = views.of_frames(rows[0], rows[0], 0) if rows else views.of_prior()
    strip_tiles, nearest_tiles, near = views.around(0, *begin)
    gr.Markdown(f"# The latent to play with\n{about}")
    with gr.Row():
        with gr.Column(scale=2, min_width=320, elem_classes="held"):
            with gr.Row(elem_classes="pair"):
                picture = gr.HTML(views.picture(*begin), elem_id="picture")
                beginning = gr.HTML(views.beginning(ends[0] if ends else None), elem_id="beginning")
            with gr.Tab("From a frame", visible=bool(rows), render_children=True):
                frames = _sheet("frames", views.sheet(rows), "six")
                others = gr.Button("Other frames", size="sm")
            with gr.Tab("Between two", visible=bool(rows), render_children=True):
                first = _sheet("first", views.sheet(rows, ends[0]), "six")
                share = gr.Slider(
                    0, 1, 0, step=0.01, label="from the first to the second", buttons=[]
                )
                last = _sheet("last", views.sheet(rows, ends[1]), "six")
            with gr.Tab("From the prior"):
                drawn = gr.Button("Draw one", size="sm")
                middle = gr.Button("Its middle, all 0", size="sm")
        with gr.Column(scale=3, min_width=320):
            sliders = _sliders(views, begin)
    gr.Markdown("### Sweep one dimension\nFrom -3 to 3, the others as the sliders have them.")
    names = [(f"Dimension {dimension.index}", i) for i, dimension in enumerate(views.dimensions)]
    swept = gr.Dropdown(names, value=0, label="swept", container=False, elem_id="swept")
    strip = _sheet("strip", strip_tiles)
    with gr.Column(visible=bool(rows)):
        gr.Markdown(
            "### The nearest recorded frames\n"
            "In the latent space, with their distance. A click starts from one."
        )
        nearest = _sheet("nearest", nearest_tiles)
    return _Parts(
        sliders=sliders,
        picture=picture,
        beginning=beginning,
        offered=gr.State(rows),
        frames=frames,
        others=others,
        ends=gr.State(list(ends)),
        first=first,
        share=share,
        last=last,
        drawn=drawn,
        middle=middle,
        swept=swept,
        strip=strip,
        nearest=nearest,
        near=gr.State(near),
    )


def _answer(views: LatentViews, parts: _Parts) -> None:
    """Say what answers what is done on the page."""
    sliders, placed = parts.sliders, [*parts.sliders, parts.picture, parts.beginning]

    def placed_at(values: list[float], row: int | None) -> list[Any]:
        return [*values, views.picture(*values), views.beginning(row)]

    def from_frame(rows: list[int], event: gr.EventData) -> list[Any]:
        row = rows[event.index]
        return placed_at(views.of_frames(row, row, 0), row)

    def from_line(ends: list[int], share: float) -> list[Any]:
        first, last = ends
        return placed_at(views.of_frames(first, last, share), first if share < 0.5 else last)

    def end_chosen(which: int) -> Any:
        def chosen(
            rows: list[int], ends: list[int], share: float, event: gr.EventData
        ) -> list[Any]:
            ends = [*ends]
            ends[which] = rows[event.index]
            return [ends, views.sheet(rows, ends[which]), *from_line(ends, share)]

        return chosen

    def offer() -> list[Any]:
        rows = views.offered()
        ends = [rows[0], rows[-1]]
        return [rows, ends, *(views.sheet(rows, row) for row in (None, *ends))]

    def followed(event: Any) -> None:
        """After the picture comes what is around it."""
        around = [parts.strip, parts.nearest, parts.near]
        event.then(views.around, [parts.swept, *sliders], around, **_AT_ONCE)

    moves = [slider.input for slider in sliders]
    followed(gr.on(moves, views.picture, sliders, parts.picture, **_AT_ONCE))
    followed(parts.frames.select(from_frame, parts.offered, placed, **_AT_ONCE))
    followed(parts.nearest.select(from_frame, parts.near, placed, **_AT_ONCE))
    followed(parts.share.input(from_line, [parts.ends, parts.share], placed, **_AT_ONCE))
    for which, sheet in enumerate((parts.first, parts.last)):
        chosen, told = [parts.offered, parts.ends, parts.share], [parts.ends, sheet, *placed]
        followed(sheet.select(end_chosen(which), chosen, told, **_AT_ONCE))
    sheets = [parts.frames, parts.first, parts.last]
    parts.others.click(offer, None, [parts.offered, parts.ends, *sheets], **_AT_ONCE)
    followed(parts.drawn.click(lambda: placed_at(views.of_prior(), None), None, placed, **_AT_ONCE))
    zero = [0.0] * len(sliders)
    followed(parts.middle.click(lambda: placed_at(zero, None), None, placed, **_AT_ONCE))
    parts.swept.input(views.strip, [parts.swept, *sliders], parts.strip, **_AT_ONCE)


def _sheet(name: str, tiles: list[Tile], classes: str | None = None) -> gr.HTML:
    return gr.HTML(
        tiles, html_template=_TILES, js_on_load=_CHOOSE, elem_id=name, elem_classes=classes
    )


def _sliders(views: LatentViews, begin: list[float]) -> list[gr.Slider]:
    def slider(dimension: Dimension, value: float) -> gr.Slider:
        return gr.Slider(
            -views.limit,
            views.limit,
            value,
            step=0.01,
            label=f"Dimension {dimension.index}",
            info=_told(dimension),
            buttons=[],
        )

    pairs = list(zip(views.dimensions, begin, strict=True))
    with gr.Column(elem_classes="sliders"):
        sliders = [slider(*pair) for pair in pairs if pair[0].active]
    idle = [pair for pair in pairs if not pair[0].active]
    if idle:
        with gr.Accordion(f"{len(idle)} that tell nothing", open=False, elem_classes="sliders"):
            sliders += [slider(*pair) for pair in idle]
    return sliders


def _told(dimension: Dimension) -> str:
    if dimension.kl is None:
        return f"moves a pixel by {dimension.effect:.1f} of 255"
    told = f"{dimension.kl:.2f} nats"
    if dimension.relation is not None:
        name, correlation = dimension.relation
        told += f" · {html.escape(name)} {correlation:+.2f}"
    return told


def serve(page: gr.Blocks, host: str, port: int) -> str:
    """Serve a page in the background until it is closed; returns its address."""
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        inbrowser=False,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        max_file_size=1,
        css=_CSS,
        theme=Default(
            primary_hue="indigo",
            neutral_hue="slate",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
    )
    return address
